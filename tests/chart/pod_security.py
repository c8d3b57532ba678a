"""Pod Security `restricted` (and with it `baseline`), for pods as they are written in manifests."""

from collections.abc import Iterator, Mapping
from typing import Any

Fields = Mapping[str, Any]

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SECCOMP = {"RuntimeDefault", "Localhost"}
_UNSAFE_IN_POD = ("hostNetwork", "hostPID", "hostIPC")
_UNSAFE_IN_CONTEXT = ("seLinuxOptions", "sysctls", "windowsOptions", "procMount")


def violations(pod: Fields) -> list[str]:
    """What is not allowed in a pod's spec; empty when it may run in a restricted namespace."""
    return list(_violations(pod))


def _violations(pod: Fields) -> Iterator[str]:
    shared = pod.get("securityContext", {})
    for field in _UNSAFE_IN_POD:
        if pod.get(field):
            yield field
    for volume in pod.get("volumes", ()):
        if kinds := set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']}: {kinds}"
    for context in (shared, *(item.get("securityContext", {}) for item in _containers(pod))):
        for field in _UNSAFE_IN_CONTEXT:
            if context.get(field):
                yield field
    for container in _containers(pod):
        for fault in _of_container(container, shared):
            yield f"container {container['name']}: {fault}"


def _of_container(container: Fields, shared: Fields) -> Iterator[str]:
    own = container.get("securityContext", {})
    # What the container says wins over what the pod says.
    both = {**shared, **own}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if "ALL" not in own.get("capabilities", {}).get("drop", ()):
        yield "capabilities are not dropped"
    if set(own.get("capabilities", {}).get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if both.get("runAsUser") == 0:
        yield "runAsUser"
    if both.get("seccompProfile", {}).get("type") not in _SECCOMP:
        yield "seccompProfile"
    for port in container.get("ports", ()):
        if port.get("hostPort"):
            yield "hostPort"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe, {}).get("httpGet", {}).get("host"):
            yield f"{probe} of another host"


def _containers(pod: Fields) -> Iterator[Fields]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(field, ())
