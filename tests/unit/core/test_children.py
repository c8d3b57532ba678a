"""The objects around a job: what its pods are told and given, and what they are not."""

import json
from typing import Any

import pytest

from tests.unit.core.builders import RELEASE, UID, JobStory, a_job, manifests
from torchyard import names
from torchyard.api.contract import WorkerConfig
from torchyard.core import workers


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["containers"][0]


def variables(manifest: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container(manifest)["env"]}


def told(story: JobStory) -> WorkerConfig:
    return WorkerConfig.read(variables(manifests(story)[0])["TORCHYARD_CONFIG"])


def test_every_worker_is_told_the_same_but_its_index() -> None:
    made = manifests(a_job(workers=3))
    assert len({variables(pod)["TORCHYARD_CONFIG"] for pod in made}) == 1
    assert [variables(pod)["TORCHYARD_WORKER"] for pod in made] == ["0", "1", "2"]
    assert [pod["metadata"]["name"] for pod in made] == [f"reviews-a0-w{i}" for i in range(3)]


def test_workers_meet_at_worker_0_of_their_own_attempt() -> None:
    story = a_job(workers=2)
    assert told(story).rendezvous == "a0-w0.reviews-workers:29500"
    pod = manifests(story, attempt=4)[1]
    assert pod["spec"]["hostname"] == "a4-w1"
    assert pod["spec"]["subdomain"] == workers.service(story.job)["metadata"]["name"]


def test_paths_are_where_the_volumes_are_mounted() -> None:
    config = told(a_job(data={"uri": "pvc://data/a/b.csv"}).publishing())
    assert config.data_path == "/torchyard/data/a/b.csv"
    assert config.output_uri == f"pvc://models/reviews/{UID}-0"
    assert config.output_path == f"/torchyard/output/reviews/{UID}-0"
    assert config.checkpoint_uri == f"pvc://models/.checkpoints/{UID}"
    assert config.checkpoint_path == f"/torchyard/checkpoints/.checkpoints/{UID}"


def test_checkpoints_may_have_a_place_of_their_own() -> None:
    config = told(a_job(checkpoint={"uri": "pvc://fast/ckpt/"}).publishing())
    assert config.checkpoint_uri == f"pvc://fast/ckpt/{UID}"


def test_without_an_output_there_is_nothing_to_publish_or_keep() -> None:
    config = told(a_job())
    assert (config.output_uri, config.output_path, config.checkpoint_uri) == (None, None, None)


def test_the_longest_places_that_are_allowed_fit() -> None:
    longest = "pvc://models/" + "a" * (512 - len("pvc://models/"))
    story = a_job(checkpoint={"uri": longest}).publishing("m" * 50, uri=longest)
    assert told(story).output_uri is not None
    assert workers.config(story.job, 10**6, "image").output_uri is not None


@pytest.mark.parametrize(
    ("story", "volumes", "mounts"),
    [
        (a_job(), {"data": "data"}, {"/torchyard/data": ("data", True)}),
        (
            a_job().publishing(),
            {"data": "data", "output": "models"},
            {
                "/torchyard/data": ("data", True),
                "/torchyard/output": ("output", False),
                "/torchyard/checkpoints": ("output", False),
            },
        ),
        (
            a_job(data={"uri": "pvc://models/x.csv"}).publishing(),
            {"data": "models"},
            {
                "/torchyard/data": ("data", True),
                "/torchyard/output": ("data", False),
                "/torchyard/checkpoints": ("data", False),
            },
        ),
    ],
    ids=["data alone", "two claims", "one claim for all"],
)
def test_a_claim_is_one_volume(
    story: JobStory, volumes: dict[str, str], mounts: dict[str, tuple[str, bool]]
) -> None:
    pod = manifests(story)[0]
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == volumes
    found = {
        m["mountPath"]: (m["name"], m["readOnly"])
        for m in container(pod)["volumeMounts"]
        if "readOnly" in m
    }
    assert found == mounts


@pytest.mark.parametrize(
    ("spec", "shared"),
    [
        ({"count": 1}, False),
        ({"count": 1, "processesPerWorker": 2}, True),
        ({"count": 1, "accelerator": {"count": 1}}, True),
    ],
)
def test_shared_memory_where_processes_pass_data_through_it(
    spec: dict[str, Any], shared: bool
) -> None:
    pod = manifests(a_job().with_spec(workers=spec))[0]
    assert ("/dev/shm" in [m["mountPath"] for m in container(pod)["volumeMounts"]]) is shared


def test_devices_are_limits_beside_what_else_is_asked_for() -> None:
    asked = {"requests": {"cpu": 2}, "limits": {"memory": "4Gi"}}
    story = a_job().with_spec(
        workers={"resources": asked, "accelerator": {"resource": "amd.com/gpu", "count": 2}}
    )
    assert container(manifests(story)[0])["resources"] == {
        "requests": {"cpu": "2"},
        "limits": {"memory": "4Gi", "amd.com/gpu": "2"},
    }


def test_what_the_user_adds_comes_below_what_is_ours() -> None:
    template = {
        "labels": {"team": "a", names.APP_NAME: "mine"},
        "annotations": {"note": "x"},
        "env": [{"name": "A", "value": "1"}, {"name": "HOME", "value": "/root"}],
        "nodeSelector": {"zone": "b"},
        "tolerations": [{"operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
    }
    pod = manifests(a_job().with_spec(workers={"template": template}))[0]
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["labels"][names.APP_NAME] == "torchyard-worker"
    assert pod["metadata"]["annotations"] == {"note": "x"}
    assert variables(pod)["A"] == "1"
    assert variables(pod)["HOME"] == "/tmp"
    for key in (
        "nodeSelector",
        "tolerations",
        "imagePullSecrets",
        "priorityClassName",
        "runtimeClassName",
    ):
        assert pod["spec"][key] == template[key]
    assert "zone" not in variables(pod)["TORCHYARD_CONFIG"]  # workers need not know of it


def test_pods_keep_to_the_restricted_profile() -> None:
    pod = manifests(a_job().publishing())[0]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = pod["containers"][0]["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False
    assert "hostNetwork" not in pod
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]


def test_a_pod_is_owned_by_exactly_its_job() -> None:
    for made in (
        *manifests(a_job(workers=2)),
        workers.service(a_job().job),
        workers.policy(a_job().job, RELEASE),
    ):
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("TrainingJob", UID, True)
        assert made["metadata"]["labels"][names.MANAGED_BY] == names.MANAGER
        assert made["metadata"]["labels"][names.JOB] == "reviews"


def test_service_and_policy_pick_this_jobs_pods_and_no_namesakes() -> None:
    job, pod = a_job().job, manifests(a_job())[0]
    labels = pod["metadata"]["labels"]
    chosen = workers.service(job)["spec"]["selector"]
    assert chosen.items() <= labels.items()
    assert chosen == {names.JOB_UID: UID}
    policy = workers.policy(job, RELEASE)["spec"]
    assert policy["podSelector"]["matchLabels"] == chosen
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_the_image_of_the_record_is_kept_by_a_newer_release() -> None:
    story = a_job().with_status(image="registry.example/trainer@sha256:old")
    pod = manifests(story)[0]
    assert container(pod)["image"] == "registry.example/trainer@sha256:old"
    assert told(story).image == "registry.example/trainer@sha256:old"


def test_the_configuration_is_plain_json() -> None:
    text = variables(manifests(a_job().publishing())[0])["TORCHYARD_CONFIG"]
    assert text.isascii()
    assert json.loads(text)["contractVersion"] == 1
