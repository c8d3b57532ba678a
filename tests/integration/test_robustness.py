"""What else goes wrong around an operator, one thing a test."""

import asyncio
import json
import signal

import pytest

from tests.integration import samples
from tests.integration.conftest import Stage
from tests.integration.kube import Json, until
from tests.integration.process import OperatorProcess
from tests.integration.puppet import Actor, End, succeeded, train, train_for_ever
from tests.integration.watching import job_phase, quiet, seen, serves, settled
from torchyard import names


async def test_a_manual_edit_is_put_right(stage: Stage, namespace: str) -> None:
    await stage.kube.create(samples.version(namespace, 1))
    await stage.kube.create(samples.service(namespace, 1))
    await serves(stage, namespace, 1)
    before = await stage.kube.get("Service", namespace, "svc")
    assert before is not None

    async def look() -> bool:
        now = await stage.kube.get("Service", namespace, "svc")
        return now is not None and now["spec"]["selector"] == before["spec"]["selector"]

    change = {"spec": {"selector": {names.REVISION: "elsewhere"}}}
    await stage.kube.patch("Service", namespace, "svc", change)
    await until("the selector is put right", look, hint=stage.operator.tail)
    await settled(stage, namespace)


async def test_a_strangers_object_is_left_alone_and_named(stage: Stage, namespace: str) -> None:
    metadata = {"name": "job-workers", "namespace": namespace}
    ports = [{"port": 80, "name": "mine"}]
    await stage.kube.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}
    )
    await stage.kube.create(samples.job(namespace))

    def blocked(status: Json) -> bool:
        return bool(status.get("blockedBy", {}).get("reason") == "NameConflict")

    job = await seen(stage, "TrainingJob", namespace, "job", "is blocked", blocked)
    assert "Service job-workers" in job["status"]["blockedBy"]["message"]
    theirs = await stage.kube.get("Service", namespace, "job-workers")
    assert theirs is not None
    assert theirs["spec"]["ports"][0]["name"] == "mine"
    assert await stage.kube.list("Pod", namespace) == []
    await stage.kube.delete("Service", namespace, "job-workers")
    await job_phase(stage, namespace, "Succeeded")


async def test_a_quota_is_named_and_waited_out(stage: Stage, namespace: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few", "namespace": namespace},
        "spec": {"hard": {"pods": "1"}},
    }
    await stage.kube.create(quota)

    async def counted() -> bool:
        found = await stage.kube.get("ResourceQuota", namespace, "few")
        return bool(found and found.get("status", {}).get("hard"))

    await until("the quota counts", counted)
    await stage.kube.create(samples.job(namespace))

    def blocked(status: Json) -> bool:
        return bool(status.get("blockedBy", {}).get("category") == "Quota")

    job = await seen(stage, "TrainingJob", namespace, "job", "is blocked", blocked)
    assert "exceeded quota" in job["status"]["blockedBy"]["message"]
    await stage.kube.delete("ResourceQuota", namespace, "few")
    await job_phase(stage, namespace, "Succeeded")


async def test_a_pod_that_vanished_unseen_is_no_ghost(stage: Stage, namespace: str) -> None:
    """The deletion falls into the time that a watch has lost, as after a compaction."""
    stage.puppet.worker = train_for_ever
    await stage.kube.create(samples.job(namespace, failurePolicy={"maxRestarts": 1}))
    await job_phase(stage, namespace, "Running")
    ghosts = 'torchyard_sweep_corrections_total{kind="Pod",what="ghost"}'
    before = await stage.operator.metric(ghosts)
    stage.proxy.stall_watches()
    stage.puppet.worker = train_again
    await stage.kube.delete("Pod", namespace, "job-a0-w1", gracePeriodSeconds=0)

    async def gone() -> bool:
        return await stage.kube.get("Pod", namespace, "job-a0-w1") is None

    await until("the pod is gone", gone)
    stage.proxy.expire_watches()
    job = await job_phase(stage, namespace, "Succeeded")
    assert job["status"]["attempts"][0]["cause"] == "PodDeleted"
    assert await stage.operator.metric(ghosts) > before


async def train_again(actor: Actor) -> End:
    """Succeeds in the second attempt only."""
    await actor.noticed()
    return succeeded(actor) if actor.attempt else await train_for_ever(actor)


async def test_progress_is_asked_for_and_told(stage: Stage, namespace: str) -> None:
    async def reports(actor: Actor) -> End:
        if actor.worker == 0:
            progress = {"step": 7, "totalSteps": 100, "epoch": 1, "loss": "0.5"}
            actor.progress = {"contractVersion": 1, "attempt": 0, "progress": progress}
        return await train_for_ever(actor)

    stage.puppet.worker = reports
    await stage.kube.create(samples.job(namespace))

    def told(status: Json) -> bool:
        return bool(status.get("progress", {}).get("step") == 7)

    await seen(stage, "TrainingJob", namespace, "job", "tells its progress", told)
    leader = next(actor for actor in stage.puppet.actors(namespace) if actor.worker == 0)
    asked = leader.asked
    assert await quiet(stage, namespace, 12) == [], "the same progress is not written again"
    assert 1 <= leader.asked - asked <= 2


async def test_a_poisoned_resource_does_not_slow_its_neighbours(
    stage: Stage, namespace: str
) -> None:
    """One whose every write is answered by 500, beside one that is well."""

    def answer(method: str, path: str) -> tuple[int, str] | None:
        poisoned = method in ("PATCH", "POST") and "/poisoned" in path
        return (500, json.dumps({"message": "no"})) if poisoned else None

    stage.proxy.answer = answer
    try:
        await stage.kube.create(samples.job(namespace, "poisoned"))
        await stage.kube.create(samples.job(namespace))
        await job_phase(stage, namespace, "Succeeded")
    finally:
        stage.proxy.answer = None
    await job_phase(stage, namespace, "Succeeded", name="poisoned")


async def test_an_operator_that_was_away_catches_up(stage: Stage, namespace: str) -> None:
    """Created, changed and deleted while nobody looked: only the last state counts."""
    await stage.operator.stop()
    for name in ("kept", "gone"):
        await stage.kube.create(samples.job(namespace, name, suspend=True))
    await stage.kube.patch("TrainingJob", namespace, "kept", {"spec": {"suspend": False}})
    await stage.kube.delete("TrainingJob", namespace, "gone")
    await stage.operator.start()
    await job_phase(stage, namespace, "Succeeded", name="kept")
    assert {
        pod["metadata"]["labels"][names.JOB] for pod in await stage.kube.list("Pod", namespace)
    } == {"kept"}


async def test_a_job_created_anew_under_its_name_gets_pods_of_its_own(
    stage: Stage, namespace: str
) -> None:
    async def slow(actor: Actor) -> End:
        await actor.leaving.wait()
        await asyncio.sleep(1)  # the old pods are still there when the new job comes
        return End(143)

    stage.puppet.worker = slow
    await stage.kube.create(samples.job(namespace))
    old = await job_phase(stage, namespace, "Running")
    stage.puppet.worker = train
    await stage.kube.delete("TrainingJob", namespace, "job")

    async def gone() -> bool:
        return await stage.kube.get("TrainingJob", namespace, "job") is None

    await until("the job is gone", gone)
    await stage.kube.create(samples.job(namespace))
    new = await job_phase(stage, namespace, "Succeeded")
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    for pod in await stage.kube.list("Pod", namespace):
        assert pod["metadata"]["ownerReferences"][0]["uid"] == new["metadata"]["uid"]


async def test_an_api_server_that_goes_away_and_comes_back(stage: Stage, namespace: str) -> None:
    stage.puppet.worker = train_for_ever
    await stage.kube.create(samples.job(namespace))
    await job_phase(stage, namespace, "Running")
    async with stage.supervised():
        await asyncio.to_thread(stage.control_plane.stop_apiserver)
        await asyncio.to_thread(stage.control_plane.start_apiserver)
        stage.puppet.worker = train
        await stage.kube.create(samples.job(namespace, "later"))
        await job_phase(stage, namespace, "Succeeded", name="later")
        await stage.operator.acting()


async def test_a_standby_takes_over_from_a_leader_that_stops(stage: Stage, namespace: str) -> None:
    other = stage.another_operator(pod_name="operator-1")
    await other.start()
    try:
        await _stands_by(other)
        start = asyncio.get_running_loop().time()
        stage.operator.signal(signal.SIGTERM)
        assert await stage.operator.ended() == 0
        stopped = asyncio.get_running_loop().time() - start
        await other.acting()
        took = asyncio.get_running_loop().time() - start
        assert stopped < 10, f"SIGTERM took {stopped:.1f} s"
        assert took < 12, f"the other acted after {took:.1f} s"
        await stage.kube.create(samples.job(namespace))
        await job_phase(stage, namespace, "Succeeded")
    finally:
        await other.stop()
        await stage.operator.start()
        await stage.operator.acting()


async def test_a_paused_leader_wakes_up_as_a_stranger_and_ends(
    stage: Stage, namespace: str
) -> None:
    other = stage.another_operator(pod_name="operator-1")
    await other.start()
    try:
        await _stands_by(other)
        stage.operator.signal(signal.SIGSTOP)
        await other.acting()
        await stage.kube.create(samples.job(namespace))
        await job_phase(stage, namespace, "Succeeded")
        written = stage.proxy.written(namespace)
        stage.operator.signal(signal.SIGCONT)
        assert await stage.operator.ended() == 1
        assert await quiet(stage, namespace, 1) == []
        assert stage.proxy.written(namespace) == written
    finally:
        if not stage.operator.ended_already():
            stage.operator.signal(signal.SIGCONT)
        await other.stop()
        await stage.operator.start()
        await stage.operator.acting()


async def _stands_by(operator: OperatorProcess) -> None:
    await until("the other replica stands by", operator.is_well, hint=operator.tail)
    assert await operator.metric("torchyard_leader") == 0


async def test_nothing_is_written_while_nothing_changes(stage: Stage, namespace: str) -> None:
    stage.puppet.worker = train_for_ever
    await stage.kube.create(samples.version(namespace, 1))
    await stage.kube.create(samples.service(namespace, 1))
    await stage.kube.create(samples.job(namespace))
    await serves(stage, namespace, 1)
    await job_phase(stage, namespace, "Running")
    await settled(stage, namespace)
    assert await quiet(stage, namespace, 15) == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_it_is_well(stage: Stage, path: str) -> None:
    status, text = await stage.operator.ask(path)
    assert status == 200, text
