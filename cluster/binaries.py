"""The programs of the cluster, built from the Go modules in `components/`."""

import re
from dataclasses import dataclass
from pathlib import Path

from cluster import cache, golang, pypi, shell
from cluster.errors import ClusterError
from cluster.progress import say

_COMPONENTS = Path(__file__).parent / "components"

CONTROL_PLANE = ("kubernetes", "etcd")
NODE = (*CONTROL_PLANE, "coredns", "local-path", "pause")


@dataclass(frozen=True)
class Binaries:
    """Where each built program lies."""

    folders: dict[str, Path]

    def __getitem__(self, program: str) -> Path:
        for folder in self.folders.values():
            if (path := folder / program).exists():
                return path
        raise ClusterError(f"{program} is not among the built programs")


def sources(module: Path) -> list[Path]:
    """Return the files that decide what a module builds to."""
    return sorted([module / "go.mod", module / "go.sum", *module.glob("*.go")])


def link_flags(go_mod: str) -> str:
    """Return linker flags; Kubernetes learns its version only from them."""
    flags = ["-s", "-w"]
    if match := re.search(r"^require k8s\.io/kubernetes v(\d+)\.(\d+)\.\d+", go_mod, re.MULTILINE):
        version = match[0].rsplit(" ", 1)[1]
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            flags.append(f"-X {package}.gitVersion={version}")
            flags.append(f"-X {package}.gitMajor={match[1]}")
            flags.append(f"-X {package}.gitMinor={match[2]}")
    return " ".join(flags)


def ensure(modules: tuple[str, ...]) -> Binaries:
    """Build what is missing from the cache and return where everything lies."""
    return Binaries({module: _ensure(_COMPONENTS / module) for module in modules})


def helm() -> Path:
    """Return the folder that holds the `helm` command."""
    return pypi.helm()


def _ensure(module: Path) -> Path:
    go_mod = (module / "go.mod").read_text()
    flags = link_flags(go_mod)
    toolchain = golang.toolchain(golang.required(go_mod))
    files = [path for path in sources(module) if path.exists()]
    name = f"{module.name}-{cache.key([*files, flags, toolchain.version])}"
    # A module with a main.go is the program; the others name programs of their dependencies.
    package = "." if (module / "main.go").exists() else "tool"

    def build(scratch: Path) -> None:
        several = module.name == "kubernetes"
        say(f"building {module.name}" + (", once: ten minutes on two cores" if several else ""))
        # "nice": whoever starts this is often waiting for something else as well.
        shell.run(
            *("nice", toolchain.go, "build", "-trimpath", "-buildvcs=false", "-mod=readonly"),
            *("-o", f"{scratch}/" if several else scratch / module.name),
            *(f"-ldflags={flags}", package),
            cwd=module,
            env={"CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"},
            cure="the Go module proxy must be reachable and 12 GB of disk be free",
        )

    return cache.folder("bin", name, build)
