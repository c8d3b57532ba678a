"""The `helm` command, and manifests as it renders them."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cluster import binaries

Manifest = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "torchyard"
RELEASE, NAMESPACE = "torchyard", "torchyard-system"


@cache
def helm() -> Path:
    """The command of $TORCHYARD_HELM, else the one on the path, else the pinned one, fetched."""
    own = os.environ.get("TORCHYARD_HELM") or shutil.which("helm")
    return Path(own) if own else binaries.helm() / "helm"


def run(*arguments: str | Path, values: Manifest | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm with values for the chart."""
    return subprocess.run(
        [str(helm()), *map(str, arguments), "--values", "-"],
        input=yaml.safe_dump(values or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def template(values: Manifest | None = None, *, release: str = RELEASE) -> str:
    """What an installation with these values would send, as text."""
    done = run("template", release, CHART, "--namespace", NAMESPACE, values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(values: Manifest | None = None, *, release: str = RELEASE) -> list[Manifest]:
    """What an installation with these values would send."""
    documents = yaml.load_all(template(values, release=release), Loader=yaml.CSafeLoader)
    return [document for document in documents if document]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """The manifests of some kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """The one manifest of a kind."""
    found = of_kind(manifests, kind)
    assert len(found) == 1, [item["metadata"]["name"] for item in found]
    return found[0]
