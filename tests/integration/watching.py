"""What tests wait for."""

import asyncio
import json
from collections.abc import Callable

from tests.integration.conftest import Stage
from tests.integration.kube import Json, until


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


async def quiet(stage: Stage, namespace: str, seconds: float) -> list[str]:
    """What the operator writes there while nothing should happen."""
    before = len(stage.proxy.written(namespace))
    await asyncio.sleep(seconds)
    return stage.proxy.written(namespace)[before:]


async def settled(stage: Stage, namespace: str) -> None:
    """Returns when the operator acts and has written nothing there for a second."""
    await stage.operator.acting()

    async def look() -> bool:
        return not await quiet(stage, namespace, 1)

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
