"""A service from its first version to the next: when servers are made, traffic moves, what goes."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.builders import RELEASE, version
from tests.unit.core.services import ServiceStory, a_service, said, server, signature, writes
from torchyard import names
from torchyard.api.modelservice import Phase, RolloutPhase, Server, VersionState
from torchyard.core import servers
from torchyard.core.conditions import find
from torchyard.core.modelservice import decide


def told(story: ServiceStory, type_: str) -> tuple[str, str] | None:
    found = find(said(story.decide()).conditions, type_)
    return None if found is None else (found.status.value, found.reason)


def done(story: ServiceStory) -> list[str]:
    return writes(story.decide(), story)


def settled(story: ServiceStory) -> ServiceStory:
    """The story, and nothing more to do or say in it."""
    decision = story.decide()
    assert decision.status == story.service.status
    assert writes(decision, story) == []
    assert not decision.again
    assert decision.wake is None
    return story


SERVING = a_service(1).known(1, 2, 3).deployed(1).traffic(1)
"""Version 1 serves with two servers."""
ROLLING = SERVING.asking(2).rolling(2)
"""A rollout to version 2 is on record."""


class TestFirstVersion:
    """Nothing is in traffic yet."""

    story = a_service(1).known(1)

    def test_the_target_is_on_record_first(self) -> None:
        decision = self.story.decide()
        assert decision.again
        assert not decision.actions
        rollout = said(decision).rollout
        assert rollout is not None
        assert (rollout.version, rollout.phase) == (1, RolloutPhase.STARTING)
        assert said(decision).phase is Phase.STARTING

    def test_then_servers_and_service_are_made(self) -> None:
        assert done(self.story.rolling(1)) == ["create v1", "traffic v1"]

    def test_it_serves_when_all_servers_are_ready(self) -> None:
        story = self.story.rolling(1).deployed(1, ready=1).traffic(1, recorded=False)
        assert told(story, "Servable") == ("True", "ServersReady")
        assert told(story, "Ready") == ("False", "RollingOut")
        story = story.deployed(1)
        assert told(story, "Ready") == ("True", "Serving")
        assert said(story.decide()).rollout is None
        assert said(story.decide()).version == 1
        settled(story.then(1))

    def test_the_record_of_a_version_that_comes_later_is_awaited(self) -> None:
        story = a_service(1)
        assert told(story, "Ready") == ("False", "VersionNotFound")
        assert told(story, "Stalled") == ("False", "VersionNotFound")
        assert said(story.decide()).phase is Phase.PENDING
        settled(story.then(1))
        assert story.known(1).decide().again


class TestRollout:
    """From version 1 to version 2."""

    def test_the_target_is_on_record_before_its_servers(self) -> None:
        decision = SERVING.asking(2).decide()
        assert decision.again
        assert not decision.actions
        assert said(decision).rollout.version == 2

    def test_servers_are_made_beside_the_old_ones(self) -> None:
        assert done(ROLLING) == ["create v2"]

    @pytest.mark.parametrize(
        "spoil",
        [
            {"readyReplicas": 1, "availableReplicas": 1},
            {"updatedReplicas": 1},
            {"replicas": 3},
            {"observedGeneration": 0},
        ],
    )
    def test_traffic_waits_for_full_strength(self, spoil: dict[str, int]) -> None:
        story = ROLLING.deployed(2)
        *others, candidate = story.deployments
        candidate = {**candidate, "status": {**candidate["status"], **spoil}}
        story = replace(story, deployments=(*others, candidate))
        assert done(story) == []
        assert said(story.decide()).rollout.phase is RolloutPhase.STARTING
        assert told(story, "Progressing") == ("True", "RollingOut")

    def test_then_it_is_put_on_record_that_traffic_moves(self) -> None:
        decision = ROLLING.deployed(2).decide()
        assert said(decision).rollout.phase is RolloutPhase.SWITCHING
        assert decision.again
        assert not decision.actions

    def test_then_traffic_moves_and_nothing_goes(self) -> None:
        assert done(ROLLING.deployed(2).then()) == ["traffic v2"]

    def test_a_candidate_that_weakens_before_traffic_moves_is_waited_for(self) -> None:
        story = ROLLING.deployed(2).then().deployed(2, ready=1)
        assert done(story) == []
        assert said(story.decide()).rollout.phase is RolloutPhase.STARTING

    def test_the_old_servers_stay_while_endpoints_lead_to_them(self) -> None:
        story = ROLLING.deployed(2).traffic(2, routed=False)
        assert done(story.routed(1)) == []
        assert done(story.routed(1, 2)) == []
        assert said(story.routed(1).decide()).rollout.phase is RolloutPhase.DRAINING

    def test_the_old_servers_stay_until_the_new_ones_are_reached(self) -> None:
        assert done(ROLLING.deployed(2).traffic(2, routed=False)) == []

    def test_the_old_servers_stay_while_some_of_them_are_not_known(self) -> None:
        story = ROLLING.deployed(2).traffic(2)
        known = tuple(
            p for p in story.pods if not p["metadata"]["name"].endswith(f"{story.revision(1)}-0")
        )
        assert done(replace(story, pods=known)) == []

    def test_then_they_go(self) -> None:
        story = ROLLING.deployed(2).traffic(2)
        assert done(story) == ["delete v1"]
        over = replace(story, deployments=story.deployments[1:])
        assert said(over.decide()).rollout is None
        settled(over.then(9))

    def test_versions_are_told_with_their_parts(self) -> None:
        story = ROLLING.deployed(2, ready=1).deployed(3)
        assert [
            (v.version, v.state, v.replicas, v.ready) for v in said(story.decide()).versions
        ] == [
            (1, VersionState.STABLE, 2, 2),
            (2, VersionState.CANDIDATE, 2, 1),
            (3, VersionState.DRAINING, 2, 2),
        ]

    def test_however_many_versions_there_are_the_stable_one_is_told(self) -> None:
        story = SERVING.known(*range(4, 30))
        for number in range(2, 30):
            story = story.deployed(number)
        versions = said(story.decide()).versions
        assert len(versions) == 16
        assert versions[0].state is VersionState.STABLE


class TestAnotherMind:
    """A newer spec always comes first, whatever state the older one is in."""

    def test_superseded_while_its_servers_start(self) -> None:
        story = ROLLING.deployed(2, ready=0).asking(3).rolling(3)
        assert done(story) == ["create v3", "delete v2"]

    def test_superseded_while_it_is_half_ready(self) -> None:
        story = ROLLING.deployed(2, ready=1).asking(3).rolling(3)
        assert done(story) == ["create v3", "delete v2"]

    def test_superseded_when_it_has_taken_traffic(self) -> None:
        story = ROLLING.deployed(2).traffic(2).asking(3).rolling(3)
        assert done(story) == ["create v3", "delete v1"]

    def test_superseded_while_endpoints_follow(self) -> None:
        story = ROLLING.deployed(2).traffic(2, routed=False).routed(1).asking(3).rolling(3)
        assert done(story) == ["create v3"]

    def test_superseded_although_the_stable_version_is_broken_too(self) -> None:
        # Its devices may be just what the third version needs.
        story = ROLLING.deployed(1, ready=0).deployed(2, ready=1).routed()
        assert done(story.asking(3).rolling(3)) == ["create v3", "delete v2"]

    def test_rolled_back_while_its_servers_start(self) -> None:
        story = ROLLING.deployed(2, ready=0).asking(1)
        assert said(story.decide()).rollout.phase is RolloutPhase.DRAINING
        assert story.decide().again
        assert done(story.then()) == ["delete v2"]

    def test_rolled_back_while_the_old_version_drains(self) -> None:
        story = ROLLING.deployed(2).traffic(2, routed=False).routed(1, 2).asking(1).rolling(1)
        assert done(story.then()) == ["traffic v1"]
        story = story.traffic(1, routed=False).routed(1, 2)
        assert done(story) == []
        assert done(story.routed(1)) == ["delete v2"]

    def test_rolled_back_when_the_old_version_is_gone(self) -> None:
        story = ROLLING.deployed(2).traffic(2)
        story = replace(story, deployments=story.deployments[1:]).asking(1).rolling(1)
        assert done(story) == ["create v1"]

    def test_another_way_to_run_the_same_version_is_a_rollout(self) -> None:
        story = SERVING.with_spec(server={"resources": {"limits": {"cpu": "2"}}})
        assert story.decide().again
        assert done(story.rolling(1)) == ["create v1"]

    def test_a_newer_release_changes_nothing(self) -> None:
        newer = replace(RELEASE, server_image="registry.example/server@sha256:2")
        settled(replace(SERVING.then(), release=newer))

    def test_a_field_that_a_newer_release_adds_with_a_default_changes_nothing(self) -> None:
        class NewerServer(Server):
            surge: int = 1

        service, known = SERVING.service, SERVING.versions[0]
        spec = service.spec.model_copy(update={"server": NewerServer()})
        newer = service.model_copy(update={"spec": spec})
        assert servers.revision(newer, known) == servers.revision(service, known)
        other = spec.model_copy(update={"server": NewerServer(surge=2)})
        changed = service.model_copy(update={"spec": other})
        assert servers.revision(changed, known) != servers.revision(service, known)


class TestBroken:
    """A candidate that never becomes ready."""

    story = ROLLING.deployed(2, ready=0)

    def test_is_waited_for_until_the_deadline(self) -> None:
        assert self.story.after(100).decide().wake == 500
        assert told(self.story.after(599), "Stalled") == ("False", "RollingOut")

    def test_stalls_and_the_old_version_goes_on(self) -> None:
        story = self.story.after(600)
        assert told(story, "Stalled") == ("True", "ProgressDeadlineExceeded")
        assert told(story, "Progressing") == ("False", "ProgressDeadlineExceeded")
        assert told(story, "Servable") == ("True", "ServersReady")
        assert said(story.decide()).phase is Phase.STALLED
        assert done(story) == []
        settled(story.then(900))

    def test_goes_on_if_it_becomes_ready_after_all(self) -> None:
        story = self.story.after(600).then(700).deployed(2).then(701)
        assert done(story) == ["traffic v2"]
        assert told(story, "Stalled") == ("False", "RollingOut")

    def test_the_time_starts_anew_with_another_target(self) -> None:
        story = self.story.after(600).then(700).asking(3).then(701)
        assert told(story.deployed(3, ready=0), "Stalled") == ("False", "RollingOut")

    @pytest.mark.parametrize(
        ("status", "says"),
        [
            (
                {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no GPU"}]},
                "no GPU",
            ),
            (
                {
                    "containerStatuses": [
                        {
                            "name": "s",
                            "state": {"waiting": {"reason": "ErrImagePull", "message": "x"}},
                        }
                    ]
                },
                "ErrImagePull: x",
            ),
        ],
    )
    def test_says_why(self, status: dict[str, Any], says: str) -> None:
        message = said(self.story.server_status(2, status).decide()).rollout.message
        assert message is not None
        assert says in message
        assert message.startswith("0 of 2 servers")

    def test_does_not_call_a_start_trouble(self) -> None:
        waiting = {
            "containerStatuses": [
                {"name": "s", "state": {"waiting": {"reason": "ContainerCreating"}}}
            ]
        }
        message = said(self.story.server_status(2, waiting).decide()).rollout.message
        assert message == f"0 of 2 servers of {self.story.revision(2)} are ready"

    @pytest.mark.parametrize("state", ["state", "lastState"])
    def test_a_corrupt_artifact_stalls_at_once(self, state: str) -> None:
        words = '{"outcome": "ArtifactCorrupt", "message": "model.onnx: digest differs"}'
        story = self.story.saying(2, words, state)
        assert told(story, "ArtifactVerified") == ("False", "ArtifactCorrupt")
        assert told(story, "Stalled") == ("True", "ArtifactCorrupt")
        assert told(story, "Progressing") == ("False", "ArtifactCorrupt")
        assert done(story) == []

    def test_a_server_that_cannot_load_says_so(self) -> None:
        story = self.story.saying(2, '{"outcome": "LoadFailed", "message": "opset 99"}')
        assert "LoadFailed: opset 99" in (said(story.decide()).rollout.message or "")


class TestScale:
    """Replicas, at rest and in a rollout."""

    @pytest.mark.parametrize("replicas", [0, 1, 5])
    def test_the_deployment_follows(self, replicas: int) -> None:
        story = SERVING.with_spec(replicas=replicas)
        assert done(story) == [f"scale v1 to {replicas}"]
        assert said(story.decide()).rollout is None  # scaling is no rollout

    def test_unset_is_one(self) -> None:
        story = a_service(1, replicas=None).known(1).rolling(1)
        (made,) = [a.manifest for a in story.decide().actions if a.manifest["kind"] == "Deployment"]
        assert made["spec"]["replicas"] == 1

    def test_up_from_none(self) -> None:
        story = SERVING.with_spec(replicas=0).deployed(1).routed().then()
        settled(story)
        assert said(story.decide()).phase is Phase.STOPPED
        assert told(story, "Servable") == ("False", "NoServerReady")
        assert told(story, "Ready") == ("True", "Serving")
        assert done(story.with_spec(replicas=1)) == ["scale v1 to 1"]

    def test_both_versions_follow_in_a_rollout(self) -> None:
        story = ROLLING.deployed(2).with_spec(replicas=3)
        assert done(story) == ["scale v1 to 3", "scale v2 to 3"]

    def test_traffic_waits_for_the_new_number(self) -> None:
        story = (
            ROLLING.with_spec(replicas=3).deployed(1, replicas=3).deployed(2, replicas=3, ready=2)
        )
        assert done(story) == []
        assert not story.decide().again
        assert done(story.deployed(2, replicas=3).then()) == ["traffic v2"]

    def test_a_rollout_of_nothing_needs_no_servers(self) -> None:
        story = ROLLING.with_spec(replicas=0).deployed(1).deployed(2).routed().then()
        assert done(story) == ["traffic v2"]
        assert done(story.traffic(2)) == ["delete v1"]

    def test_a_lost_server_is_no_rollout(self) -> None:
        story = SERVING.deployed(1, ready=1)
        assert said(story.decide()).phase is Phase.DEGRADED
        assert said(story.decide()).rollout is None
        assert told(story, "Ready") == ("False", "ServersMissing")
        assert story.decide().wake is None

    def test_what_autoscalers_read(self) -> None:
        status = said(SERVING.decide())
        assert (status.replicas, status.ready_replicas) == (2, 2)
        assert status.selector == (
            f"{names.SERVICE}=sentiment,{names.REVISION}={SERVING.revision(1)}"
        )


class TestEditsByHand:
    """What somebody changes beside the operator is put right, and costs no request."""

    def selecting(self, story: ServiceStory, revision: str) -> ServiceStory:
        return replace(story, selected=revision)

    def test_a_service_that_selects_nothing_known(self) -> None:
        assert done(self.selecting(SERVING, "v9-nothing")) == ["traffic v1"]

    def test_a_service_that_is_gone(self) -> None:
        assert done(replace(SERVING, selected=None)) == ["traffic v1"]

    def test_a_service_that_selects_a_candidate_too_soon(self) -> None:
        story = ROLLING.deployed(2, ready=1)
        assert done(self.selecting(story, story.revision(2))) == ["traffic v1"]

    def test_a_service_that_selects_what_is_going(self) -> None:
        story = ROLLING.deployed(2).deployed(3).traffic(2, routed=False).routed(1)
        assert done(self.selecting(story, story.revision(3))) == ["traffic v2"]

    @pytest.mark.parametrize("ready", [2, 1, 0])
    def test_traffic_that_moved_just_before_a_crash_is_believed(self, ready: int) -> None:
        story = ROLLING.deployed(2).then().traffic(2, recorded=False).deployed(2, ready=ready)
        assert "traffic v1" not in done(story)
        assert said(story.decide()).versions[1].state is VersionState.STABLE

    def test_and_so_it_is_when_the_spec_has_changed_meanwhile(self) -> None:
        # Endpoints may lead to version 2 by now, whatever an old look at them says.
        story = ROLLING.deployed(2).then().traffic(2, recorded=False, routed=False).routed(1)
        story = story.asking(3)
        assert said(story.decide()).versions[1].state is VersionState.STABLE
        assert done(story.then()) == ["create v3"]

    def test_nothing_goes_while_the_service_has_to_be_put_right(self) -> None:
        story = ROLLING.deployed(1, ready=0).deployed(2, ready=1).deployed(3)
        assert done(self.selecting(story, story.revision(3))) == ["traffic v1"]

    def test_a_service_is_believed_when_the_recorded_version_has_no_servers(self) -> None:
        story = ROLLING.deployed(2).traffic(2, recorded=False)
        story = replace(story, deployments=story.deployments[1:])
        assert done(story) == []
        assert said(story.decide()).version == 2

    @pytest.mark.parametrize("label", [names.REVISION, names.MODEL])
    def test_a_deployment_that_lost_its_label_is_still_known(self, label: str) -> None:
        labels = dict(SERVING.deployments[0]["metadata"]["labels"])
        del labels[label]
        story = SERVING.deployed(1, labels=labels).traffic(1)
        assert done(story) == []
        applied = [
            a
            for a in story.decide().actions
            if getattr(a, "uid", None) == f"dep-{story.revision(1)}"
        ]
        assert len(applied) == 1

    def test_a_template_is_put_back_from_its_record(self) -> None:
        edited = dict(SERVING.deployments[0])
        template = {**edited["spec"]["template"], "spec": {"containers": []}}
        story = replace(
            SERVING, deployments=({**edited, "spec": {**edited["spec"], "template": template}},)
        )
        assert done(story) == ["render v1"]

    @pytest.mark.parametrize(
        "record", ["", "{", "[]", '{"metadata": {}}', '{"metadata": {"labels": {}}}']
    )
    def test_a_record_that_is_damaged_is_made_anew(self, record: str) -> None:
        story = SERVING.deployed(1, annotations={names.POD_TEMPLATE: record}).traffic(1)
        assert done(story) == []  # the same release renders the same
        story = replace(story, release=replace(RELEASE, server_image="newer"))
        assert done(story) == ["render v1"]

    def test_a_damaged_record_of_a_version_that_is_gone_is_left_alone(self) -> None:
        story = SERVING.deployed(1, annotations={names.POD_TEMPLATE: ""}).traffic(1).forgetting(1)
        assert done(story) == []

    def test_a_deployment_of_a_former_namesake_is_none_of_ours(self) -> None:
        owner = [{"kind": "ModelService", "name": "sentiment", "uid": "old", "controller": True}]
        story = a_service(1).known(1).rolling(1).deployed(1, ownerReferences=owner)
        (applied,) = [a for a in story.decide().actions if a.manifest["kind"] == "Deployment"]
        assert applied.uid is None

    def test_the_service_of_a_former_namesake_is_none_of_ours(self) -> None:
        world = SERVING.world
        (before,) = world.services
        owner = [{"kind": "ModelService", "name": "sentiment", "uid": "old", "controller": True}]
        theirs = {**before, "metadata": {**before["metadata"], "ownerReferences": owner}}
        (applied,) = [
            action
            for action in decide(replace(world, services=(theirs,))).actions
            if action.manifest["kind"] == "Service"
        ]
        assert applied.uid is None

    def test_a_deployment_that_somebody_deletes_is_made_anew(self) -> None:
        story = SERVING.deployed(1, deletionTimestamp="2026-03-01T12:00:00Z").traffic(1)
        assert story.decide().again
        story = story.rolling(1)
        (applied,) = [
            a
            for a in story.decide().actions
            if getattr(a, "manifest", {}).get("kind") == "Deployment"
        ]
        assert applied.uid is None

    def test_a_foreign_pod_behind_the_service_keeps_nothing_alive(self) -> None:
        story = ROLLING.deployed(2).traffic(2)
        story = replace(story, endpoints=(*story.endpoints, "somebody-elses"))
        assert done(story) == ["delete v1"]

    def test_a_deployment_with_a_selector_that_is_not_ours_is_left_alone(self) -> None:
        strange = server("nonsense", 0)
        strange["spec"] = {"selector": {"matchLabels": {}}}
        strange["metadata"]["ownerReferences"] = SERVING.deployments[0]["metadata"][
            "ownerReferences"
        ]
        story = replace(SERVING, deployments=(*SERVING.deployments, strange))
        assert [v.version for v in said(story.decide()).versions] == [1]
        assert done(story) == []


class TestRecordGone:
    """The ModelVersion of the version that serves is deleted."""

    story = SERVING.then().forgetting(1)

    def test_it_goes_on_serving(self) -> None:
        assert told(self.story, "Servable") == ("True", "ServersReady")
        assert told(self.story, "Ready") == ("False", "VersionNotFound")
        assert done(self.story) == []

    def test_it_can_still_be_scaled(self) -> None:
        assert done(self.story.with_spec(replicas=4)) == ["scale v1 to 4"]

    def test_it_can_be_left_for_another_version(self) -> None:
        story = self.story.asking(2)
        assert told(story, "SignatureCompatible") == ("Unknown", "RecordMissing")
        assert done(story.rolling(2)) == ["create v2"]

    def test_a_version_may_lose_its_record_in_the_middle_of_its_rollout(self) -> None:
        story = ROLLING.deployed(2, ready=1).forgetting(2)
        assert done(story) == ["delete v2"]
        assert said(story.decide()).rollout is None


def test_a_service_that_is_being_deleted_is_left_to_the_garbage_collector() -> None:
    story = replace(ROLLING, metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"})
    decision = story.decide()
    assert decision.status is None
    assert not decision.actions


def test_scaling_behind_a_closed_gate_is_followed() -> None:
    story = SERVING.known(version(4, signature=signature(z=[-1, 9]))).asking(4)
    assert done(story.with_spec(replicas=5)) == ["scale v1 to 5"]


def test_guards_are_applied_to_the_observed_ones() -> None:
    applied = [
        a
        for a in SERVING.decide().actions
        if a.manifest["kind"] in ("PodDisruptionBudget", "NetworkPolicy")
    ]
    assert [a.uid for a in applied] == [None, None]
    policy, budget = servers.policy(SERVING.service), servers.budget(SERVING.service)
    world = replace(
        SERVING.world,
        policies=({**policy, "metadata": {**policy["metadata"], "uid": "p"}},),
        budgets=({**budget, "metadata": {**budget["metadata"], "uid": "b"}},),
    )
    applied = [
        a
        for a in decide(world).actions
        if a.manifest["kind"] in ("PodDisruptionBudget", "NetworkPolicy")
    ]
    assert [a.uid for a in applied] == ["p", "b"]
