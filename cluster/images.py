"""The project's images: built by buildah when their sources changed, pushed to the cluster.

Every `images/NAME/Dockerfile` is built with the repository as its context. It finds
- the build argument BASE_IMAGE (Debian with Python), and NAME_IMAGE for another image of
  `images/`, which is then built first;
- a build argument ARG from the environment variable TORCHYARD_BUILD_ARG;
- pip's settings of the host as the secret `pip` (a pip.conf), and wheels of the host in /wheels.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster import base, buildah, cache, context, pip_settings, registry, system
from cluster.errors import ClusterError
from cluster.progress import say
from cluster.settings import REPOSITORY, Cluster

_RESULT = REPOSITORY / "build" / "images.json"
_SUFFIX = "_IMAGE"
_OVERRIDE = "TORCHYARD_BUILD_"


@dataclass(frozen=True)
class Built:
    """An image in the registry, by digest, and how long that took."""

    name: str
    reference: str
    seconds: float


def images(cluster: Cluster) -> Iterator[Built]:
    """Build and push what changed; yield every image and write `build/images.json`."""
    if not registry.answers(cluster):
        raise ClusterError(
            f"the registry of {cluster.name} does not answer", "python3 -m cluster up"
        )
    references: dict[str, str] = {}
    with cache.lock(cache.root() / "locks" / "images"):
        for built in _Images(cluster).all():
            references[built.name] = built.reference
            yield built
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(json.dumps(references, indent=2, sort_keys=True) + "\n")


class _Images:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dockerfiles = {
            path.parent.name: path for path in REPOSITORY.glob("images/*/Dockerfile")
        }
        # Name to the tag in buildah's store, whose key is that of the sources.
        self._tags: dict[str, str] = {}
        self._pip = pip_settings.collect()

    def all(self) -> Iterator[Built]:
        yield self._push("busybox", system.busybox(), time.monotonic())
        started = time.monotonic()
        base.ensure()
        self._tags["base"] = base.reference()
        yield self._push("debian-python", base.reference(), started)
        for name in sorted(self._dockerfiles):
            started = time.monotonic()
            yield self._push(name, self._build(name), started)

    def _build(self, name: str) -> str:
        """Return the tag of an image, building it, and first what it stands on."""
        if name in self._tags:
            return self._tags[name]
        if name not in self._dockerfiles:
            raise ClusterError(
                f"images/{name}/Dockerfile does not exist", f"{name.upper()}{_SUFFIX} asks for it"
            )
        dockerfile = self._dockerfiles[name]
        text = dockerfile.read_text()
        arguments = dict(self._arguments(text))
        sources = context.files(REPOSITORY, context.copied(text))
        key = context.key(REPOSITORY, sources, text, json.dumps(arguments, sort_keys=True))
        tag = buildah.reference(name, key)
        repository, version = buildah.split(tag)
        if registry.digest(self._cluster, repository, version) is None and not buildah.has(tag):
            say(f"building image {name}")
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                context.stage(REPOSITORY, sources, folder / "context")
                pip = folder / "pip.conf"
                pip.write_text(self._pip.text)
                buildah.build(
                    buildah.Recipe(
                        dockerfile,
                        folder / "context",
                        tag,
                        arguments=arguments,
                        volumes=self._pip.mounts,
                        secrets={"pip": pip},
                    )
                )
        self._tags[name] = tag
        return tag

    def _arguments(self, dockerfile: str) -> Iterator[tuple[str, str]]:
        for argument in context.arguments(dockerfile):
            if argument.endswith(_SUFFIX):
                yield argument, self._build(argument.removesuffix(_SUFFIX).lower())
            elif (value := os.environ.get(f"{_OVERRIDE}{argument}")) is not None:
                yield argument, value

    def _push(self, name: str, tag: str, started: float) -> Built:
        repository, version = buildah.split(tag)
        digest = registry.digest(self._cluster, repository, version)
        if digest is None:
            digest = buildah.push(self._cluster, tag)
        reference = f"{tag.rsplit(':', 1)[0]}@{digest}"
        return Built(name, reference, time.monotonic() - started)
