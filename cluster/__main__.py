"""The command line: `python3 -m cluster --help`."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cluster import binaries, cleaning, prerequisites
from cluster.controlplane import ControlPlane
from cluster.down import down
from cluster.errors import ClusterError
from cluster.images import images
from cluster.processes import Processes
from cluster.progress import say
from cluster.settings import API_PORT, GPUS, REPOSITORY, Cluster
from cluster.status import status
from cluster.up import up

_ABOUT = """A real single-node Kubernetes on this Debian 12 machine, in namespaces of its own.
The first `up` compiles Kubernetes, which takes ten minutes on two cores; later ones take ten
seconds. docs/local-cluster.md says how it works."""


def _up(cluster: Cluster, _: argparse.Namespace) -> int:
    up(cluster)
    say(f"export KUBECONFIG={_link(cluster)}")
    return 0


def _down(cluster: Cluster, options: argparse.Namespace) -> int:
    prerequisites.check_root()
    down(cluster, purge=options.purge)
    return 0


def _status(cluster: Cluster, _: argparse.Namespace) -> int:
    prerequisites.check_root()
    lines = list(status(cluster))
    width = max(len(line.name) for line in lines)
    for line in lines:
        print(f"{'ok ' if line.well else '-- '} {line.name:{width}}  {line.text}")
    return 0 if all(line.well for line in lines) else 1


def _build(_: Cluster, __: argparse.Namespace) -> int:
    programs = binaries.ensure(binaries.NODE)
    for name, path in (("kubectl", programs["kubectl"]), ("helm", binaries.helm() / "helm")):
        link = REPOSITORY / "build" / "bin" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        print(link)
    return 0


def _images(cluster: Cluster, _: argparse.Namespace) -> int:
    prerequisites.check_machine()
    for built in images(cluster):
        print(f"{built.name:16} {built.seconds:6.1f} s  {built.reference}", flush=True)
    return 0


def _kubeconfig(cluster: Cluster, _: argparse.Namespace) -> int:
    if not cluster.kubeconfig.exists():
        raise ClusterError(f"{cluster.name} is not up", "python3 -m cluster up")
    print(_link(cluster))
    return 0


def _link(cluster: Cluster) -> Path:
    """Make `build/kubeconfig` of this clone point to the cluster."""
    link = REPOSITORY / "build" / "kubeconfig"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(cluster.kubeconfig)
    return link


def _logs(cluster: Cluster, options: argparse.Namespace) -> int:
    log = Processes(cluster.run / "processes", cluster.logs).log(options.component)
    if not log.exists():
        there = sorted(path.stem for path in cluster.logs.glob("*.log"))
        raise ClusterError(f"no log of {options.component}", f"one of: {', '.join(there)}")
    tail = ["tail", "--lines=+1", *(["--follow"] if options.follow else []), str(log)]
    os.execvp(tail[0], tail)  # noqa: S606 - becomes a pager of one file


def _control_plane(_: Cluster, __: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as scratch, ControlPlane(Path(scratch)) as control_plane:
        say(f"serving on {control_plane.server}; Ctrl-C ends it")
        print(control_plane.kubeconfig, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


def _clean_cache(_: Cluster, __: argparse.Namespace) -> int:
    for path in cleaning.clean():
        say(f"removing {path}")
    return 0


Command = Callable[[Cluster, argparse.Namespace], int]

_COMMANDS: dict[str, tuple[Command, str]] = {
    "up": (_up, "bring the cluster up, or put right what is wrong with it"),
    "down": (_down, "take it down; built images and logs stay"),
    "status": (_status, "say what runs; ends with 1 when something does not"),
    "build": (_build, "compile the programs, and put kubectl and helm into build/bin"),
    "images": (_images, "build images/* and push them; references go to build/images.json"),
    "kubeconfig": (_kubeconfig, "link build/kubeconfig to this cluster and print its path"),
    "logs": (_logs, "print the log of one process"),
    "control-plane": (_control_plane, "run an API server without a node until Ctrl-C (no root)"),
    "clean-cache": (_clean_cache, "remove old builds and all built images from the cache"),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(prog="python3 -m cluster", description=_ABOUT)
    result.add_argument(
        "--name",
        default=os.environ.get("TORCHYARD_CLUSTER", "torchyard"),
        help="which cluster, when there are several (TORCHYARD_CLUSTER; %(default)s)",
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    added = {
        name: commands.add_parser(name, help=text, description=text)
        for name, (_, text) in _COMMANDS.items()
    }
    added["up"].add_argument(
        "--port", type=int, help=f"of the API on 127.0.0.1 (as it is, or {API_PORT})"
    )
    added["up"].add_argument(
        "--gpus", type=int, help=f"nvidia.com/gpu that the node offers (as it is, or {GPUS})"
    )
    added["down"].add_argument(
        "--purge", action="store_true", help="also remove this cluster's images and logs"
    )
    added["logs"].add_argument("component", help="such as kubelet")
    added["logs"].add_argument("--follow", action="store_true", help="go on as it grows")
    return result


def main() -> int:
    """Run one command; an error names its cause and cure."""
    options = parser().parse_args()
    port, gpus = getattr(options, "port", None), getattr(options, "gpus", None)
    try:
        cluster = Cluster.chosen(options.name, port, gpus)
        return _COMMANDS[options.command][0](cluster, options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
