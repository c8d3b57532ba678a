from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchyard.artifact import Compatibility, Datatype, Signature, Tensor, compatible


def tensor(text: str) -> Tensor:
    """`name:DATATYPE[-1,2]` as a tensor."""
    name, _, rest = text.partition(":")
    datatype, _, shape = rest.rstrip("]").partition("[")
    sizes = tuple(int(size) for size in shape.split(",") if size)
    return Tensor(name, Datatype(datatype), sizes)


def signature(inputs: str, outputs: str) -> Signature:
    return Signature(
        tuple(tensor(item) for item in inputs.split()),
        tuple(tensor(item) for item in outputs.split()),
    )


X, Y = "x:FP32[-1,4]", "y:FP32[-1,2]"
# name: (old inputs, old outputs, new inputs, new outputs, Backward finds, Strict finds)
CASES: dict[str, tuple[str, str, str, str, list[str], list[str]]] = {
    "equal": (X, Y, X, Y, [], []),
    "other order": (
        f"{X} a:INT64[1]", f"{Y} b:BOOL[]", f"a:INT64[1] {X}", f"b:BOOL[] {Y}", [], []),
    "input removed": (f"{X} a:INT64[1]", Y, X, Y,
                      ["input 'a' was removed: requests that send it become invalid"],
                      ["input 'a' was removed: requests that send it become invalid"]),
    "input added": (X, Y, f"{X} a:INT64[1]", Y,
                    ["input 'a' is new: requests without it become invalid"],
                    ["input 'a' is new: requests without it become invalid"]),
    "input renamed": (X, Y, "z:FP32[-1,4]", Y,
                      ["input 'x' was removed: requests that send it become invalid",
                       "input 'z' is new: requests without it become invalid"],
                      ["input 'x' was removed: requests that send it become invalid",
                       "input 'z' is new: requests without it become invalid"]),
    "input datatype": (X, Y, "x:FP64[-1,4]", Y,
                       ["input 'x' changed its datatype from FP32 to FP64"],
                       ["input 'x' changed its datatype from FP32 to FP64"]),
    "input widened": (X, Y, "x:FP32[-1,-1]", Y, [],
                      ["input 'x' changed its shape from [-1, 4] to [-1, -1]"]),
    "input narrowed": (X, Y, "x:FP32[8,4]", Y,
                       ["input 'x' changed its shape from [-1, 4] to [8, 4]"],
                       ["input 'x' changed its shape from [-1, 4] to [8, 4]"]),
    "input resized": (X, Y, "x:FP32[-1,5]", Y,
                      ["input 'x' changed its shape from [-1, 4] to [-1, 5]"],
                      ["input 'x' changed its shape from [-1, 4] to [-1, 5]"]),
    "input of another rank": (X, Y, "x:FP32[-1]", Y,
                              ["input 'x' changed its shape from [-1, 4] to [-1]"],
                              ["input 'x' changed its shape from [-1, 4] to [-1]"]),
    "output removed": (X, f"{Y} b:BOOL[1]", X, Y,
                       ["output 'b' was removed"], ["output 'b' was removed"]),
    "output added": (X, Y, X, f"{Y} b:BOOL[1]", [], ["output 'b' is new"]),
    "output datatype": (X, Y, X, "y:FP16[-1,2]",
                        ["output 'y' changed its datatype from FP32 to FP16"],
                        ["output 'y' changed its datatype from FP32 to FP16"]),
    "output promises more": (X, "y:FP32[-1,-1]", X, Y, [],
                             ["output 'y' changed its shape from [-1, -1] to [-1, 2]"]),
    "output promises less": (X, Y, X, "y:FP32[-1,-1]",
                             ["output 'y' changed its shape from [-1, 2] to [-1, -1]"],
                             ["output 'y' changed its shape from [-1, 2] to [-1, -1]"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_differences(case: tuple[str, str, str, str, list[str], list[str]]) -> None:
    old_inputs, old_outputs, new_inputs, new_outputs, backward, strict = case
    old, new = signature(old_inputs, old_outputs), signature(new_inputs, new_outputs)
    assert compatible(old, new, Compatibility.BACKWARD) == backward
    assert compatible(old, new, Compatibility.STRICT) == strict
    assert compatible(old, new, Compatibility.NONE) == []


# Few names and sizes, so that related signatures are found often.
tensors = st.builds(
    Tensor,
    name=st.sampled_from("ab"),
    datatype=st.sampled_from([Datatype.FP32, Datatype.INT64]),
    shape=st.lists(st.sampled_from([-1, 2, 3]), max_size=2).map(tuple),
)
sides = st.lists(tensors, min_size=1, max_size=2, unique_by=lambda item: item.name).map(tuple)
signatures = st.builds(Signature, sides, sides)


def follows(new: Signature, old: Signature) -> bool:
    return not compatible(old, new, Compatibility.BACKWARD)


@given(signatures)
def test_backward_is_reflexive(one: Signature) -> None:
    assert follows(one, one)
    assert not compatible(one, one, Compatibility.STRICT)


def relaxed(data: st.DataObject, tensors: tuple[Tensor, ...], widen: bool) -> tuple[Tensor, ...]:
    """The same tensors with some sizes made free (or fixed), as a compatible successor may."""

    def size(now: int) -> int:
        if widen:
            return data.draw(st.sampled_from([now, -1]))
        return data.draw(st.sampled_from([2, 3, -1])) if now == -1 else now

    return tuple(
        Tensor(item.name, item.datatype, tuple(size(now) for now in item.shape)) for item in tensors
    )


@given(signatures, st.data())
def test_backward_is_transitive(one: Signature, data: st.DataObject) -> None:
    two = Signature(relaxed(data, one.inputs, True), relaxed(data, one.outputs, False))
    three = Signature(relaxed(data, two.inputs, True), relaxed(data, two.outputs, False))
    assert follows(two, one)
    assert follows(three, two)
    assert follows(three, one)


@given(signatures, signatures, signatures)
def test_backward_is_transitive_on_any_three(
    one: Signature, two: Signature, three: Signature
) -> None:
    if follows(two, one) and follows(three, two):
        assert follows(three, one)


@given(signatures, signatures)
def test_strict_is_symmetric_and_implies_backward(one: Signature, two: Signature) -> None:
    strict = not compatible(one, two, Compatibility.STRICT)
    assert strict == (not compatible(two, one, Compatibility.STRICT))
    assert not strict or (follows(one, two) and follows(two, one))


shapes = st.lists(st.sampled_from([2, 3, 4]), max_size=2).map(tuple)


@given(signatures, signatures, shapes)
def test_backward_means_that_valid_requests_stay_valid(
    old: Signature, new: Signature, concrete: tuple[int, ...]
) -> None:
    def fits(tensor: Tensor) -> bool:
        return len(tensor.shape) == len(concrete) and all(
            size in (-1, now) for size, now in zip(tensor.shape, concrete, strict=True)
        )

    if follows(new, old):
        after = {item.name: item for item in new.inputs}
        assert all(fits(after[item.name]) for item in old.inputs if fits(item))
        before = {item.name: item for item in old.outputs}
        assert all(
            fits(before[item.name]) for item in new.outputs if item.name in before and fits(item)
        )
