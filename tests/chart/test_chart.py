import subprocess

import pytest
import yaml

from tests.chart.helm import (
    CHART,
    NAMESPACE,
    RELEASE,
    REPOSITORY,
    Manifest,
    helm,
    of_kind,
    only,
    render,
    run,
)
from tests.chart.matrix import INSTALLATIONS
from torchyard import __version__, names

CLUSTER_WIDE = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}


def notes(values: Manifest) -> str:
    done = run(
        *("install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client"), values=values
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


def test_its_versions_are_that_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == __version__
    assert chart["appVersion"] == __version__
    assert chart["kubeVersion"] == ">=1.30.0-0"


def test_helm_finds_no_fault() -> None:
    done = subprocess.run(
        [str(helm()), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_an_older_cluster_is_refused() -> None:
    done = run("template", RELEASE, CHART, "--kube-version", "1.29.0")
    assert done.returncode != 0
    assert "1.30" in done.stderr


def test_everything_says_what_it_is(manifests: list[Manifest]) -> None:
    for item in manifests:
        labels = item["metadata"]["labels"]
        assert labels[names.APP_NAME] == "torchyard"
        assert labels[names.APP_INSTANCE] == RELEASE
        assert labels["app.kubernetes.io/version"] == __version__
        assert labels["helm.sh/chart"] == f"torchyard-{__version__}"
        # The operator looks after what carries its own mark, and this is not its work.
        assert labels[names.MANAGED_BY] == "Helm"


def test_no_two_objects_have_one_name(manifests: list[Manifest]) -> None:
    addresses = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        for item in manifests
    ]
    assert len(addresses) == len(set(addresses))


def test_every_object_lies_where_it_should(manifests: list[Manifest]) -> None:
    for item in manifests:
        namespace = item["metadata"].get("namespace")
        if item["kind"] in CLUSTER_WIDE:
            assert namespace is None
        elif item["kind"] in {"Role", "RoleBinding"}:
            assert namespace in {NAMESPACE, "team-a", "team-b"}
        else:
            assert namespace == NAMESPACE


def test_releases_of_several_namespaces_do_not_meet_cluster_wide() -> None:
    elsewhere = {"crds": {"install": False}}
    wide = [item["metadata"]["name"] for item in render(elsewhere) if item["kind"] in CLUSTER_WIDE]
    assert wide
    assert all(name.startswith(f"{NAMESPACE}:") for name in wide)


@pytest.mark.parametrize(
    ("release", "name"),
    [("torchyard", "torchyard"), ("my-torchyard", "my-torchyard"), ("x", "x-torchyard")],
)
def test_names_come_from_the_release(release: str, name: str) -> None:
    manifests = render(release=release)
    for kind in ("Deployment", "Service", "ServiceAccount", "NetworkPolicy"):
        assert only(manifests, kind)["metadata"]["name"] == name


def test_the_notes_name_the_next_commands() -> None:
    text = notes({})
    assert f"kubectl -n {NAMESPACE} rollout status deployment/torchyard" in text
    assert "kubectl get trainingjobs --watch" in text
    assert "digest" in text
    (applied,) = (line.split("-f ")[1] for line in text.splitlines() if "kubectl apply" in line)
    assert (REPOSITORY / applied).is_dir()


def test_the_notes_know_the_installation() -> None:
    assert "-n team-a -f" in notes(INSTALLATIONS["two namespaces"])
    assert "digest" not in notes(INSTALLATIONS["by digest"])


def test_strategy_and_budget_suit_an_election(rendered: dict[str, list[Manifest]]) -> None:
    # Old and new overlap, because standing by is harmless; a drain never takes both.
    deployment = only(rendered["highly available"], "Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == deployment["selector"]
    assert len(of_kind(rendered["highly available"], "PodDisruptionBudget")) == 1
