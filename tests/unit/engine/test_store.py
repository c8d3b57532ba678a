"""The store never goes back, never holds a ghost for long and knows whose is what."""

import pytest

from tests.unit.engine.objects import custom, pod
from torchyard import names
from torchyard.engine.resources import Key, key_of
from torchyard.engine.store import Store, owners

JOB = Key("TrainingJob", "ns", "job")
SERVICE = Key("ModelService", "ns", "svc")


@pytest.fixture
def store() -> Store:
    return Store()


def test_an_older_copy_does_not_replace_a_newer_one(store: Store) -> None:
    assert store.put(pod(version=100))
    assert not store.put(pod(version=99))
    assert not store.put(pod(version=100)), "the echo of what is known is nothing new"
    assert store.put(pod(version=1000)), "versions are numbers, not words"
    known = store.get(key_of(pod()))
    assert known is not None
    assert known["metadata"]["resourceVersion"] == "1000"


def test_versions_that_are_no_numbers_are_taken_as_they_come(store: Store) -> None:
    assert store.put(pod(resourceVersion="abc"))
    assert not store.put(pod(resourceVersion="abc"))
    assert store.put(pod(resourceVersion="abb"))


def test_a_late_answer_does_not_bring_back_what_a_watch_saw_deleted(store: Store) -> None:
    store.put(pod(version=10))
    assert store.remove(key_of(pod()), pod(version=12)) is not None
    assert not store.put(pod(version=11))
    assert store.get(key_of(pod())) is None


def test_a_deletion_that_overtakes_the_creation_counts(store: Store) -> None:
    store.remove(key_of(pod()), pod(version=12))
    assert not store.put(pod(version=10))


def test_an_object_that_gets_its_labels_back_is_taken_again(store: Store) -> None:
    """To a watch by labels, losing them looks like a deletion."""
    store.put(pod(version=10))
    store.remove(key_of(pod()), pod(version=11))
    assert store.put(pod(version=12))


def test_the_deletion_of_a_namesake_spares_the_new_object(store: Store) -> None:
    store.put(pod(uid="new", version=20))
    assert store.remove(key_of(pod()), pod(uid="old", version=19)) is None
    assert store.get(key_of(pod())) is not None


def test_a_new_object_of_the_same_name_is_taken(store: Store) -> None:
    store.put(pod(uid="old", version=10))
    store.remove(key_of(pod()))
    assert store.put(pod(uid="new", version=20))


def test_children_are_found_by_label_and_kind_and_in_order(store: Store) -> None:
    store.put(pod("job-a0-w1"))
    store.put(pod("job-a0-w0"))
    store.put(pod("other", job="other"))
    found = store.children(JOB, "job-uid", "Pod")
    assert [item["metadata"]["name"] for item in found] == ["job-a0-w0", "job-a0-w1"]
    assert store.children(JOB, "job-uid", "Service") == ()


def test_children_of_a_namesake_are_not_ours(store: Store) -> None:
    store.put(pod(owner="the-job-before"))
    assert store.children(JOB, "job-uid", "Pod") == ()


def test_a_pod_with_our_label_and_no_owner_is_no_worker(store: Store) -> None:
    store.put(pod(owner=None))
    assert store.children(JOB, "job-uid", "Pod") == ()


def test_a_pod_of_a_deployment_is_found_by_its_label(store: Store) -> None:
    store.put(pod(job=None, owner=None, labels={names.SERVICE: "svc"}))
    assert len(store.children(SERVICE, "svc-uid", "Pod")) == 1


def test_a_child_that_changes_hands_leaves_its_old_owner(store: Store) -> None:
    store.put(pod(version=1))
    store.put(pod(version=2, job="other"))
    assert store.children(JOB, "job-uid", "Pod") == ()


def test_versions_and_services_are_found_by_their_model(store: Store) -> None:
    store.put(custom("ModelVersion", "reviews-v1", {"model": "reviews", "version": 1}))
    store.put(custom("ModelVersion", "digits-v1", {"model": "digits", "version": 1}))
    store.put(custom("ModelService", "svc", {"model": {"name": "reviews"}}))
    assert [v["metadata"]["name"] for v in store.versions("ns", "reviews")] == ["reviews-v1"]
    assert [s["metadata"]["name"] for s in store.services("ns", "reviews")] == ["svc"]
    assert list(store.versions("elsewhere", "reviews")) == []
    store.remove(Key("ModelVersion", "ns", "reviews-v1"))
    assert list(store.versions("ns", "reviews")) == []


def test_what_no_decision_reads_is_not_kept(store: Store) -> None:
    bulky = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "keep": "me"}
    given = {**pod(managedFields=[{}], annotations=bulky), "kind": "Service"}
    store.put(given)
    kept = store.get(key_of(given))
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"keep": "me"}
    assert given["metadata"]["annotations"] == bulky, "the given object is not changed"


def test_of_a_pod_only_what_decisions_read_is_kept(store: Store) -> None:
    given = pod(annotations={"much": "text"}, deletionTimestamp="2026-01-01T00:00:00Z")
    given["spec"] = {"nodeName": "node-1", "containers": [{"name": "worker", "env": [{}] * 100}]}
    status = {"name": "worker", "image": "i", "state": {"running": {}}, "containerID": "x" * 80}
    given["status"] = {"phase": "Running", "hostIP": "10.0.0.1", "containerStatuses": [status]}
    store.put(given)
    kept = store.get(key_of(given))
    assert kept is not None
    assert kept["spec"] == {"nodeName": "node-1"}
    assert kept["status"] == {
        "phase": "Running",
        "containerStatuses": [{"name": "worker", "image": "i", "state": {"running": {}}}],
    }
    assert "annotations" not in kept["metadata"]
    assert kept["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    assert kept["metadata"]["ownerReferences"] == given["metadata"]["ownerReferences"]


def test_owners_are_named_by_labels_and_an_owner_has_none() -> None:
    assert owners(pod()) == [JOB]
    job = custom("TrainingJob", "job", {})
    job["metadata"]["labels"] = {names.JOB: "copied-from-somewhere"}
    assert owners(job) == []
