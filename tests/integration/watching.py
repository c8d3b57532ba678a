"""What tests wait for."""

import json
from collections.abc import Callable

from tests.integration.conftest import Stage
from tests.integration.kube import Json, until
from tests.integration.process import quiet


async def seen(
    stage: Stage, kind: str, namespace: str, name: str, what: str, right: Callable[[Json], bool]
) -> Json:
    """The resource, once its status is right."""
    last: Json = {}

    async def look() -> Json | None:
        last.clear()
        last.update(await stage.kube.get(kind, namespace, name) or {})
        return last if last and right(last.get("status", {})) else None

    def hint() -> str:
        return f"{json.dumps(last.get('status'), indent=1)}\n{stage.operator.tail()}"

    return dict(await until(f"{kind} {name} {what}", look, hint=hint))


async def settled(stage: Stage) -> None:
    """Returns when the operator acts and has written nothing for a second."""
    await stage.operator.acting()

    async def look() -> bool:
        return await quiet(stage.proxy.writes, 1) == 0

    await until("the operator rests", look, hint=stage.operator.tail)


async def job_phase(stage: Stage, namespace: str, *wanted: str, name: str = "job") -> Json:
    """The job, once it is in one of these phases."""
    what = f"is {' or '.join(wanted)}"
    return await seen(
        stage, "TrainingJob", namespace, name, what, lambda status: status.get("phase") in wanted
    )


async def serves(stage: Stage, namespace: str, version: int, name: str = "svc") -> Json:
    """The service, once it serves this version and nothing else is under way."""

    def right(status: Json) -> bool:
        done = status.get("phase") == "Ready" and status.get("version") == version
        return done and not status.get("rollout")

    return await seen(stage, "ModelService", namespace, name, f"serves version {version}", right)
