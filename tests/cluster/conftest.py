"""A real node with the chart on it, a namespace for each module, and what to look at on failure.

`TORCHYARD_CLUSTER` names the cluster, as for `python3 -m cluster`. One that is up is used and
stays up; one that is not is brought up, and taken down at the end.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.settings import Cluster
from demo import install
from demo.kube import ROOT, CommandError, Kube
from tests.cluster.stage import Stage

_MINUTES = 60
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A module's first test waits for its trainings, which are minutes on a busy machine."""
    for item in items:
        if item.path.is_relative_to(_HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(30 * _MINUTES))


@pytest.fixture(scope="session")
def node() -> Iterator[Cluster]:
    """The cluster, up, with kubectl, helm and the images of this checkout in it."""
    if os.geteuid() != 0:
        pytest.fail("tests/cluster run pods on a real node, which needs root on Debian 12")
    chosen = Cluster.chosen(os.environ.get("TORCHYARD_CLUSTER", "torchyard"))
    was_up = chosen.kubeconfig.exists()
    try:
        for command in ("up", "build", "images"):
            _cluster(chosen, command)
        yield chosen
    finally:
        if not was_up:
            _cluster(chosen, "down")


@pytest.fixture(scope="session")
def installed(node: Cluster) -> tuple[Kube, dict[str, str]]:
    """kubectl on the cluster, and the images, once the operator of this checkout runs."""
    kube = install.tools("default")
    install.install(kube)
    images: dict[str, str] = json.loads((install.BUILD / "images.json").read_text())
    return kube, images


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest, node: Cluster, installed: tuple[Kube, dict[str, str]]
) -> Iterator[Stage]:
    """An empty namespace that is called after the module."""
    kube, images = installed
    name = request.module.__name__.rpartition(".")[2].replace("_", "-")
    empty = Stage(replace(kube, namespace=name), node, images)
    empty.close()  # what an interrupted run left
    empty.open()
    yield empty
    empty.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Puts into the report of a failure what a person would look at first."""
    report = yield
    stage = getattr(item, "funcargs", {}).get("stage")
    error = call.excinfo.value if call.excinfo else None
    # The error of a fixture fails one test after another; a look around is taken once.
    if report.failed and isinstance(stage, Stage) and not hasattr(error, "looked_around"):
        report.sections += _look_around(stage)
        error.looked_around = True  # type: ignore[union-attr]
    return report


def _look_around(stage: Stage) -> Iterator[tuple[str, str]]:
    commands = {
        "resources": ("get", "all,tj,mv,msvc", "--output=wide"),
        "statuses": ("get", "tj,msvc", "--output=yaml", "--show-managed-fields=false"),
        "events": ("get", "events", "--sort-by=.metadata.creationTimestamp"),
    }
    for title, command in commands.items():
        yield title, _said(stage.kube, *command)
    for pod in stage.kube.list("pods"):
        name = pod["metadata"]["name"]
        yield f"end of the log of {name}", _said(stage.kube, "logs", name, "--tail=30")
    system = replace(stage.kube, namespace=install.NAMESPACE)
    log = _said(system, "logs", f"deployment/{install.RELEASE}", "--tail=5000")
    here = [line for line in log.splitlines() if stage.namespace in line]
    yield "the operator on this namespace", "\n".join(here[-200:])


def _said(kube: Kube, *command: str) -> str:
    with contextlib.suppress(CommandError):
        return kube.run(*command)
    return f"kubectl {' '.join(command)}: failed"


def _cluster(chosen: Cluster, command: str) -> None:
    line = [sys.executable, "-m", "cluster", "--name", chosen.name, command]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(line[1:])}:\n{done.stdout}{done.stderr}")
