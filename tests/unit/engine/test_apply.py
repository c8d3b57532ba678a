"""Carrying out a plan: what is written, what is left alone, and what the store knows then."""

from typing import Any

import pytest

from tests.unit.engine.fake import FakeClient, conflict
from tests.unit.engine.objects import custom, pod
from torchyard import names
from torchyard.core.plan import Action, Apply, Create, Delete
from torchyard.engine.apply import Applier, Refusal, stamped
from torchyard.engine.feed import Feed
from torchyard.engine.resources import Key, key_of
from torchyard.engine.store import Store
from torchyard.errors import Forbidden, Outdated, Unavailable

JOB = Key("TrainingJob", "ns", "job")
Json = dict[str, Any]


class Bench:
    def __init__(self) -> None:
        self.client = FakeClient()
        self.store = Store()
        self.woken: list[Key] = []
        self.applier = Applier(self.client, self.store, Feed(self.store, self.woken.append))

    async def do(self, *actions: Action) -> bool:
        return await self.applier.carry_out(JOB, actions)

    def there(self, manifest: Json) -> Json:
        """The object exists, and the store has seen it."""
        kept = self.client.keep(manifest)
        self.store.put(kept)
        return kept


@pytest.fixture
def bench() -> Bench:
    return Bench()


def wanted(name: str = "job-a0-w0", **more: Any) -> Json:
    """A manifest as a decision makes it: without uid and version."""
    manifest = pod(name, **more)
    metadata = {
        k: v for k, v in manifest["metadata"].items() if k not in ("uid", "resourceVersion")
    }
    return {**manifest, "metadata": metadata}


def service(selector: str = "a", owner: str = "job-uid") -> Json:
    manifest = wanted("svc", owner=owner)
    return {**manifest, "kind": "Service", "spec": {"selector": {"app": selector}}}


async def test_what_was_created_is_known_at_once(bench: Bench) -> None:
    assert await bench.do(Create(wanted(), "worker 0"))
    known = bench.store.get(key_of(wanted()))
    assert known is not None
    assert known["metadata"]["uid"]


async def test_a_pod_that_we_created_before_a_crash_is_taken_as_it_is(bench: Bench) -> None:
    bench.client.keep(pod())
    assert await bench.do(Create(wanted(), "worker 0"))
    assert bench.store.get(key_of(pod())) is not None
    assert bench.client.writes == ["create Pod ns/job-a0-w0"]


async def test_a_strangers_pod_is_a_name_conflict_and_not_kept(bench: Bench) -> None:
    stranger = pod(owner=None, labels={})
    bench.client.keep(stranger)
    with pytest.raises(Refusal) as caught:
        await bench.do(Create(wanted(), "worker 0"))
    assert caught.value.problem.reason == "NameConflict"
    assert (caught.value.problem.kind, caught.value.problem.name) == ("Pod", "job-a0-w0")
    assert bench.store.get(key_of(stranger)) is None


async def test_the_pod_of_a_namesake_that_is_gone_only_takes_time(bench: Bench) -> None:
    bench.client.keep(pod(owner="the-job-before"))
    with pytest.raises(Unavailable):
        await bench.do(Create(wanted(), "worker 0"))


async def test_a_version_number_that_is_taken_is_counted_on_from_what_is_there(
    bench: Bench,
) -> None:
    spec = {"model": "digits", "version": 1}
    bench.client.keep(custom("ModelVersion", "digits-v1", spec))
    mine = custom("ModelVersion", "digits-v1", spec)
    mine["metadata"] = {"name": "digits-v1", "namespace": "ns", "labels": {names.JOB_UID: "u"}}
    with pytest.raises(Outdated):
        await bench.do(Create(mine, "publish"))
    assert len(list(bench.store.versions("ns", "digits"))) == 1


async def test_a_record_that_we_made_before_a_crash_is_ours(bench: Bench) -> None:
    mine = custom("ModelVersion", "digits-v1", {"model": "digits", "version": 1})
    mine["metadata"]["labels"] = {names.JOB_UID: "u"}
    bench.client.keep(mine)
    assert await bench.do(Create(mine, "publish"))
    assert bench.client.reads == ["get ModelVersion ns/digits-v1"]


async def test_a_record_wakes_the_services_of_its_model(bench: Bench) -> None:
    bench.there(custom("ModelService", "svc", {"model": {"name": "digits"}}))
    await bench.do(
        Create(custom("ModelVersion", "digits-v1", {"model": "digits", "version": 1}), "publish")
    )
    assert Key("ModelService", "ns", "svc") in bench.woken


async def test_a_first_apply_looks_and_does_not_force(bench: Bench) -> None:
    assert await bench.do(Apply(service(), None, "why"))
    assert bench.client.writes == ["apply Service ns/svc"]
    known = bench.store.get(Key("Service", "ns", "svc"))
    assert known is not None
    assert names.APPLIED_HASH in known["metadata"]["annotations"]


async def test_a_first_apply_refuses_a_strangers_object(bench: Bench) -> None:
    bench.client.keep(service(owner="somebody") | {"metadata": {"name": "svc", "namespace": "ns"}})
    with pytest.raises(Refusal) as caught:
        await bench.do(Apply(service(), None, "why"))
    assert caught.value.problem.reason == "NameConflict"
    assert bench.client.writes == []


async def test_ours_that_was_not_seen_yet_is_applied_with_its_uid(bench: Bench) -> None:
    bench.client.keep(service())
    await bench.do(Apply(service("b"), None, "why"))
    assert bench.client.writes == ["apply Service ns/svc by force"]


async def test_nothing_is_written_when_everything_is_as_it_was_applied(bench: Bench) -> None:
    observed = bench.there({**stamped(service()), "status": {"loadBalancer": {}}})
    assert not await bench.do(Apply(service(), observed["metadata"]["uid"], "why"))
    assert bench.client.writes == []


async def test_a_manual_edit_is_put_right(bench: Bench) -> None:
    edited = {**stamped(service()), "spec": {"selector": {"app": "elsewhere"}}}
    observed = bench.there(edited)
    assert await bench.do(Apply(service(), observed["metadata"]["uid"], "why"))
    assert bench.client.writes == ["apply Service ns/svc by force"]


async def test_a_field_that_is_no_longer_asked_for_is_noticed(bench: Bench) -> None:
    before = service()
    before["spec"]["sessionAffinity"] = "ClientIP"
    observed = bench.there(stamped(before))
    assert await bench.do(Apply(service(), observed["metadata"]["uid"], "why"))


async def test_an_apply_to_an_object_that_was_replaced_is_outdated(bench: Bench) -> None:
    observed = bench.there(stamped(service("a")))
    bench.client.keep({**service("a"), "metadata": {**observed["metadata"], "uid": "another"}})
    with pytest.raises(Outdated):
        await bench.do(Apply(service("b"), observed["metadata"]["uid"], "why"))
    known = bench.store.get(Key("Service", "ns", "svc"))
    assert known is not None
    assert known["metadata"]["uid"] == "another"


async def test_a_delete_is_known_at_once(bench: Bench) -> None:
    observed = bench.there(pod())
    assert await bench.do(Delete("Pod", "ns", "job-a0-w0", observed["metadata"]["uid"], "why"))
    assert bench.store.get(key_of(pod())) is None
    assert JOB in bench.woken


async def test_a_pod_that_takes_its_time_to_go_is_known_to_be_going(bench: Bench) -> None:
    observed = bench.there(pod(deletionGracePeriodSeconds=60))
    await bench.do(Delete("Pod", "ns", "job-a0-w0", observed["metadata"]["uid"], "why"))
    known = bench.store.get(key_of(pod()))
    assert known is not None
    assert known["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_delete_of_what_is_gone_is_done(bench: Bench, replaced: bool) -> None:
    observed = bench.there(pod())
    bench.client.forget(key_of(pod()))
    if replaced:
        bench.client.keep(pod(uid="another"))
    assert await bench.do(Delete("Pod", "ns", "job-a0-w0", observed["metadata"]["uid"], "why"))
    known = bench.store.get(key_of(pod()))
    assert (known is None) != replaced


async def test_a_refusal_ends_the_plan_and_names_the_object(bench: Bench) -> None:
    bench.client.fail["create Pod ns/job-a0-w1"] = Forbidden(
        "exceeded quota", code=403, reason="Forbidden"
    )
    with pytest.raises(Refusal) as caught:
        await bench.do(
            Create(wanted("job-a0-w1"), "worker 1"),
            Apply(service(), None, "never"),
        )
    assert caught.value.problem.code == 403
    assert caught.value.problem.message == "exceeded quota"
    assert bench.client.writes == ["create Pod ns/job-a0-w1"]


async def test_pods_go_side_by_side_and_groups_one_after_the_other(bench: Bench) -> None:
    await bench.do(
        Apply(service(), None, "first"),
        *(Create(wanted(f"job-a0-w{n}"), "then") for n in range(40)),
    )
    assert bench.client.writes[0] == "apply Service ns/svc"
    assert len(bench.client.writes) == 41


async def test_after_an_error_nothing_new_is_begun(bench: Bench) -> None:
    for n in range(16):
        bench.client.fail[f"create Pod ns/job-a0-w{n}"] = conflict("no such luck")
    with pytest.raises(Outdated):
        await bench.do(*(Create(wanted(f"job-a0-w{n}"), "then") for n in range(100)))
    assert len(bench.client.writes) <= 32
