"""A TrainingJob from creation to its record, and what happens when a pod fails."""

from tests.integration import samples
from tests.integration.conftest import Stage
from tests.integration.kube import until
from tests.integration.puppet import train, train_for_ever
from tests.integration.watching import job_phase, quiet


async def test_a_job_is_trained_and_registered_in_few_writes(stage: Stage, namespace: str) -> None:
    await stage.kube.create(samples.job(namespace, workers=4))
    done = await job_phase(stage, namespace, "Succeeded")
    assert done["status"]["modelVersion"] == "digits-v1"
    record = await stage.kube.get("ModelVersion", namespace, "digits-v1")
    assert record is not None
    assert record["spec"]["lineage"]["trainingJob"]["name"] == "job"

    async def told() -> bool:
        events = await stage.kube.list("Event", namespace)
        return {"WorkersRunning", "Trained"} <= {event["reason"] for event in events}

    await until("Events tell the story", told, hint=stage.operator.tail)
    assert len(stage.proxy.written(namespace)) <= 4 + 8, stage.proxy.written(namespace)
    assert await quiet(stage, namespace, 3) == []


async def test_a_suspended_job_frees_its_devices_and_goes_on_later(
    stage: Stage, namespace: str
) -> None:
    stage.puppet.worker = train_for_ever
    await stage.kube.create(samples.job(namespace))
    await job_phase(stage, namespace, "Running")
    await stage.kube.patch("TrainingJob", namespace, "job", {"spec": {"suspend": True}})
    await job_phase(stage, namespace, "Suspended")
    assert stage.puppet.actors(namespace) == []
    assert await quiet(stage, namespace, 2) == []
    stage.puppet.worker = train
    await stage.kube.patch("TrainingJob", namespace, "job", {"spec": {"suspend": False}})
    done = await job_phase(stage, namespace, "Succeeded")
    assert done["status"].get("restarts", 0) == 0


async def test_a_job_deletes_itself_and_all_it_made_but_the_record(
    stage: Stage, namespace: str
) -> None:
    await stage.kube.create(samples.job(namespace, ttlSecondsAfterFinished=1))

    async def gone() -> bool:
        left = [await stage.kube.list(kind, namespace) for kind in ("TrainingJob", "Pod")]
        return not any(left)

    await until("job and pods are gone", gone, hint=stage.operator.tail)
    assert await stage.kube.get("ModelVersion", namespace, "digits-v1") is not None
