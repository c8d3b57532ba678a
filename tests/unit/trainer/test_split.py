import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchyard_trainer.data.split import split
from torchyard_trainer.errors import DataInvalid

KEYS = [f"text {number}".encode() for number in range(2000)]


def held_out(keys: list[bytes], share: float = 0.1) -> set[bytes]:
    return {keys[row] for row in split(keys, share).held_out}


def test_about_the_share_is_held_out_and_no_row_is_lost() -> None:
    parts = split(KEYS, 0.1)
    assert 160 <= parts.held_out.size <= 240
    assert sorted([*parts.training, *parts.held_out]) == list(range(2000))


@given(st.permutations(range(300)))
def test_the_order_of_the_rows_does_not_matter(order: list[int]) -> None:
    keys = KEYS[:300]
    assert held_out([keys[row] for row in order]) == held_out(keys)


def test_appended_rows_move_nobody() -> None:
    assert held_out(KEYS[:1000]) == held_out(KEYS) & set(KEYS[:1000])


def test_a_larger_share_holds_out_the_same_and_more() -> None:
    assert held_out(KEYS, 0.1) < held_out(KEYS, 0.3)


def test_duplicates_are_never_on_both_sides() -> None:
    keys = [*KEYS[:200], *KEYS[:200]]
    parts = split(keys, 0.5)
    training = {keys[row] for row in parts.training}
    assert training.isdisjoint(keys[row] for row in parts.held_out)


def test_the_split_is_the_same_in_every_release() -> None:
    # Otherwise a job that is upgraded would measure on what it has trained on.
    assert split(KEYS[:40], 0.1).held_out.tolist() == [2, 3, 6, 18, 33, 38]


@pytest.mark.parametrize(("keys", "share"), [([b"a"], 0.5), ([b"a"] * 9, 0.5), ([], 0.1)])
def test_a_side_without_rows_is_refused(keys: list[bytes], share: float) -> None:
    with pytest.raises(DataInvalid, match="both need at least one"):
        split(keys, share)
