"""The base image: Debian with Python, made by debootstrap."""

import tempfile
from pathlib import Path

from cluster import buildah, cache, shell
from cluster.progress import say

_SUITE = "bookworm"
_PACKAGES = "ca-certificates,python3,python3-venv"
_DOCKERFILE = Path(__file__).parent / "system_images" / "debian-python.Dockerfile"
# What no image needs: downloaded packages, lists that are old tomorrow, manuals, translations.
_SUPERFLUOUS = (
    "./dev/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./var/cache/apt/archives/*.deb",
    "./var/lib/apt/lists/*",
)


def reference() -> str:
    """Return the name of the base image in the registry and in buildah's store."""
    return buildah.reference("debian-python", cache.key([_DOCKERFILE, folder().name]))


def ensure() -> None:
    """Put the base image into buildah's store."""
    if buildah.has(reference()):
        return
    root = cache.folder("base", folder().name, _bootstrap)
    say("building image debian-python")
    buildah.build(buildah.Recipe(_DOCKERFILE, root, reference()))


def folder() -> Path:
    """Return where the file system of the base image is cached."""
    return cache.root() / "base" / cache.key([_SUITE, _PACKAGES, *_SUPERFLUOUS])


def _bootstrap(scratch: Path) -> None:
    say("making a Debian file system with debootstrap (about a minute, once)")
    with tempfile.TemporaryDirectory(dir=scratch) as unpacked:
        root = Path(unpacked) / "root"
        shell.run(
            # debootstrap mounts /proc; in a namespace of its own none of that can stay behind.
            *("unshare", "--mount", "--"),
            *("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, root),
            cure="Debian's mirror must be reachable",
        )
        shell.run(
            *("tar", "--create", "--numeric-owner", "--sort=name"),
            *(f"--exclude={pattern}" for pattern in _SUPERFLUOUS),
            *(f"--directory={root}", f"--file={scratch / 'root.tar'}", "."),
        )
