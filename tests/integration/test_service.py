"""A ModelService from creation through a change of version."""

from tests.integration import samples
from tests.integration.conftest import Stage
from tests.integration.kube import Json, until
from tests.integration.watching import quiet, seen, serves


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


async def test_a_newer_version_pre_empts_one_that_never_becomes_ready(
    stage: Stage, namespace: str
) -> None:
    stage.puppet.ready = lambda actor: actor.environment.get("TORCHYARD_MODEL_VERSION") != "2"
    for number in (1, 2, 3):
        await stage.kube.create(samples.version(namespace, number))
    await stage.kube.create(samples.service(namespace, 1))
    await serves(stage, namespace, 1)
    change = {"spec": {"model": {"version": 2}}}
    await stage.kube.patch("ModelService", namespace, "svc", change)

    def waits(status: Json) -> bool:
        return bool((status.get("rollout") or {}).get("version") == 2 and status["version"] == 1)

    await seen(stage, "ModelService", namespace, "svc", "waits for version 2", waits)
    change = {"spec": {"model": {"version": 3}}}
    await stage.kube.patch("ModelService", namespace, "svc", change)
    await serves(stage, namespace, 3)

    async def alone() -> bool:
        return len(await stage.kube.list("Deployment", namespace)) == 1

    await until("nothing is left of version 2", alone, hint=stage.operator.tail)
