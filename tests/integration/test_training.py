"""A TrainingJob from creation to its record, and what happens when a pod fails."""

from tests.integration import samples
from tests.integration.conftest import Stage
from tests.integration.watching import job_phase, quiet


async def test_a_job_is_trained_and_registered_in_few_writes(stage: Stage, namespace: str) -> None:
    await stage.kube.create(samples.job(namespace, workers=4))
    done = await job_phase(stage, namespace, "Succeeded")
    assert done["status"]["modelVersion"] == "digits-v1"
    record = await stage.kube.get("ModelVersion", namespace, "digits-v1")
    assert record is not None
    assert record["spec"]["lineage"]["trainingJob"]["name"] == "job"
    told = {event["reason"] for event in await stage.kube.list("Event", namespace)}
    assert {"WorkersRunning", "Trained"} <= told
    assert len(stage.proxy.written(namespace)) <= 4 + 8, stage.proxy.written(namespace)
    assert await quiet(stage, namespace, 3) == []
