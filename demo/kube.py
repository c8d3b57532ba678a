"""kubectl and helm, as a person would type them; for the demo and for tests on a cluster."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"

T = TypeVar("T")


class CommandError(Exception):
    """A command failed; the message carries what it printed."""


class Timeout(Exception):
    """A condition did not come true in time."""


@dataclass(frozen=True)
class Kube:
    """Commands against one cluster and one namespace."""

    kubeconfig: Path
    namespace: str = "default"
    kubectl: str = "kubectl"
    helm: str = "helm"

    def run(
        self, *arguments: str, stdin: bytes | None = None, timeout: float = 120, program: str = ""
    ) -> str:
        """Runs kubectl (or `program`) in the namespace and returns what it printed.

        Raises:
            CommandError: it ended with another code than 0, or took longer than `timeout` s.
        """
        command = [program or self.kubectl, "--namespace", self.namespace, *arguments]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, timeout=timeout, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{' '.join(command)}: no end after {timeout} s") from error
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise CommandError(f"{' '.join(command)}: exit code {done.returncode}: {said}")
        return done.stdout.decode()

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object, or None if there is no such object."""
        printed = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(printed) if printed.strip() else None

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """The objects of a kind that carry the labels of `selector`."""
        printed = self.run("get", kind, "--selector", selector, "-o", "json")
        items: list[dict[str, Any]] = json.loads(printed)["items"]
        return items

    def apply(self, manifest: Path | dict[str, Any]) -> None:
        """`kubectl apply --server-side` of a file or an object."""
        arguments = ("apply", "--server-side", "--filename")
        if isinstance(manifest, Path):
            self.run(*arguments, str(manifest))
        else:
            self.run(*arguments, "-", stdin=json.dumps(manifest).encode())

    def infer(self, service: str, model: str, request: dict[str, Any]) -> dict[str, Any]:
        """Asks a served model once, through the API server's proxy."""
        path = (
            f"/api/v1/namespaces/{self.namespace}/services/http:{service}:80/proxy"
            f"/v2/models/{model}/infer"
        )
        body = json.dumps(request).encode()
        answer: dict[str, Any] = json.loads(
            self.run("create", "--raw", path, "--filename", "-", stdin=body)
        )
        return answer


def wait(what: str, look: Callable[[], T | None], timeout: float, pause: float = 1.0) -> T:
    """Looks every `pause` seconds until there is something; raises Timeout after `timeout`."""
    end = time.monotonic() + timeout
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() >= end:
            raise Timeout(f"{what}: not within {timeout:.0f} s")
        time.sleep(pause)


def condition(resource: dict[str, Any] | None, type_: str) -> dict[str, Any] | None:
    """A condition of an object, or None."""
    status = (resource or {}).get("status", {})
    return next((c for c in status.get("conditions", ()) if c["type"] == type_), None)


def holds(resource: dict[str, Any] | None, type_: str) -> bool:
    """Whether a condition is True."""
    found = condition(resource, type_)
    return found is not None and found["status"] == "True"
