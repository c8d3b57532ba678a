import subprocess
import time
from pathlib import Path

import pytest

from cluster import processes, wait
from cluster.processes import Processes, Program


@pytest.fixture
def running(tmp_path: Path) -> Processes:
    return Processes(tmp_path / "records", tmp_path / "logs")


def sleeper(*inputs: str) -> Program:
    return Program("sleeper", ("sleep", "987"), inputs)


def test_a_process_is_ours_from_start_to_stop(running: Processes) -> None:
    running.start(sleeper())
    pid = wait.until("it runs", lambda: running.pid("sleeper"), 20)
    assert processes.command_line(pid) == ["sleep", "987"]
    assert running.current(sleeper())
    assert running.names() == ["sleeper"]
    started = running.started("sleeper")
    assert started is not None
    assert abs(time.time() - started) < 60
    running.stop(["sleeper"], 5)
    assert running.pid("sleeper") is None
    assert running.names() == []
    assert not processes.command_line(pid)


def test_changed_inputs_make_a_process_outdated(running: Processes) -> None:
    running.start(sleeper("one configuration"))
    wait.until("it runs", lambda: running.pid("sleeper"), 20)
    assert running.current(sleeper("one configuration"))
    assert not running.current(sleeper("another"))
    running.stop(["sleeper"], 5)


def test_a_stranger_with_a_recorded_id_is_neither_ours_nor_killed(
    running: Processes, tmp_path: Path
) -> None:
    running.start(sleeper())
    pid = wait.until("it runs", lambda: running.pid("sleeper"), 20)
    with subprocess.Popen(["sleep", "654"]) as stranger:
        # As after a reboot: the id in the record has gone to somebody else.
        (tmp_path / "records" / "sleeper.pid").write_text(str(stranger.pid))
        assert running.pid("sleeper") is None
        running.stop(["sleeper"], 1)
        assert stranger.poll() is None
        stranger.kill()
    processes.kill_all([pid])


def test_one_that_ignores_the_request_to_end_is_killed(running: Processes) -> None:
    stubborn = Program("stubborn", ("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"))
    running.start(stubborn)
    pid = wait.until("it runs", lambda: running.pid("stubborn"), 20)
    running.stop(["stubborn"], 0.2)
    assert not processes.command_line(pid)


@pytest.mark.parametrize("content", ["", "{", "not a number"])
def test_broken_records_mean_not_running(running: Processes, tmp_path: Path, content: str) -> None:
    records = tmp_path / "records"
    records.mkdir()
    (records / "sleeper.json").write_text(content)
    (records / "sleeper.pid").write_text(content)
    assert running.pid("sleeper") is None
    assert not running.current(sleeper())


def test_start_time_of_a_process_with_an_odd_name() -> None:
    before = " ".join(str(number) for number in range(3, 22))
    assert processes.start_ticks(f"17 (a) b (c) S {before[2:]} 4711 0 0") == 4711


def test_processes_of_a_namespace_are_found() -> None:
    own = Path("/proc/self/ns/net")
    assert processes.inside("net", own)
    assert processes.inside("net", Path("/does/not/exist")) == []
