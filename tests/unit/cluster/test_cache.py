from pathlib import Path

import pytest

from cluster import cache


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHYARD_CACHE", str(tmp_path))
    return tmp_path


def test_a_key_depends_on_every_part_and_on_their_borders(tmp_path: Path) -> None:
    file = tmp_path / "go.mod"
    file.write_text("module a")
    one = cache.key([file, "flags"])
    assert cache.key([file, "flags"]) == one
    assert cache.key([file, "other flags"]) != one
    assert cache.key(["ab", "c"]) != cache.key(["a", "bc"])
    file.write_text("module b")
    assert cache.key([file, "flags"]) != one


def test_a_folder_is_built_once(tmp_path: Path) -> None:
    calls = []

    def build(scratch: Path) -> None:
        calls.append(scratch)
        (scratch / "program").write_text("content")

    first = cache.folder("bin", "thing-1", build)
    assert cache.folder("bin", "thing-1", build) == first == tmp_path / "bin" / "thing-1"
    assert (first / "program").read_text() == "content"
    assert len(calls) == 1


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(scratch: Path) -> None:
        (scratch / "half").write_text("")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.folder("bin", "thing", fail)
    assert list((tmp_path / "bin").iterdir()) == []


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.root() == tmp_path
    monkeypatch.delenv("TORCHYARD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.root() == Path("/somewhere/torchyard")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache.root() == Path("/home/someone/.cache/torchyard")
