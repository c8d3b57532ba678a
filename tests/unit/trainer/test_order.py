import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from torchyard_trainer.data.order import Order, share

sizes = st.integers(1, 300)
worlds = st.sampled_from([1, 2, 3, 4, 8])


def order(rows: int, per_replica: int, world: int, seed: int = 0, epochs: int = 2) -> Order:
    return Order(np.arange(rows) * 3, per_replica * world, seed, epochs)


@given(sizes, st.integers(1, 9), worlds, st.integers(0, 5), st.data())
def test_every_row_once_an_epoch_whatever_the_layout_and_the_point_of_resumption(
    rows: int, per_replica: int, world: int, seed: int, data: st.DataObject
) -> None:
    course = order(rows, per_replica, world, seed)
    resumed_at = data.draw(st.integers(0, course.steps_per_epoch))
    # Another number of replicas after the resumption: any that divides the global batch.
    later = data.draw(st.sampled_from([n for n in (1, 2, 3, 4) if course.batch_size % n == 0]))
    seen = []
    for step in range(course.steps_per_epoch):
        replicas = world if step < resumed_at else later
        batch = course.batch(course.epoch(0), step)
        for replica in range(replicas):
            part = share(batch, replica, replicas)
            if part.weight:
                seen += part.rows.tolist()
    assert sorted(seen) == course.rows.tolist()


@given(st.integers(1, 40), worlds)
def test_the_average_over_replicas_is_the_mean_over_the_global_batch(size: int, world: int) -> None:
    batch = np.arange(size) * 7
    values = np.sin(np.arange(size * 7))
    parts = [share(batch, replica, world) for replica in range(world)]
    averaged = sum(values[part.rows].mean() * part.weight for part in parts) / world
    assert np.isclose(averaged, values[batch].mean())


@given(st.integers(1, 40), worlds)
def test_no_replica_is_left_without_a_row_to_compute_on(size: int, world: int) -> None:
    for replica in range(world):
        assert share(np.arange(size), replica, world).rows.size


def test_a_full_batch_has_weight_one_on_every_replica() -> None:
    assert [share(np.arange(64), replica, 4).weight for replica in range(4)] == [1.0] * 4


def test_epochs_and_seeds_differ_and_repeat() -> None:
    course = order(100, 10, 1)
    assert course.epoch(0).tolist() == course.epoch(0).tolist()
    assert course.epoch(0).tolist() != course.epoch(1).tolist()
    assert course.epoch(0).tolist() != order(100, 10, 1, seed=1).epoch(0).tolist()


def test_position_is_the_step_alone() -> None:
    course = order(25, 10, 1, epochs=3)
    assert (course.steps_per_epoch, course.total_steps) == (3, 9)
    assert [course.epoch_of(step) for step in (0, 2, 3, 8, 9)] == [1, 1, 2, 3, 3]
    assert course.batch(course.epoch(1), 5).size == 5
