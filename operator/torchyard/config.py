"""The operator's settings: one frozen object, from flags and TORCHYARD_… variables."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torchyard.core.world import Release
from torchyard.errors import Invalid

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*=[A-Za-z0-9._-]*")
_LISTEN: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9A-Za-z.-]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Option:
    """A setting: the flag `--name`, or the variable `TORCHYARD_NAME` with underscores."""

    name: str
    default: str
    help: str
    choices: tuple[str, ...] | None = None

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "TORCHYARD_" + self.name.upper().replace("-", "_")


OPTIONS: Final = (
    Option("trainer-image", "", "image of the workers of a TrainingJob that names none; required"),
    Option("server-image", "", "image of the servers of every ModelService; required"),
    Option(
        "image-pull-policy",
        "IfNotPresent",
        "of workers and servers",
        ("Always", "IfNotPresent", "Never"),
    ),
    Option("watch-namespaces", "", "namespaces to look after, by commas; empty means all"),
    Option("namespace", "", "the operator's own; empty means where its credentials are at home"),
    Option("pod-name", "", "the operator's own; empty means host name and process id"),
    Option("operator-labels", "", "its pods' labels as a=b,c=d; workers let them in"),
    Option("lease-name", "torchyard", "the Lease of which one replica at a time acts"),
    Option("listen", "0.0.0.0:8080", "address of /healthz, /readyz and /metrics"),
    Option("sweep-seconds", "300", "seconds between two comparisons with what there really is"),
    Option(
        "log-level",
        "info",
        "least important lines that are logged",
        ("debug", "info", "warning", "error"),
    ),
    Option("log-format", "json", "json, or text for people", ("json", "text")),
)


@dataclass(frozen=True)
class Settings:
    """What an operator process runs with."""

    trainer_image: str
    server_image: str
    image_pull_policy: str
    watch_namespaces: tuple[str, ...]
    namespace: str
    pod_name: str
    operator_labels: Mapping[str, str]
    lease_name: str
    host: str
    port: int
    sweep_seconds: float
    log_level: str
    log_format: str

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> "Settings":
        """Settings from the values of all options; Invalid names the one that is wrong."""
        for name in ("trainer-image", "server-image"):
            if not given[name]:
                raise _wrong(name, "give the image", "")
        host, port = _listen(given["listen"])
        return cls(
            trainer_image=given["trainer-image"],
            server_image=given["server-image"],
            image_pull_policy=_choice(given, "image-pull-policy"),
            watch_namespaces=_namespaces("watch-namespaces", given["watch-namespaces"]),
            namespace=next(iter(_namespaces("namespace", given["namespace"])), ""),
            pod_name=given["pod-name"] or f"{socket.gethostname()}_{os.getpid()}",
            operator_labels=_labels(given["operator-labels"]),
            lease_name=given["lease-name"],
            host=host,
            port=port,
            sweep_seconds=_seconds("sweep-seconds", given["sweep-seconds"]),
            log_level=_choice(given, "log-level"),
            log_format=_choice(given, "log-format"),
        )

    def release(self, namespace: str) -> Release:
        """What an operator at home in `namespace` fills in where a spec says nothing."""
        return Release(
            trainer_image=self.trainer_image,
            server_image=self.server_image,
            operator_namespace=namespace,
            operator_labels=self.operator_labels,
            image_pull_policy=self.image_pull_policy,
        )


def _choice(given: Mapping[str, str], name: str) -> str:
    choices = next(option.choices for option in OPTIONS if option.name == name)
    if given[name] not in (choices or ()):
        raise _wrong(name, f"give one of {', '.join(choices or ())}", given[name])
    return given[name]


def _namespaces(name: str, text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for part in found:
        if not _NAMESPACE.fullmatch(part):
            raise _wrong(name, "give names of namespaces", part)
    return found


def _labels(text: str) -> dict[str, str]:
    pairs = [part.strip() for part in text.split(",") if part.strip()]
    for pair in pairs:
        if not _LABEL.fullmatch(pair):
            raise _wrong("operator-labels", "give labels as key=value", pair)
    return dict(pair.split("=", 1) for pair in pairs)


def _listen(text: str) -> tuple[str, int]:
    match = _LISTEN.fullmatch(text)
    if not match or int(match[2]) > 65_535:
        raise _wrong("listen", "give address:port", text)
    return match[1].strip("[]"), int(match[2])


def _seconds(name: str, text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) <= 0:
        raise _wrong(name, "give a positive number of seconds", text)
    return float(text)


def _wrong(name: str, cure: str, value: str) -> Invalid:
    return Invalid(f"--{name}: {value!r} is not usable: {cure}")
