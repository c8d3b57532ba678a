from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from tests.unit.artifact.samples import artifact
from torchyard.artifact import (
    ArtifactCorrupt,
    ArtifactExists,
    ArtifactMissing,
    Manifest,
    ManifestInvalid,
    publish,
    read_file,
    read_manifest,
    verify,
    verify_file,
    write_manifest,
)

FILES = {"model.safetensors": b"w" * 3_000_000, "shards/one.bin": b"1", "shards/two.bin": b""}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    artifact(directory, FILES)
    return directory


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "digits" / "uid-1"


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_what_is_published_is_what_was_written(source: Path, target: Path) -> None:
    manifest = publish(source, target)
    assert contents(target) == contents(source)
    assert verify(target, manifest.digest) == manifest
    for file in manifest.files:
        verify_file(target, file)
        assert read_file(target, file) == FILES[file.path]


def test_the_hash_of_the_published_manifest_is_the_digest(source: Path, target: Path) -> None:
    manifest = publish(source, target)
    published = (target / "manifest.json").read_bytes()
    assert manifest.digest == "sha256:" + hashlib.sha256(published).hexdigest()


def test_publishing_again_changes_nothing(source: Path, target: Path) -> None:
    publish(source, target)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    publish(source, target)
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before


def test_a_different_artifact_is_never_replaced(source: Path, target: Path, tmp_path: Path) -> None:
    first = publish(source, target)
    artifact(tmp_path / "other", {"model.safetensors": b"other"})
    with pytest.raises(ArtifactExists, match=first.digest):
        publish(tmp_path / "other", target)
    assert verify(target, first.digest) == first


def test_an_unreadable_manifest_is_not_replaced(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    (target / "manifest.json").write_text("{")
    with pytest.raises(ArtifactExists, match="unreadable"):
        publish(source, target)


def test_an_altered_artifact_does_not_pass_for_the_same(source: Path, target: Path) -> None:
    publish(source, target)
    (target / "shards/one.bin").write_bytes(b"2")
    with pytest.raises(ArtifactCorrupt, match=r"shards/one\.bin"):
        publish(source, target)


def test_a_half_written_artifact_does_not_exist_and_is_overwritten(
    source: Path, target: Path
) -> None:
    target.mkdir(parents=True)
    (target / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ArtifactMissing, match="publishing it has not finished"):
        verify(target, None)
    manifest = publish(source, target)
    assert verify(target, manifest.digest) == manifest


@pytest.mark.parametrize("failing", range(1, 6))
def test_a_publisher_killed_at_any_file_leaves_nothing_that_counts(
    source: Path, target: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every file and the manifest come into being by a rename: fail the n-th one.
    renames, lock, rename = 0, threading.Lock(), Path.replace

    def dying(self: Path, to: Path) -> Path:
        nonlocal renames
        with lock:
            renames += 1
            if renames >= failing:
                raise InterruptedError("killed")
        return rename(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        if failing <= len(FILES) + 1:
            with pytest.raises(InterruptedError):
                publish(source, target)
            assert not (target / "manifest.json").exists()
        else:
            publish(source, target)
    manifest = publish(source, target)
    assert contents(target) == contents(source)
    assert verify(target, manifest.digest) == manifest


def test_a_source_that_changed_since_it_was_described_is_not_published(
    source: Path, target: Path
) -> None:
    (source / "shards/one.bin").write_bytes(b"2")
    with pytest.raises(ArtifactCorrupt, match=r"shards/one\.bin"):
        publish(source, target)
    assert not (target / "manifest.json").exists()


def altered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def folder_linked(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CORRUPTIONS = {
    "altered": (altered, "model.safetensors", "sha256 is [0-9a-f]{64}, but the manifest says"),
    "cut": (lambda path: os.truncate(path, 10), "model.safetensors", "has 10 bytes, but the man"),
    "grown": (lambda path: path.write_bytes(b"12"), "shards/one.bin", "has 2 bytes, but"),
    "removed": (lambda path: path.unlink(), "shards/two.bin", "is missing"),
    "a link": (linked, "model.safetensors", "a link"),
    "below a link": (folder_linked, "shards/one.bin", "a link"),
    "a pipe": (piped, "shards/two.bin", "is not a plain file"),
    "a folder": (made_a_folder, "shards/two.bin", "is not a plain file"),
}


@pytest.mark.parametrize(("corrupt", "file", "problem"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_corrupt_file_is_named(corrupt: object, file: str, problem: str, source: Path) -> None:
    assert callable(corrupt)
    manifest = read_manifest(source, None)
    corrupt(source / file)
    with pytest.raises(ArtifactCorrupt, match=f"^{file}: .*{problem}") as error:
        verify(source, manifest.digest)
    assert error.value.file == file
    entry = next(entry for entry in manifest.files if entry.path == file)
    for check in (verify_file, read_file):
        with pytest.raises(ArtifactCorrupt, match=problem):
            check(source, entry)


def test_files_that_the_manifest_does_not_name_do_not_matter(source: Path) -> None:
    manifest = read_manifest(source, None)
    (source / "lost+found").mkdir()
    (source / "notes.txt").write_text("not part of the artifact")
    assert verify(source, manifest.digest) == manifest


def test_a_manifest_with_another_digest_is_refused(source: Path) -> None:
    promised = "sha256:" + "0" * 64
    with pytest.raises(ArtifactCorrupt, match=rf"manifest.json: .*but {promised} was promised"):
        verify(source, promised)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="not a directory"):
        verify(tmp_path / "nowhere", None)


def test_the_manifest_may_not_be_a_link(source: Path) -> None:
    linked(source / "manifest.json")
    with pytest.raises(ArtifactCorrupt, match=r"manifest.json: .*link"):
        verify(source, None)


def test_an_oversized_manifest_is_not_read_whole(source: Path) -> None:
    with (source / "manifest.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ManifestInvalid, match="at most"):
        verify(source, None)


def test_an_invalid_manifest_is_not_written(tmp_path: Path) -> None:
    manifest = artifact(tmp_path / "valid", {"a": b""})
    wrong = Manifest("Not A Name", manifest.files, manifest.signature)
    with pytest.raises(ManifestInvalid, match="model"):
        write_manifest(tmp_path, wrong)
    assert not (tmp_path / "manifest.json").exists()


def test_reading_and_writing_leave_no_descriptor_open(source: Path, target: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    publish(source, target)
    altered(target / "model.safetensors")
    with pytest.raises(ArtifactCorrupt):
        verify(target, None)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
