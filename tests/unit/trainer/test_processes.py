"""Gangs of real processes: what only shows when somebody dies, or when there are several.

Each test starts a few torch processes, which takes seconds; what one process can show is in
test_session.py.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tests.unit.trainer.gang import Job, alive, kill, until
from torchyard import artifact
from torchyard.api.contract import EXIT_PERMANENT, EXIT_RETRY, Outcome

LONG = {"optimization": {"epochs": 2000, "batchSize": 64}, "checkpoint": {"everySteps": 50}}
STUBBORN = 30.0  # seconds in which survivors must have left; the group's time limit is 120


def job(root: Path, data: Path, dropout: float = 0.1, **more: Any) -> Job:
    return Job(root, {"mlpClassifier": {"dropout": dropout}}, data, **more)


def weights(job: Job, attempt: int = 0) -> dict[str, Any]:
    return dict(load_file(job.artifact(attempt) / "model.safetensors"))


def test_two_workers_compute_what_one_process_computes(tmp_path: Path, digits: Path) -> None:
    course = {"optimization": {"epochs": 3, "batchSize": 64, "gradientClip": 0.5}}
    one = job(tmp_path / "one", digits, 0, spec=course)
    two = job(tmp_path / "two", digits, 0, workers=2, spec=course)
    with one.attempt() as alone, two.attempt() as gang:
        for worker in [*alone, *gang]:
            assert worker.wait() == 0, worker.logs
    mine, theirs = gang[0].termination, alone[0].termination
    assert mine.artifact is not None
    assert theirs.artifact is not None
    assert mine.artifact.metrics["accuracy"] == theirs.artifact.metrics["accuracy"]
    assert gang[1].termination.outcome is Outcome.SUCCEEDED
    assert gang[1].termination.artifact is None  # worker 0 speaks for all
    artifact.verify(two.artifact(), mine.artifact.digest)
    for name, value in weights(one).items():
        assert np.allclose(weights(two)[name], value, atol=1e-5), name


def test_sigterm_then_resumed_in_another_layout_is_as_if_nothing_had_happened(
    tmp_path: Path, digits: Path
) -> None:
    course = {"optimization": {"epochs": 30, "batchSize": 64}, "checkpoint": {"everySteps": 100}}
    calm = job(tmp_path / "calm", digits, workers=2, spec=course)
    halted = job(tmp_path / "halted", digits, workers=2, spec=course)
    with calm.attempt() as undisturbed, halted.attempt(0) as first:
        until("some steps are done", lambda: first[0].step() >= 10)
        began = time.monotonic()
        first[0].process.terminate()  # one is enough: they agree
        assert [worker.wait() for worker in first] == [EXIT_RETRY, EXIT_RETRY]
        assert time.monotonic() - began < STUBBORN
        assert [worker.wait() for worker in undisturbed] == [0, 0]
    said = [worker.termination for worker in first]
    assert {word.outcome for word in said} == {Outcome.INTERRUPTED}
    assert said[0].progress is not None
    assert said[0].checkpoint is not None
    assert said[0].checkpoint.step == said[0].progress.step >= 10
    halted.workers, halted.processes = 1, 2
    second = halted.succeed(1)
    assert second.first_step == said[0].checkpoint.step
    for name, value in weights(calm).items():
        assert (weights(halted, 1)[name] == value).all(), name


def test_a_checkpoint_of_two_processes_is_resumed_by_one(tmp_path: Path, digits: Path) -> None:
    course = {"optimization": {"epochs": 4, "batchSize": 64}, "checkpoint": {"everySteps": 60}}
    pair = job(tmp_path, digits, 0, processes=2, spec=course)
    whole = pair.succeed(0)
    for name in pair.checkpoints[:1]:
        (pair.shelf.directory(name) / "manifest.json").unlink()
    pair.processes = 1
    alone = pair.succeed(1)
    assert alone.first_step == 60
    assert whole.artifact is not None
    assert alone.artifact is not None
    assert alone.artifact.metrics["accuracy"] == whole.artifact.metrics["accuracy"]
    for name, value in weights(pair, 0).items():
        assert np.allclose(weights(pair, 1)[name], value, atol=1e-5), name


def test_a_rank_that_is_killed(tmp_path: Path, digits: Path) -> None:
    hurt = job(tmp_path, digits, workers=2, processes=2, spec=LONG)
    with hurt.attempt() as workers:
        until("a checkpoint is written", lambda: (p := workers[0].progress()) and p.checkpoint)
        status, body = workers[1].get("/progress")
        assert (status, body) == (204, b"")
        victim = workers[1].ranks()[1]
        assert b"torchyard_trainer.rank" in Path(f"/proc/{victim}/cmdline").read_bytes()
        began = time.monotonic()
        kill(victim)
        assert [worker.wait() for worker in workers] == [EXIT_RETRY, 1]
        assert time.monotonic() - began < STUBBORN
    said = [worker.termination for worker in workers]
    assert said[0].outcome is Outcome.PEER_LOST
    assert said[0].checkpoint is not None
    assert (said[1].outcome, said[1].rank, said[1].exit_code) == (Outcome.PROCESS_FAILED, 3, 137)
    assert said[1].message == "rank 3 was ended by signal 9"
    assert said[1].time is not None
    assert said[1].progress is not None
    assert said[1].progress.step >= 50
    hurt.workers, hurt.processes = 1, 1
    with hurt.attempt(1) as (worker,):
        first = until("it has resumed", worker.progress)
        # What was once announced as kept is where the next attempt begins, or later.
        assert first.first_step >= said[0].checkpoint.step
        assert first.progress.step >= first.checkpoint.step == first.first_step


def test_ranks_do_not_outlive_their_supervisor(tmp_path: Path, digits: Path) -> None:
    with job(tmp_path, digits, processes=2, spec=LONG).attempt() as (worker,):
        until("training is under way", lambda: worker.step() > 0)
        ranks = worker.ranks()
        assert len(ranks) == 2
        # It cannot die of what they may die of: it has none of their libraries.
        assert "libtorch" in Path(f"/proc/{ranks[0]}/maps").read_text()
        assert "libtorch" not in Path(f"/proc/{worker.process.pid}/maps").read_text()
        worker.process.kill()
        until("the ranks are gone", lambda: not any(map(alive, ranks)), STUBBORN)


def test_sigterm_while_others_are_missing(tmp_path: Path, digits: Path) -> None:
    lonely = job(tmp_path, digits, workers=2)
    config = json.dumps(lonely.config(0, 1))  # nobody listens on port 1
    worker = lonely._start(config, 0, 1)
    try:
        until("it waits", lambda: "does not answer yet" in worker.logs)
        assert worker.get("/healthz") == (200, b"ok\n")
        worker.process.terminate()
        assert worker.wait() == EXIT_RETRY
    finally:
        worker.process.kill()
        worker.process.wait()
    assert worker.termination.outcome is Outcome.INTERRUPTED
    assert worker.termination.progress is None


def test_a_task_of_ones_own_that_fails(tmp_path: Path, digits: Path) -> None:
    (tmp_path / "my_task.py").write_text(
        "from torchyard_trainer.tasks.mlp import MlpClassification\n"
        "from torchyard.api.trainingjob import MlpClassifier\n"
        "class Mine(MlpClassification):\n"
        "    def __init__(self, hidden):\n"
        "        super().__init__(MlpClassifier(hidden=hidden))\n"
        "    def loss(self, output, target):\n"
        "        raise KeyError('no such loss')\n"
    )
    entrypoint = {"object": "my_task:Mine", "arguments": {"hidden": [8]}}
    mine = Job(
        tmp_path / "job",
        {"entrypoint": entrypoint},
        digits,
        spec={"image": "mine"},
        environment={"PYTHONPATH": str(tmp_path)},
    )
    (worker,) = mine.run()
    assert worker.process.returncode == 1
    assert worker.termination.outcome is Outcome.PROCESS_FAILED
    assert worker.termination.message == "KeyError: 'no such loss'"
    assert "my_task.py" in worker.logs  # the traceback


def test_data_that_no_restart_would_mend(tmp_path: Path, texts: Path) -> None:
    (worker,) = job(tmp_path, texts).run()
    assert worker.process.returncode == EXIT_PERMANENT
    assert worker.termination.outcome is Outcome.DATA_INVALID
    assert "text is " in worker.termination.message
    assert "not a finite number" in worker.termination.message


def test_nothing_is_written_outside_its_own_places(tmp_path: Path, digits: Path) -> None:
    """As under a read-only root: everything but TMPDIR and the mounts is somebody else's."""
    scratch, home = tmp_path / "tmp", tmp_path / "home"
    scratch.mkdir()
    home.mkdir(mode=0o500)
    quick = job(
        tmp_path / "job",
        digits,
        spec={"optimization": {"epochs": 1, "batchSize": 64}},
        environment={"TMPDIR": str(scratch), "HOME": str(home)},
    )
    quick.succeed()
    assert not list(home.iterdir())
    left = [path.name for path in scratch.iterdir()]
    assert all(name.startswith("torchinductor_") for name in left), left


def test_a_worker_that_is_stopped_while_it_starts_has_not_failed(
    tmp_path: Path, digits: Path
) -> None:
    with job(tmp_path, digits, processes=2, spec=LONG).attempt() as (worker,):
        until("the first rank is there", lambda: "started rank 0" in worker.logs)
        worker.process.terminate()
        assert worker.wait() == EXIT_RETRY
    assert worker.termination.outcome is Outcome.INTERRUPTED
