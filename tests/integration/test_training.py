"""A TrainingJob from creation to its record, and what happens when a pod fails."""

from tests.integration import samples
from tests.integration.conftest import Stage
from tests.integration.process import quiet
from tests.integration.watching import job_phase


async def test_a_job_is_trained_and_registered_in_few_writes(stage: Stage, namespace: str) -> None:
    await stage.kube.create(samples.job(namespace, workers=4))
    done = await job_phase(stage, namespace, "Succeeded")
    assert done["status"]["modelVersion"] == "digits-v1"
    record = await stage.kube.get("ModelVersion", namespace, "digits-v1")
    assert record is not None
    assert record["spec"]["lineage"]["trainingJob"]["name"] == "job"
    assert len(stage.proxy.writes) <= 4 + 8, list(map(str, stage.proxy.writes))
    assert await quiet(stage.proxy.writes, 3) == 0
