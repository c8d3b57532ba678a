"""Names of children: DNS labels that tell siblings apart, however long the owner's name is."""

import re

from hypothesis import given
from hypothesis import strategies as st

from torchyard import names

LETTERS = "abz019-"
LABELS = st.text(LETTERS, max_size=61).map(lambda middle: f"a{middle}z")
LONG = st.text(LETTERS, min_size=58, max_size=61).map(lambda middle: f"a{middle}z")
PARTS = st.lists(st.integers(0, 10**6) | st.sampled_from(["workers", "servers"]), max_size=3)


@given(LABELS, PARTS)
def test_a_child_has_a_name_that_everything_may_have(owner: str, parts: list[int | str]) -> None:
    name = names.child(owner, *parts)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert name == names.child(owner, *parts)


@given(LONG, LONG, PARTS.filter(bool))
def test_long_owners_share_no_child(one: str, other: str, parts: list[int | str]) -> None:
    assert (names.child(one, *parts) == names.child(other, *parts)) is (one == other)


@given(LABELS, st.integers(0, 999), st.integers(0, 1023), st.integers(0, 999), st.integers(0, 1023))
def test_every_worker_of_every_attempt_has_a_name_of_its_own(
    job: str, attempt: int, index: int, later: int, other: int
) -> None:
    same = names.worker_pod(job, attempt, index) == names.worker_pod(job, later, other)
    assert same is ((attempt, index) == (later, other))


@given(LABELS, st.integers(1, 999_999), st.text("0123456789abcdef", min_size=8, max_size=8))
def test_a_revision_fits_into_a_label_and_a_name(service: str, number: int, digest: str) -> None:
    revision = names.revision(number, digest)
    assert len(revision) <= 63
    assert names.servers(service, revision).endswith(revision)
    assert names.servers(service) != names.workers(service)


def test_what_a_name_is_cut_to() -> None:
    owner = "a" * 40 + "-" + "b" * 22
    name = names.child(owner, "a0", "w1023")
    assert name.startswith("a" * 40)
    assert name.endswith(f"-{names.short_hash(owner)}-a0-w1023")
    assert "--" not in name
