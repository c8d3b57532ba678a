"""Who is woken by what."""

import pytest

from tests.unit.engine.objects import custom, pod
from torchyard import names
from torchyard.engine.feed import Feed
from torchyard.engine.resources import Key, key_of
from torchyard.engine.store import Store

JOB = Key("TrainingJob", "ns", "job")
SERVICE = Key("ModelService", "ns", "svc")


@pytest.fixture
def woken() -> list[Key]:
    return []


@pytest.fixture
def feed(woken: list[Key]) -> Feed:
    return Feed(Store(), woken.append)


def test_a_child_wakes_its_owner_once_for_each_change(feed: Feed, woken: list[Key]) -> None:
    feed.seen(pod(version=1))
    feed.seen(pod(version=1))
    feed.seen(pod(version=2))
    feed.gone(key_of(pod()), pod(version=3))
    feed.gone(key_of(pod()), pod(version=3))
    assert woken == [JOB, JOB, JOB]


def test_an_owner_wakes_itself_even_when_it_goes(feed: Feed, woken: list[Key]) -> None:
    job = custom("TrainingJob", "job", {})
    feed.seen(job)
    feed.gone(JOB, job)
    assert woken == [JOB, JOB]


def test_a_version_wakes_the_services_of_its_model_and_the_job_that_made_it(
    feed: Feed, woken: list[Key]
) -> None:
    feed.seen(custom("ModelService", "svc", {"model": {"name": "digits"}}))
    feed.seen(custom("ModelService", "other", {"model": {"name": "reviews"}}))
    woken.clear()
    lineage = {"trainingJob": {"name": "job", "uid": "u"}}
    feed.seen(custom("ModelVersion", "v", {"model": "digits", "version": 1, "lineage": lineage}))
    assert woken == [SERVICE, JOB]


def test_what_carries_no_label_of_ours_wakes_nobody(feed: Feed, woken: list[Key]) -> None:
    feed.seen(pod(labels={names.MANAGED_BY: names.MANAGER}))
    assert woken == []


@pytest.mark.parametrize("spec", [None, {}, {"model": None}, {"model": {"name": 7}}, {"model": []}])
@pytest.mark.parametrize("kind", ["ModelVersion", "ModelService", "TrainingJob"])
def test_a_resource_that_makes_no_sense_stops_nobody(feed: Feed, kind: str, spec: object) -> None:
    manifest = {**custom(kind, "odd", {}), "spec": spec}
    feed.seen(manifest)
    feed.gone(key_of(manifest), manifest)
