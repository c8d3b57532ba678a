"""The two images that the cluster itself runs: pause and busybox."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from cluster import buildah, cache, registry
from cluster.binaries import Binaries
from cluster.progress import say
from cluster.settings import Cluster

_DOCKERFILES = Path(__file__).parent / "system_images"
_BUSYBOX = Path("/bin/busybox")


def pause(programs: Binaries) -> str:
    """Return the reference of the image that holds a pod's namespaces."""
    return _reference("pause", programs["pause"])


def busybox() -> str:
    """Return the reference of a small image with a shell, used by the storage helper."""
    return _reference("busybox", _BUSYBOX)


def ensure(cluster: Cluster, programs: Binaries) -> None:
    """Build and push what the registry lacks."""

    def fill_pause(context: Path) -> None:
        shutil.copy(programs["pause"], context / "pause")

    def fill_busybox(context: Path) -> None:
        folder = context / "bin"
        folder.mkdir()
        shutil.copy(_BUSYBOX, folder / "busybox")
        listing = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=True)
        for command in set(listing.stdout.split()) - {"busybox"}:
            (folder / command).symlink_to("busybox")

    _ensure(cluster, pause(programs), fill_pause)
    _ensure(cluster, busybox(), fill_busybox)


def _reference(name: str, program: Path) -> str:
    return buildah.reference(name, cache.key([_DOCKERFILES / f"{name}.Dockerfile", program]))


def _ensure(cluster: Cluster, reference: str, fill: Callable[[Path], None]) -> None:
    repository, tag = buildah.split(reference)
    if registry.digest(cluster, repository, tag):
        return
    name = repository.rsplit("/", 1)[1]
    say(f"building image {name}")
    with tempfile.TemporaryDirectory() as scratch:
        fill(Path(scratch))
        buildah.build(buildah.Recipe(_DOCKERFILES / f"{name}.Dockerfile", Path(scratch), reference))
    buildah.push(cluster, reference)
