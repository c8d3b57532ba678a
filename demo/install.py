"""Installs the chart with the images that were built here."""

import json
from dataclasses import dataclass, replace

from demo.kube import ROOT, CommandError, Kube

BUILD = ROOT / "build"
RELEASE = "torchyard"
NAMESPACE = "torchyard-system"


@dataclass(frozen=True)
class Installation:
    """What was installed, and the image that helper pods run."""

    printed: str
    server: str
    values: dict[str, str]


def tools(namespace: str) -> Kube:
    """kubectl and helm against the local cluster.

    Raises:
        CommandError: the cluster is not up, or its tools were never put in place.
    """
    kube = Kube(
        kubeconfig=BUILD / "kubeconfig",
        namespace=namespace,
        kubectl=str(BUILD / "bin" / "kubectl"),
        helm=str(BUILD / "bin" / "helm"),
    )
    for needed in (kube.kubeconfig, BUILD / "bin" / "kubectl", BUILD / "images.json"):
        if not needed.exists():
            raise CommandError(f"{needed} is missing: run `make cluster-up images` first")
    return kube


def image_values(images: dict[str, str]) -> dict[str, str]:
    """The chart's values for references like `registry/repository@sha256:…`."""
    values = {"image.registry": ""}
    for name in ("operator", "trainer", "server"):
        repository, _, digest = images[name].partition("@")
        values[f"image.{name}.repository"] = repository
        values[f"image.{name}.digest"] = digest
    return values


def install(kube: Kube, **more: str) -> Installation:
    """`helm upgrade --install` of the chart, waiting until the operator is ready."""
    images: dict[str, str] = json.loads((BUILD / "images.json").read_text())
    values = image_values(images) | more
    settings = [
        argument for key, value in values.items() for argument in ("--set", f"{key}={value}")
    ]
    printed = replace(kube, namespace=NAMESPACE).run(
        *("upgrade", "--install", RELEASE, str(ROOT / "charts" / "torchyard")),
        *("--create-namespace", "--wait", "--timeout", "3m", *settings),
        program=kube.helm,
        timeout=240,
    )
    return Installation(printed, images["server"], values)
