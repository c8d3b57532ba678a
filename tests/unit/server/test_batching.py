"""The batcher with a fake model. `run_next` is called by hand, so that every order is decided."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from torchyard_server.batching import Batcher, Item, Tensors
from torchyard_server.errors import Overloaded, RequestError


class Model:
    """Doubles x and records the batches; refuses negative numbers, breaks on 13."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.observed: list[int] = []

    def infer(self, inputs: Tensors) -> Tensors:
        x = inputs["x"]
        self.batches.append(x.reshape(-1).tolist())
        if (x < 0).any():
            raise RequestError(400, "the model refuses the input")
        if (x == 13).any():
            raise RuntimeError("broken")
        return {"y": x * 2}

    def batcher(self, max_rows: int = 4, max_waiting: int = 8, batched: bool = True) -> Batcher:
        return Batcher(
            self.infer,
            batched=batched,
            max_rows=max_rows,
            max_waiting=max_waiting,
            observe=self.observed.append,
        )


@pytest.fixture
def model() -> Model:
    return Model()


def submit(batcher: Batcher, *values: float) -> Item:
    return batcher.submit({"x": np.array(values, np.float32)}, len(values))


async def answers(*items: Item) -> list[Any]:
    return [(await item.future)["y"].tolist() for item in items]


async def test_a_lone_request_does_not_wait_for_company(model: Model) -> None:
    batcher = model.batcher()
    item = submit(batcher, 1)
    batcher.run_next()
    assert await answers(item) == [[2]]
    assert model.observed == [1]


async def test_what_waits_is_merged_in_order_and_split_again(model: Model) -> None:
    batcher = model.batcher()
    items = [submit(batcher, 1), submit(batcher, 2, 3), submit(batcher, 4)]
    assert batcher.waiting == 3
    batcher.run_next()
    assert batcher.waiting == 0
    assert model.batches == [[1, 2, 3, 4]]
    assert model.observed == [4]
    assert await answers(*items) == [[2], [4, 6], [8]]


async def test_a_batch_is_never_larger_than_allowed(model: Model) -> None:
    batcher = model.batcher(max_rows=4)
    items = [submit(batcher, 1, 1, 1), submit(batcher, 2, 2), submit(batcher, 3)]
    batcher.run_next()
    # The third fits behind the first although the second does not.
    assert model.batches == [[1, 1, 1, 3]]
    batcher.run_next()
    assert model.batches[1:] == [[2, 2]]
    assert await answers(*items) == [[2, 2, 2], [4, 4], [6]]


async def test_a_request_larger_than_a_batch_is_computed_alone(model: Model) -> None:
    batcher = model.batcher(max_rows=2)
    items = [submit(batcher, 1, 1, 1), submit(batcher, 2)]
    batcher.run_next()
    batcher.run_next()
    assert model.batches == [[1, 1, 1], [2]]
    assert await answers(*items) == [[2, 2, 2], [4]]


async def test_the_oldest_always_goes_first_so_nobody_starves(model: Model) -> None:
    batcher = model.batcher(max_rows=2)
    submit(batcher, 9, 9, 9)
    submit(batcher, 1)
    batcher.run_next()
    assert model.batches == [[9, 9, 9]]


async def test_only_equal_shapes_share_a_batch(model: Model) -> None:
    batcher = model.batcher()
    items = [
        batcher.submit({"x": np.array([[1, 2]], np.float32)}, 1),
        batcher.submit({"x": np.array([[3, 4, 5]], np.float32)}, 1),
        batcher.submit({"x": np.array([[6, 7]], np.float32)}, 1),
    ]
    batcher.run_next()
    batcher.run_next()
    assert model.batches == [[1.0, 2.0, 6.0, 7.0], [3.0, 4.0, 5.0]]
    assert await answers(*items) == [[[2, 4]], [[6, 8, 10]], [[12, 14]]]


async def test_a_model_without_a_batch_axis_computes_one_request_at_a_time(model: Model) -> None:
    batcher = model.batcher(batched=False)
    items = [submit(batcher, 1), submit(batcher, 2)]
    batcher.run_next()
    batcher.run_next()
    assert model.batches == [[1], [2]]
    assert await answers(*items) == [[2], [4]]


@pytest.mark.parametrize(("bad", "status"), [(-1, 400), (13, 500)])
async def test_a_bad_request_does_not_fail_its_neighbours(
    model: Model, bad: float, status: int
) -> None:
    batcher = model.batcher()
    items = [submit(batcher, 1), submit(batcher, bad), submit(batcher, 3)]
    batcher.run_next()
    assert model.batches == [[1, bad, 3], [1], [bad], [3]]
    assert await answers(items[0], items[2]) == [[2], [6]]
    with pytest.raises(RequestError) as refusal:
        await items[1].future
    assert refusal.value.status == status
    assert model.observed == [1, 1]


async def test_a_model_that_mixes_rows_up_is_run_without_batches() -> None:
    def shrink(inputs: Tensors) -> Tensors:
        return {"y": inputs["x"][:1]}

    batcher = Batcher(shrink, batched=True, max_rows=4, max_waiting=4, observe=lambda _: None)
    items = [submit(batcher, 1), submit(batcher, 2)]
    batcher.run_next()
    assert await answers(*items) == [[1], [2]]


async def test_the_queue_is_bounded(model: Model) -> None:
    batcher = model.batcher(max_waiting=2)
    submit(batcher, 1)
    dropped = submit(batcher, 2)
    with pytest.raises(Overloaded, match="2 requests are waiting already"):
        submit(batcher, 3)
    batcher.drop(dropped)
    submit(batcher, 4)
    batcher.run_next()
    assert model.batches == [[1, 4]]


async def test_a_request_that_was_withdrawn_is_not_computed(model: Model) -> None:
    batcher = model.batcher()
    items = [submit(batcher, 1), submit(batcher, 2), submit(batcher, 3)]
    batcher.drop(items[0])
    items[1].future.cancel()  # its caller left a moment ago and has not been taken out yet
    assert batcher.waiting == 2
    batcher.run_next()
    assert model.batches == [[3]]
    assert await answers(items[2]) == [[6]]


async def test_a_queue_of_withdrawn_requests_computes_nothing(model: Model) -> None:
    batcher = model.batcher()
    submit(batcher, 1).future.cancel()
    assert batcher.run_next()
    assert model.batches == []


async def test_dropping_after_the_answer_changes_nothing(model: Model) -> None:
    batcher = model.batcher()
    item = submit(batcher, 1)
    batcher.run_next()
    assert await answers(item) == [[2]]
    batcher.drop(item)
    assert await answers(item) == [[2]]


async def test_a_request_withdrawn_while_it_is_computed_is_forgotten(model: Model) -> None:
    batcher = model.batcher()
    item, other = submit(batcher, 1), submit(batcher, 2)
    batcher.run_next()  # its result is on the way to the event loop
    batcher.drop(item)
    assert await answers(other) == [[4]]
    assert item.future.cancelled()


async def test_the_runner_batches_what_arrives_while_it_computes() -> None:
    entered, proceed = threading.Event(), threading.Event()
    batches: list[list[float]] = []

    def slow(inputs: Tensors) -> Tensors:
        batches.append(inputs["x"].tolist())
        entered.set()
        assert proceed.wait(60)
        return {"y": inputs["x"]}

    batcher = Batcher(slow, batched=True, max_rows=8, max_waiting=8, observe=lambda _: None)
    batcher.start()
    first = submit(batcher, 0)
    assert await asyncio.to_thread(entered.wait, 60)
    rest = [submit(batcher, number) for number in (1, 2, 3)]
    proceed.set()
    async with asyncio.timeout(60):
        assert await answers(first, *rest) == [[0], [1], [2], [3]]
    assert batches == [[0], [1, 2, 3]]
    batcher.stop()


async def test_a_stopped_runner_finishes_what_waits(model: Model) -> None:
    batcher = model.batcher()
    item = submit(batcher, 1)
    batcher.stop()
    assert batcher.run_next()
    assert not batcher.run_next()
    assert await answers(item) == [[2]]
