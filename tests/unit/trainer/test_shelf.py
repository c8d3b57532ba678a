import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchyard_trainer.checkpoint.shelf import (
    MANIFEST,
    CheckpointCorrupt,
    Manifest,
    Name,
    Shelf,
)

numbers = st.integers(0, 10**9)


def put(shelf: Shelf, attempt: int, step: int, *, seal: bool = True) -> Name:
    name = Name(attempt, step)
    directory = shelf.directory(name)
    (directory / "learnt").mkdir(parents=True)
    (directory / "__0_0.distcp").write_bytes(b"weights" * 100)
    (directory / ".metadata").write_bytes(b"metadata")
    (directory / "learnt" / "labels.json").write_bytes(b"[]")
    if seal:
        shelf.seal(name, ["learnt/labels.json", "__0_0.distcp", ".metadata"], "sha256:data")
    return name


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "checkpoints", 2)


@given(numbers, numbers)
def test_names_are_read_back_and_sort_as_text_too(attempt: int, step: int) -> None:
    name = Name(attempt, step)
    assert Name.parse(str(name)) == name
    if step < 10**8 - 1:
        assert str(name) < str(Name(attempt, step + 1))


def test_a_name_tells_attempt_and_step() -> None:
    assert str(Name(1, 420)) == "a0001-s00000420"


@pytest.mark.parametrize("text", ["", "a1-s420", "a0001-s00000420.tmp", "a00001-s00000420", "lost"])
def test_other_directories_are_not_ours(text: str) -> None:
    assert Name.parse(text) is None


def test_a_shelf_that_does_not_exist_is_empty(shelf: Shelf) -> None:
    assert shelf.whole() == []
    assert list(shelf.verified()) == []
    shelf.sweep()
    shelf.prune(1)


def test_the_newer_attempt_wins_over_the_greater_step(shelf: Shelf) -> None:
    put(shelf, 0, 900)  # of a straggler that did not know it had been replaced
    put(shelf, 1, 300)
    put(shelf, 1, 200)
    assert [str(name) for name in shelf.whole()] == [
        "a0001-s00000300",
        "a0001-s00000200",
        "a0000-s00000900",
    ]


def test_a_directory_without_a_manifest_does_not_exist(shelf: Shelf) -> None:
    put(shelf, 0, 100)
    put(shelf, 0, 200, seal=False)
    assert shelf.whole() == [Name(0, 100)]


def test_the_manifest_names_every_file(shelf: Shelf) -> None:
    name = put(shelf, 1, 5)
    manifest = shelf.verify(name)
    assert [file.path for file in manifest.files] == [
        ".metadata",
        "__0_0.distcp",
        "learnt/labels.json",
    ]
    assert (manifest.size, manifest.data_digest) == (8 + 700 + 2, "sha256:data")
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("file", [".metadata", "__0_0.distcp", "learnt/labels.json", MANIFEST])
def test_a_flipped_bit_anywhere_is_found_and_the_one_before_is_taken(
    shelf: Shelf, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = put(shelf, 0, 100), put(shelf, 1, 200)
    path = shelf.directory(newer) / file
    content = bytearray(path.read_bytes())
    for position in {0, len(content) // 2, len(content) - 2}:
        content[position] ^= 1
        path.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            found = [name for name, _ in shelf.verified()]
        assert found == [older]
        assert f"checkpoint {newer} is corrupt" in caplog.text
        assert file in caplog.text
        caplog.clear()
        content[position] ^= 1
        path.write_bytes(content)
    assert [name for name, _ in shelf.verified()] == [newer, older]


@pytest.mark.parametrize("damage", ["missing", "shorter", "longer"])
def test_a_file_that_is_not_as_it_was_written(shelf: Shelf, damage: str) -> None:
    name = put(shelf, 0, 100)
    path = shelf.directory(name) / "__0_0.distcp"
    match damage:
        case "missing":
            path.unlink()
        case "shorter":
            path.write_bytes(path.read_bytes()[:-1])
        case "longer":
            path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckpointCorrupt, match="__0_0") as error:
        shelf.verify(name)
    assert error.value.file == "__0_0.distcp"


def test_what_is_missing_cannot_be_sealed(shelf: Shelf) -> None:
    name = put(shelf, 0, 100, seal=False)
    with pytest.raises(FileNotFoundError, match="__1_0"):
        shelf.seal(name, ["__0_0.distcp", "__1_0.distcp"], "sha256:data")
    assert shelf.whole() == []


def test_a_manifest_of_another_checkpoint(shelf: Shelf) -> None:
    mine, other = put(shelf, 0, 100), put(shelf, 0, 200)
    content = (shelf.directory(other) / MANIFEST).read_bytes()
    (shelf.directory(mine) / MANIFEST).write_bytes(content)
    with pytest.raises(CheckpointCorrupt, match="belongs to another checkpoint"):
        shelf.verify(mine)


def test_the_newest_are_kept(shelf: Shelf) -> None:
    for step in (100, 200, 300, 400):
        put(shelf, 1, step)
    put(shelf, 2, 50)
    shelf.prune(3)
    assert shelf.whole() == [Name(2, 50), Name(1, 400), Name(1, 300)]
    assert len(list(shelf.root.iterdir())) == 3


def test_only_what_older_attempts_left_half_written_is_swept(shelf: Shelf) -> None:
    put(shelf, 0, 100)
    for attempt in (1, 2, 3):
        put(shelf, attempt, 100, seal=False)
    stranger = shelf.root / "notes"
    stranger.mkdir()
    shelf.sweep()
    assert sorted(path.name for path in shelf.root.iterdir()) == [
        "a0000-s00000100",
        "a0002-s00000100",
        "a0003-s00000100",
        "notes",
    ]
