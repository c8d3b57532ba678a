"""What surrounds the ranks: settings, threads, the channel, status answers and logs."""

import json
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.gang import Job, free_port
from torchyard.api.contract import Outcome, Termination, WorkerProgress
from torchyard.api.trainingjob import Progress
from torchyard_trainer import log, settings, status, threads
from torchyard_trainer.channel import Receiver, Sender
from torchyard_trainer.errors import ConfigInvalid
from torchyard_trainer.supervisor import rank_environment


def config(**spec: Any) -> dict[str, Any]:
    job = Job(Path("/x"), {"mlpClassifier": {}}, Path("/x/rows.csv"), 2, 2, spec)
    return job.config(0, 29500)


def environment(document: Any, worker: str = "1") -> dict[str, str]:
    return {"TORCHYARD_CONFIG": json.dumps(document), "TORCHYARD_WORKER": worker}


def test_places_count_through_the_workers() -> None:
    told = settings.read_config(environment(config()))
    worker = settings.read_worker(environment(config()), told)
    places = [settings.place(told, worker, local) for local in range(2)]
    assert [(place.rank, place.world) for place in places] == [(2, 4), (3, 4)]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "TORCHYARD_CONFIG is not set"),
        ({"TORCHYARD_CONFIG": "{"}, "TORCHYARD_CONFIG: Invalid JSON"),
        (environment({**config(), "attempt": -1}), "attempt: Input should be greater"),
        (environment(config(task={"mlp": {}})), "spec.task.mlp: Extra inputs"),
        (environment({**config(), "contractVersion": 2}), "use a trainer image of the operator's"),
        (
            environment(config(optimization={"batchSize": 30})),
            "optimization.batchSize 30 is not a multiple of the 4 processes",
        ),
    ],
    ids=["none", "no JSON", "a bad value", "an unknown task", "a newer contract", "batch size"],
)
def test_a_configuration_that_cannot_be_carried_out(
    variables: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        settings.read_config(variables)


@pytest.mark.parametrize("worker", ["", "2", "-1", "one", "²"])
def test_a_worker_that_does_not_exist(worker: str) -> None:
    variables = environment(config(), worker)
    with pytest.raises(ConfigInvalid, match=r"below workers\.count \(2\)"):
        settings.read_worker(variables, settings.read_config(variables))


@pytest.mark.parametrize(
    ("text", "address"),
    [("host.name:29500", ("host.name", 29500)), (":1", ("", 1)), ("[::1]:80", ("::1", 80))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert settings.read_address(text, "rendezvous") == address


@pytest.mark.parametrize("text", ["host", "host:", "host:http", "host:70000", "host:-1"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="rendezvous"):
        settings.read_address(text, "rendezvous")


@pytest.mark.parametrize(
    ("files", "processes", "expected"),
    [
        ({"cpu.max": "400000 100000\n"}, 1, 4),
        ({"cpu.max": "400000 100000\n"}, 3, 1),
        ({"cpu.max": "150000 100000\n"}, 1, 1),
        ({"cpu.max": "max 100000\n"}, 1, 1),
        ({"cpu/cpu.cfs_quota_us": "800000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2, 1),
        ({}, 1, 1),
    ],
    ids=["limit", "more processes", "half", "no limit", "v1", "v1 no limit", "no cgroup"],
)
def test_threads_of_a_process(
    tmp_path: Path, files: dict[str, str], processes: int, expected: int
) -> None:
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert threads.threads_per_process(processes, tmp_path) == expected


def test_numbers_of_threads_that_are_given_are_kept() -> None:
    told = settings.read_config(environment(config()))
    assert rank_environment(told, 0, 5, {"OMP_NUM_THREADS": "7"})["OMP_NUM_THREADS"] == "7"
    assert rank_environment(told, 0, 5, {})["OMP_NUM_THREADS"] >= "1"


def test_the_channel_keeps_messages_whole() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    sender, receiver = Sender(theirs), Receiver(ours)
    assert receiver.receive() == ([], True)
    progress = WorkerProgress(attempt=1, first_step=0, progress=Progress(step=7, total_steps=9))
    sender.send(progress)
    os.write(theirs, b"no message\n[]\n")
    sender.send(Termination(outcome=Outcome.SUCCEEDED))
    os.write(theirs, b'{"progress": ')
    messages, more = receiver.receive()
    assert (messages, more) == ([progress, Termination(outcome=Outcome.SUCCEEDED)], True)
    os.close(theirs)
    assert receiver.receive() == ([], False)
    os.close(ours)


def test_status_answers() -> None:
    newest: list[WorkerProgress | None] = [None]
    port = free_port()
    with status.serve("127.0.0.1", port, lambda: newest[0]):

        def get(path: str) -> tuple[int, bytes]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read()

        assert get("/healthz") == (200, b"ok\n")
        assert get("/progress") == (204, b"")
        newest[0] = WorkerProgress(attempt=1, progress=Progress(step=5, loss="0.5"))
        code, body = get("/progress")
        assert code == 200
        assert WorkerProgress.model_validate_json(body) == newest[0]
        with pytest.raises(urllib.error.HTTPError) as error:
            get("/other")
        with error.value:
            assert error.value.code == 404


def test_an_empty_host_is_every_address() -> None:
    port = free_port()
    with (
        status.serve("", port, lambda: None),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer,
    ):
        assert answer.status == 200


def test_logs_are_one_json_object_a_line() -> None:
    formatter = log.JsonFormatter({"rank": 1})
    try:
        raise ValueError("no\ngood")
    except ValueError as error:
        record = logging.makeLogRecord(
            {"msg": "a %s", "args": ("b",), "step": 7, "exc_info": (None, error, None)}
        )
    line = formatter.format(record)
    assert "\n" not in line
    document = json.loads(line)
    assert (document["message"], document["rank"], document["step"]) == ("a b", 1, 7)
    assert "ValueError: no\ngood" in document["exception"]
