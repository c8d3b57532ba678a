"""A ModelService from creation through a change of version."""

from tests.integration import samples
from tests.integration.conftest import Stage
from tests.integration.watching import quiet, serves


async def test_a_service_moves_to_another_version_and_settles(stage: Stage, namespace: str) -> None:
    for number in (1, 2):
        await stage.kube.create(samples.version(namespace, number))
    await stage.kube.create(samples.service(namespace, 1))
    await serves(stage, namespace, 1)
    assert await quiet(stage, namespace, 3) == []
    change = {"spec": {"model": {"version": 2}}}
    await stage.kube.patch("ModelService", namespace, "svc", change)
    await serves(stage, namespace, 2)
    assert len(await stage.kube.list("Deployment", namespace)) == 1
    assert await quiet(stage, namespace, 3) == []
