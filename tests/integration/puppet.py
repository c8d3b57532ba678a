"""Scheduler and kubelet without nodes: pods are bound, run a script, and end as it says.

A script is a coroutine that plays one pod. It ends with an exit code and a termination message;
being asked to leave (the pod's deletion) is an event that it can wait for.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import ClientError, web

from tests.integration.kube import ApiError, Json, Kube
from torchyard import names
from torchyard.api.contract import CONFIG_VARIABLE, Outcome, Termination

INTERRUPTED = 143
NODE = "node-1"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class End:
    """How a container ended."""

    code: int = 0
    said: Termination | None = None


@dataclass
class Actor:
    """One running pod."""

    namespace: str
    name: str
    uid: str
    labels: dict[str, str]
    environment: dict[str, str]
    ip: str
    kube: Kube
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    progress: dict[str, Any] | None = None
    asked: int = 0
    task: asyncio.Task[None] | None = None

    @property
    def worker(self) -> int:
        return int(self.labels.get(names.WORKER, -1))

    @property
    def attempt(self) -> int:
        return int(self.labels.get(names.ATTEMPT, -1))

    @property
    def config(self) -> Json:
        found: Json = json.loads(self.environment[CONFIG_VARIABLE])
        return found

    async def noticed(self) -> None:
        """Returns when the operator has seen the whole gang run, or this pod is to leave.

        Training takes longer than that, always; a story that does not is another one each time.
        """
        name, count = self.config["job"]["name"], self.config["spec"]["workers"]["count"]
        while not self.leaving.is_set():
            job = await self.kube.get("TrainingJob", self.namespace, name) or {}
            status = job.get("status", {})
            running = status.get("workers", {}).get("running") == count
            if running and status.get("attempt") == self.attempt and status["phase"] == "Running":
                return
            await asyncio.sleep(0.05)


Script = Callable[[Actor], Awaitable[End]]


def succeeded(actor: Actor) -> End:
    """What a worker says that has published a model."""
    config = actor.config
    said: Json = {"outcome": Outcome.SUCCEEDED, "firstStep": 0, "time": now()}
    if actor.worker == 0 and config.get("outputUri"):
        tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
        said["artifact"] = {
            "uri": config["outputUri"],
            "digest": "sha256:" + "0" * 64,
            "sizeBytes": 1,
            "formats": ["Onnx"],
            "signature": {"inputs": [tensor], "outputs": [{**tensor, "name": "y"}]},
            "metrics": {"accuracy": "0.9"},
        }
    return End(0, Termination.model_validate(said))


async def train(actor: Actor) -> End:
    """Trains until the operator has seen it, and publishes."""
    await actor.noticed()
    if actor.leaving.is_set():
        return End(INTERRUPTED, Termination(outcome=Outcome.INTERRUPTED))
    return succeeded(actor)


async def train_for_ever(actor: Actor) -> End:
    """Trains until it is told to leave."""
    await actor.leaving.wait()
    return End(INTERRUPTED, Termination(outcome=Outcome.INTERRUPTED))


async def serve(actor: Actor) -> End:
    """Serves until it is told to leave."""
    await actor.leaving.wait()
    return End(0)


class Puppet:
    """Plays every pod of Torchyard's in the cluster."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._actors: dict[str, Actor] = {}
        self._addresses = itertools.count(1)
        self.worker: Script = train
        self.server: Script = serve
        self.ready: Callable[[Actor], bool] = lambda actor: True
        """Whether a pod that runs passes its readiness probe."""
        self.faults: list[BaseException] = []
        """What went wrong with the puppet itself."""
        self.ran: list[tuple[str, str]] = []
        """(namespace, name) of every pod that ever ran, in order."""

    def reset(self) -> None:
        """Back to the plain scripts."""
        self.worker, self.server = train, serve
        self.ready = lambda actor: True
        self.ran.clear()
        self.faults.clear()

    def actors(self, namespace: str) -> list[Actor]:
        """The pods that run right now."""
        return [actor for actor in self._actors.values() if actor.namespace == namespace]

    async def run(self) -> None:
        """Look at the pods, again and again."""
        # No endpoint leads to a pod of a node that does not exist.
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        await self._kube.create(node)
        query = f"?labelSelector={names.MANAGED_BY}%3D{names.MANAGER}"
        while True:
            try:
                for pod in await self._kube.list("Pod", None, query):
                    await self._attend(pod)
            except (ApiError, ClientError, OSError):
                pass  # somebody has stopped the API server, or is starting it
            await asyncio.sleep(0.03)

    async def stop(self) -> None:
        for actor in list(self._actors.values()):
            if actor.task is not None:
                actor.task.cancel()

    async def _attend(self, pod: Json) -> None:
        metadata, phase = pod["metadata"], pod["status"].get("phase")
        actor = self._actors.get(metadata["uid"])
        if metadata.get("deletionTimestamp"):
            if actor is not None:
                actor.leaving.set()
            else:
                await self._remove(metadata)
        elif actor is None and phase == "Pending":
            actor = self._cast(pod)
            self._actors[actor.uid] = actor
            actor.task = asyncio.create_task(self._play(actor, bool(pod["spec"].get("nodeName"))))

    def _cast(self, pod: Json) -> Actor:
        metadata, number = pod["metadata"], next(self._addresses)
        container = pod["spec"]["containers"][0]
        # Workers are asked for their progress, so theirs is an address of this machine; no
        # endpoint may have such a one, and nobody calls the servers.
        labels = metadata["labels"]
        network = "127.77" if names.JOB in labels else "10.77"
        return Actor(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            labels=labels,
            environment={item["name"]: item.get("value", "") for item in container.get("env", ())},
            ip=f"{network}.{number // 250}.{number % 250 + 1}",
            kube=self._kube,
        )

    async def _play(self, actor: Actor, bound: bool) -> None:
        runner = None
        try:
            if not bound:
                await self._bind(actor)
            if actor.worker == 0:
                runner = await self._answer(actor)
            running = {"running": {"startedAt": now()}}
            await self._report(actor, "Running", running, ready=self.ready(actor))
            self.ran.append((actor.namespace, actor.name))
            end = await (self.worker if names.JOB in actor.labels else self.server)(actor)
            terminated: Json = {
                "exitCode": end.code,
                "reason": "Completed" if end.code == 0 else "Error",
                "finishedAt": now(),
                **({"message": json.dumps(end.said.wire())} if end.said else {}),
            }
            phase = "Failed" if end.code else "Succeeded"
            await self._report(actor, phase, {"terminated": terminated}, ready=False)
        except ApiError as error:
            if error.status not in (404, 409):
                self.faults.append(error)
        except (OSError, ClientError) as error:
            self.faults.append(error)
        finally:
            if runner is not None:
                await runner.cleanup()
            self._actors.pop(actor.uid, None)

    async def _bind(self, actor: Actor) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": actor.name, "namespace": actor.namespace, "uid": actor.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        }
        path = f"/api/v1/namespaces/{actor.namespace}/pods/{actor.name}/binding"
        await self._kube.call("POST", path, binding)

    async def _report(self, actor: Actor, phase: str, state: Json, *, ready: bool) -> None:
        said = "True" if ready else "False"
        status = {
            "phase": phase,
            "podIP": actor.ip,
            "podIPs": [{"ip": actor.ip}],
            "startTime": now(),
            "conditions": [
                {"type": kind, "status": said, "lastTransitionTime": now()}
                for kind in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [
                {
                    "name": "worker" if names.JOB in actor.labels else "server",
                    "image": "test",
                    "imageID": "",
                    "restartCount": 0,
                    "ready": ready,
                    "started": ready,
                    "state": state,
                }
            ],
        }
        patch = {"metadata": {"uid": actor.uid}, "status": status}
        await self._kube.patch("Pod", actor.namespace, actor.name, patch, "/status")

    async def _remove(self, metadata: Json) -> None:
        await self._kube.delete(
            "Pod",
            metadata["namespace"],
            metadata["name"],
            gracePeriodSeconds=0,
            preconditions={"uid": metadata["uid"]},
        )

    async def _answer(self, actor: Actor) -> web.AppRunner:
        """The supervisor's status port."""

        async def progress(_: web.Request) -> web.Response:
            actor.asked += 1
            if actor.progress is None:
                return web.Response(status=503)
            return web.json_response(actor.progress)

        app = web.Application()
        app.router.add_get("/progress", progress)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, actor.ip, names.STATUS_PORT).start()
        return runner
