"""buildah, with a store of its own in the cache."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster import cache, shell
from cluster.errors import ClusterError
from cluster.settings import REGISTRY, Cluster

# No user namespaces and no container of its own: this also works inside a container.
_ENVIRONMENT = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
RUN_ROOT = Path("/run/torchyard/buildah")


@dataclass(frozen=True)
class Recipe:
    """Everything that one build takes."""

    dockerfile: Path
    context: Path
    tag: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[Path, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)


def store() -> Path:
    """Return where images and layers are kept."""
    return cache.root() / "images" / "store"


def build(recipe: Recipe) -> None:
    """Build an image; unchanged layers come from the store."""
    options = [f"--build-arg={name}={value}" for name, value in recipe.arguments.items()]
    options += [f"--volume={path}:{target}:ro" for path, target in recipe.volumes.items()]
    options += [f"--secret=id={name},src={path}" for name, path in recipe.secrets.items()]
    options += ["--layers", "--pull-never", f"--file={recipe.dockerfile}", f"--tag={recipe.tag}"]
    _run("build", *options, str(recipe.context))


def push(cluster: Cluster, tag: str) -> str:
    """Push an image to the cluster's registry and return its digest."""
    with tempfile.NamedTemporaryFile(mode="r", prefix="digest-") as answer:
        _run(
            # To a registry buildah always compresses; gzip would take most of the time, here and
            # again when a pod pulls.
            *("push", "--tls-verify=false", "--compression-format=zstd", "--compression-level=1"),
            *(f"--digestfile={answer.name}", tag, f"docker://{tag}"),
            enter=("nsenter", f"--net={cluster.network_namespace}", "--"),
        )
        return answer.read().strip()


def reference(name: str, tag: str) -> str:
    """Return the full name of one of our images."""
    return f"{REGISTRY}/torchyard/{name}:{tag}"


def split(image: str) -> tuple[str, str]:
    """Return repository and tag of one of our images, as the registry wants them."""
    repository, tag = image.removeprefix(f"{REGISTRY}/").rsplit(":", 1)
    return repository, tag


def has(tag: str) -> bool:
    """Tell whether the store holds an image."""
    try:
        _run("inspect", "--type=image", tag)
    except ClusterError:
        return False
    return True


def _run(*arguments: str, enter: Sequence[str] = ()) -> None:
    store().mkdir(parents=True, exist_ok=True)
    roots = (f"--root={store()}", f"--runroot={RUN_ROOT}")
    # buildah leaves a mount of its store behind: in a namespace of its own that goes with it.
    shell.run(*enter, "unshare", "--mount", "--", "buildah", *roots, *arguments, env=_ENVIRONMENT)
