"""Why a job is not training right now: one category, one reason, one sentence with the cure."""

from torchyard.api.trainingjob import BlockedBy
from torchyard.core.clock import stamp
from torchyard.core.objects import condition
from torchyard.core.world import JobWorld, Object, Problem

_IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_CONTAINER_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)


def of_pods(world: JobWorld, pods: tuple[Object, ...]) -> BlockedBy | None:
    """What the pods of the current attempt wait for, the first one that says it."""
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            message = scheduled.get("message", "")
            volume = "persistentvolumeclaim" in message.lower()
            reason = scheduled.get("reason") or "Unschedulable"
            return since(world, "Volume" if volume else "Scheduling", reason, f"{name}: {message}")
        for container in status.get("containerStatuses") or ():
            waiting = container.get("state", {}).get("waiting") or {}
            reason, message = waiting.get("reason", ""), waiting.get("message", "")
            if reason in _IMAGE_REASONS:
                told = message or container.get("image", "")
                return since(world, "Image", reason, f"{name}: {told}")
            if reason in _CONTAINER_REASONS:
                return since(world, "Container", reason, f"{name}: {message}")
    return None


def of_problem(world: JobWorld, problem: Problem) -> BlockedBy:
    """What the API server refused."""
    return since(world, category(problem), problem.reason or "Refused", explain(problem))


def category(problem: Problem) -> str:
    """The kind of obstacle behind a refusal."""
    if problem.code == 409:
        return "Conflict"
    if problem.code == 403:
        return "Quota" if "exceeded quota" in problem.message else "Permission"
    return "Spec" if problem.code in (400, 413, 422) else "Cluster"


def explain(problem: Problem) -> str:
    """The refusal in one sentence."""
    if problem.reason == "NameConflict":
        return (
            f"{problem.kind} {problem.name} exists and is somebody else's: remove it or choose "
            "another name"
        )
    return f"{problem.kind} {problem.name}: {problem.message}"


def since(world: JobWorld, category: str, reason: str, message: str) -> BlockedBy:
    """An obstacle that keeps the time at which it was first seen."""
    before = world.job.status.blocked_by
    same = before is not None and (before.category, before.reason) == (category, reason)
    return BlockedBy(
        category=category,
        reason=reason,
        message=message[:4096],
        since=before.since if before is not None and same else stamp(world.now),
    )
