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
    return sorted(path for name in ("go.mod", "go.sum", "*.go") for path in module.glob(name))


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
    found = [_Module(name) for name in modules]
    return Binaries({m.name: cache.folder("bin", m.key, m.build) for m in found})


def helm() -> Path:
    """Return the folder that holds the `helm` command."""
    return pypi.helm()


def current_folders() -> list[Path]:
    """Return where the present sources are built to."""
    return [cache.root() / "bin" / _Module(name).key for name in NODE]


class _Module:
    """One folder of `components/`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = _COMPONENTS / name
        go_mod = (self.folder / "go.mod").read_text()
        self.flags = link_flags(go_mod)
        self.toolchain = golang.toolchain(golang.required(go_mod))
        files = sources(self.folder)
        self.key = f"{name}-{cache.key([*files, self.flags, self.toolchain.version])}"

    def build(self, scratch: Path) -> None:
        """Compile it."""
        several = self.name == "kubernetes"
        say(f"building {self.name}" + (", once: ten minutes on two cores" if several else ""))
        # A module with a main.go is the program; the others name programs of their dependencies.
        package = "." if (self.folder / "main.go").exists() else "tool"
        shell.run(
            # "nice": whoever starts this is often waiting for something else as well.
            *("nice", self.toolchain.go, "build", "-trimpath", "-buildvcs=false"),
            *("-mod=readonly", f"-ldflags={self.flags}"),
            *("-o", f"{scratch}/" if several else scratch / self.name, package),
            cwd=self.folder,
            env={"CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"},
            cure="the Go module proxy must be reachable and 12 GB of disk be free",
        )
