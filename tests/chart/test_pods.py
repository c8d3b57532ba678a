import re
from typing import Any

import pytest

from tests.chart.helm import Manifest, of_kind, only, render
from tests.chart.matrix import DIGEST
from tests.chart.pod_security import violations
from torchyard import __version__
from torchyard.config import OPTIONS, Settings
from torchyard.core.objects import USER

IMAGE_VARIABLES = ("TORCHYARD_TRAINER_IMAGE", "TORCHYARD_SERVER_IMAGE")


def pod(manifests: list[Manifest]) -> Manifest:
    spec: Manifest = only(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest]) -> Manifest:
    (found,) = pod(manifests)["containers"]
    assert isinstance(found, dict)
    return found


def environment(manifests: list[Manifest]) -> dict[str, Any]:
    return {item["name"]: item.get("value") for item in container(manifests)["env"]}


def settings(manifests: list[Manifest]) -> Settings:
    """What the operator itself makes of its environment."""
    told = environment(manifests)
    return Settings.parse(
        {option.name: told.get(option.variable) or option.default for option in OPTIONS}
    )


def test_nothing_but_the_deployment_runs_pods(manifests: list[Manifest]) -> None:
    others = of_kind(manifests, "Pod", "Job", "CronJob", "DaemonSet", "StatefulSet", "ReplicaSet")
    assert not others


def test_the_pod_is_restricted(manifests: list[Manifest]) -> None:
    assert violations(pod(manifests)) == []


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("pod", {"hostNetwork": True}),
        ("pod", {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}),
        ("pod", {"securityContext": {}}),
        ("pod", {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
        ("container", {"securityContext": {}}),
        ("container", {"securityContext": {"privileged": True}}),
        ("container", {"securityContext": {"runAsUser": 0}}),
        ("container", {"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["KILL"]}}}),
        ("container", {"ports": [{"containerPort": 1, "hostPort": 1}]}),
    ],
)
def test_the_judge_of_pods_sees(
    where: str, change: dict[str, Any], defaults: list[Manifest]
) -> None:
    bad, good = pod(defaults), container(defaults)
    bad = {**bad, **(change if where == "pod" else {"containers": [{**good, **change}]})}
    assert violations(bad)


def test_the_root_is_read_only_and_what_is_not_has_a_size(manifests: list[Manifest]) -> None:
    spec = pod(manifests)
    assert container(manifests)["securityContext"]["readOnlyRootFilesystem"] is True
    for volume in spec["volumes"]:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]


def test_the_user_is_the_one_of_the_images(manifests: list[Manifest]) -> None:
    context = pod(manifests)["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (USER, USER)


def test_the_only_token_is_a_projected_one_for_an_hour(manifests: list[Manifest]) -> None:
    assert only(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    spec = pod(manifests)
    assert spec["automountServiceAccountToken"] is False
    (volume,) = (item for item in spec["volumes"] if "projected" in item)
    sources = {key: value for item in volume["projected"]["sources"] for key, value in item.items()}
    assert sources["serviceAccountToken"]["expirationSeconds"] <= 3600
    assert sources["configMap"]["name"] == "kube-root-ca.crt"
    paths = {
        sources["serviceAccountToken"]["path"],
        *(item["path"] for item in sources["configMap"]["items"]),
        *(item["path"] for item in sources["downwardAPI"]["items"]),
    }
    assert paths == {"token", "ca.crt", "namespace"}
    (mount,) = (
        item for item in container(manifests)["volumeMounts"] if item["name"] == volume["name"]
    )
    assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert mount["readOnly"] is True


def test_no_secret_comes_near_the_pod(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Secret")
    spec = pod(manifests)
    assert not [item for item in spec["volumes"] if "secret" in item]
    assert "envFrom" not in container(manifests)
    for item in container(manifests)["env"]:
        assert "secretKeyRef" not in item.get("valueFrom", {})


def test_resources_are_requested_and_limited(defaults: list[Manifest]) -> None:
    resources = container(defaults)["resources"]
    for part in ("requests", "limits"):
        assert set(resources[part]) == {"cpu", "memory", "ephemeral-storage"}


def test_probes_ask_the_port_on_which_the_operator_listens(manifests: list[Manifest]) -> None:
    found = container(manifests)
    (port,) = found["ports"]
    assert port == {"name": "http", "containerPort": settings(manifests).port}
    paths = {
        probe: found[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert {found[probe]["httpGet"]["port"] for probe in paths} == {"http"}


def test_every_variable_is_one_that_the_operator_reads(manifests: list[Manifest]) -> None:
    assert set(environment(manifests)) <= {option.variable for option in OPTIONS}


def test_the_operator_understands_what_it_is_told(rendered: dict[str, list[Manifest]]) -> None:
    told = settings(rendered["everything"])
    assert told.watch_namespaces == ("team-a",)
    assert told.trainer_image == "registry.example.com/mirror/my/trainer:v2"
    assert told.server_image == f"registry.example.com/mirror/my/server:{__version__}"
    assert told.image_pull_policy == "Always"
    assert (told.log_level, told.log_format) == ("debug", "text")
    assert settings(rendered["defaults"]).watch_namespaces == ()


def test_workers_can_tell_the_operator_by_its_labels(manifests: list[Manifest]) -> None:
    deployment = only(manifests, "Deployment")
    labels = settings(manifests).operator_labels
    assert labels == deployment["spec"]["selector"]["matchLabels"]
    assert labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_digests_decide(rendered: dict[str, list[Manifest]]) -> None:
    manifests = rendered["by digest"]
    images = [container(manifests)["image"]]
    images += [environment(manifests)[name] for name in IMAGE_VARIABLES]
    assert images == [
        f"registry.example.com:5000/torchyard/{name}@{DIGEST}"
        for name in ("operator", "trainer", "server")
    ]


def test_a_tag_beside_a_digest_is_for_people(rendered: dict[str, list[Manifest]]) -> None:
    image = container(rendered["everything"])["image"]
    assert image == f"registry.example.com/mirror/my/operator:v1@{DIGEST}"


def test_without_a_digest_the_release_names_the_tag(defaults: list[Manifest]) -> None:
    assert re.fullmatch(
        rf"torchyard/operator:{re.escape(__version__)}", container(defaults)["image"]
    )


def test_our_labels_win_over_the_users() -> None:
    manifests = render({"podLabels": {"app.kubernetes.io/name": "other", "team": "platform"}})
    deployment = only(manifests, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert labels["team"] == "platform"
    assert deployment["selector"]["matchLabels"].items() <= labels.items()


def test_one_replica_can_be_drained_and_several_one_by_one(
    rendered: dict[str, list[Manifest]],
) -> None:
    assert not of_kind(rendered["defaults"], "PodDisruptionBudget")
    budget = only(rendered["highly available"], "PodDisruptionBudget")["spec"]
    deployment = only(rendered["highly available"], "Deployment")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["selector"]
    assert deployment["replicas"] == 2
