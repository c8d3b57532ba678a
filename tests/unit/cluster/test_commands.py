"""The command line, and what its commands decide."""

import asyncio
import datetime
from pathlib import Path

import pytest

from cluster import files, relay, wait
from cluster.__main__ import parser
from cluster.errors import ClusterError
from cluster.settings import Cluster
from cluster.status import duration
from cluster.up import reported_ready


@pytest.mark.parametrize(
    "line",
    [
        ["up"],
        ["--name", "blue", "up", "--gpus", "2", "--port", "7443"],
        ["down", "--purge"],
        ["logs", "kubelet", "--follow"],
        ["status"],
    ],
)
def test_command_lines(line: list[str]) -> None:
    assert parser().parse_args(line).command in line


@pytest.mark.parametrize("name", ["", "Blue", "a/b", "-a", "a" * 21, "..", "a b"])
def test_names_that_could_not_name_a_namespace_or_a_folder(name: str) -> None:
    with pytest.raises(ClusterError, match="cannot name a cluster"):
        Cluster(name)


def test_choices_stay_with_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "run", property(lambda self: tmp_path / self.name))
    assert Cluster.chosen("blue") == Cluster("blue", 6443, 8)
    Cluster.chosen("blue", port=7443, gpus=0).remember()
    assert Cluster.chosen("blue") == Cluster("blue", 7443, 0)
    assert Cluster.chosen("blue", gpus=4) == Cluster("blue", 7443, 4)
    assert Cluster.chosen("green") == Cluster("green", 6443, 8)


def test_only_the_present_kubelet_makes_a_node_ready() -> None:
    beat = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2030-01-01T00:00:00Z"}
    node = {"status": {"conditions": [condition]}}
    assert reported_ready(node, beat.timestamp() - 1)
    assert not reported_ready(node, beat.timestamp() + 1)
    assert not reported_ready({"status": {"conditions": [{**condition, "status": "False"}]}}, 0)
    assert not reported_ready({"status": {}}, 0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (61, "1m1s"), (3 * 3600 + 5, "3h0m"), (90000, "1d1h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_waiting_ends_with_an_explanation() -> None:
    with pytest.raises(ClusterError, match=r"it serves: not after 0 s\n  cure: see the log"):
        wait.until("it serves", lambda: False, 0.05, interval=0.01, hint=lambda: "see the log")
    assert wait.until("it serves", lambda: "value", 0) == "value"


def test_a_file_with_the_same_content_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "config"
    files.write(path, "a", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_ino, path.stat().st_mtime_ns
    files.write(path, "a")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    files.write(path, "b")
    assert path.read_text() == "b"


async def test_the_relay_passes_both_directions_and_each_end() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()  # until the client says that it is done
        writer.write(question.upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    listening = relay.listener(0)
    target = server.sockets[0].getsockname()[1]
    relaying = asyncio.create_task(relay.serve(listening, target))
    async with asyncio.timeout(20):
        for question in (b"hello", b"x" * 1_000_000):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(question)
            writer.write_eof()
            assert await reader.read() == question.upper()
            writer.close()
    relaying.cancel()
    server.close()


async def test_the_relay_closes_when_nobody_serves() -> None:
    with relay.listener(0) as unused:
        nobody = unused.getsockname()[1]
    listening = relay.listener(0)
    relaying = asyncio.create_task(relay.serve(listening, nobody))
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        assert await reader.read() == b""
        writer.close()
    relaying.cancel()
