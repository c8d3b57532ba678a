"""The end of a job: the record of its artifact, its verdict, its pods, its time to live."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.builders import (
    DIGEST,
    FAILED,
    PENDING,
    RUNNING,
    SUCCEEDED,
    UID,
    JobStory,
    a_job,
    artifact,
    at,
    condition,
    ended,
    published,
    says,
    status_of,
    version,
    written,
)
from torchyard import names
from torchyard.api.modelversion import ModelVersion, ModelVersionSpec
from torchyard.api.trainingjob import Phase
from torchyard.core.plan import Create, Decision, Delete


def record(decision: Decision) -> dict[str, Any]:
    created = [action.manifest for action in decision.actions if isinstance(action, Create)]
    assert [manifest["kind"] for manifest in created] == ["ModelVersion"]
    return dict(created[0])


class TestRegistration:
    """One ModelVersion a job, under the next number."""

    story = a_job(workers=2).publishing().attempt(0).pods(published(), SUCCEEDED).after(100)

    def test_one_decision_makes_the_record_and_closes_the_job(self) -> None:
        decision = self.story.decide()
        status = status_of(decision)
        assert written(decision) == ["create ModelVersion reviews-v1"]
        assert condition(decision, "Complete") == ("True", "Trained")
        assert (status.phase, status.model_version) == (Phase.SUCCEEDED, "reviews-v1")
        assert status.completion_time == at(100)
        assert status.active_seconds == 100
        assert (status.attempts[0].cause, status.attempts[0].end_time) == ("Succeeded", at(100))

    def test_the_record_says_where_it_comes_from(self) -> None:
        story = self.story.with_status(image="registry.example/trainer@sha256:7")
        manifest = record(story.decide())
        assert manifest["metadata"]["labels"][names.JOB_UID] == UID
        assert manifest["metadata"]["labels"][names.MODEL] == "reviews"
        assert "ownerReferences" not in manifest["metadata"]
        spec = manifest["spec"]
        assert spec["artifact"]["digest"] == DIGEST
        assert spec["metrics"] == {"accuracy": "0.81"}
        assert spec["lineage"] == {
            "trainingJob": {"name": "reviews", "uid": UID},
            "data": {"uri": "pvc://data/train.csv", "digest": "sha256:" + "d" * 64},
            "image": "registry.example/trainer@sha256:7",
        }
        ModelVersion.model_validate({**manifest, "metadata": {**manifest["metadata"], "uid": "x"}})

    @pytest.mark.parametrize(
        ("known", "name"), [((), "v1"), ((1,), "v2"), ((1, 2, 7), "v8"), ((7, 2), "v8")]
    )
    def test_the_number_after_the_highest(self, known: tuple[int, ...], name: str) -> None:
        story = self.story.registered(*(version(number) for number in known))
        assert written(story.decide()) == [f"create ModelVersion reviews-{name}"]

    def test_the_next_number_when_somebody_took_it_first(self) -> None:
        first = self.story.decide()
        assert written(first) == ["create ModelVersion reviews-v1"]
        beaten = self.story.registered(version(1, job_uid="another-job"))
        assert written(beaten.decide()) == ["create ModelVersion reviews-v2"]

    def test_a_record_made_before_a_crash_is_adopted(self) -> None:
        story = self.story.registered(version(1), version(2, job_uid=UID), version(3))
        decision = story.decide()
        assert not decision.actions
        assert status_of(decision).model_version == "reviews-v2"

    def test_a_job_whose_status_names_a_version_never_registers_again(self) -> None:
        done = self.story.then(200)
        assert done.job.status.model_version == "reviews-v1"
        assert not done.decide().actions  # although nobody shows it the record: it was deleted

    def test_without_an_output_nothing_is_registered(self) -> None:
        decision = a_job(workers=2).attempt(0).pods(published(), SUCCEEDED).decide()
        assert not decision.actions
        assert condition(decision, "Complete") == ("True", "Trained")
        assert status_of(decision).model_version is None

    def test_a_success_without_an_artifact_is_none(self) -> None:
        decision = a_job(workers=2).publishing().attempt(0).pods(SUCCEEDED, SUCCEEDED).decide()
        assert condition(decision, "Failed") == ("True", "ArtifactUnknown")
        assert status_of(decision).phase is Phase.FAILED

    def test_when_the_numbers_are_used_up_the_job_says_so(self) -> None:
        decision = self.story.registered(version(999_999)).decide()
        assert condition(decision, "Failed") == ("True", "VersionsExhausted")

    def test_a_refused_record_leaves_the_job_open(self) -> None:
        story = self.story.refused(403, "Forbidden", "exceeded quota", kind="ModelVersion")
        decision = story.decide()
        assert condition(decision, "Complete") is None
        assert status_of(decision).blocked_by.category == "Quota"
        again = replace(story.then(30), rest={})
        assert written(again.decide()) == ["create ModelVersion reviews-v1"]
        assert status_of(again.decide()).blocked_by is None

    @pytest.mark.parametrize(
        "spoilt",
        [
            {"metrics": {"bad name": "1"}},
            {"metrics": {"accuracy": "9" * 33}},
            {"formats": []},
            {"uri": "pvc://models/../other"},
            {"uri": "/etc/passwd"},
            {"digest": "md5:1"},
            {"sizeBytes": -1},
            {"sizeBytes": 10**30},
            {"signature": {"inputs": [], "outputs": []}},
        ],
    )
    def test_what_the_api_server_would_refuse_is_no_artifact(self, spoilt: dict[str, Any]) -> None:
        text = ended(0, words(artifact={**artifact(), **spoilt}))
        story = a_job().publishing().attempt(0).pods(text)
        assert condition(story.decide(), "Failed") == ("True", "ArtifactUnknown")

    def test_what_a_newer_trainer_adds_is_left_out(self) -> None:
        told = artifact(novelty=1)
        told["signature"] = {**told["signature"], "novelty": 1}
        story = a_job().publishing().attempt(0).pods(ended(0, words(artifact=told)))
        ModelVersionSpec.model_validate(record(story.decide())["spec"])


def words(**more: Any) -> str:
    return json.dumps({**json.loads(says("Succeeded")), **more})


class TestCleanUp:
    """A finished job costs nothing but, once, the deletion of its pods."""

    story = a_job(workers=2).attempt(0).pods(SUCCEEDED, SUCCEEDED).then()

    def test_rests_until_its_pods_may_go(self) -> None:
        for seconds in (0, 1, 3599):
            decision = self.story.after(seconds).decide()
            assert decision.status == self.story.job.status
            assert not decision.actions
            assert decision.wake == 3600 - seconds

    def test_deletes_its_pods_after_an_hour(self) -> None:
        decision = self.story.after(3600).decide()
        assert written(decision) == ["delete Pod reviews-a0-w0", "delete Pod reviews-a0-w1"]
        assert decision.status == self.story.job.status

    def test_is_silent_for_ever_then(self) -> None:
        decision = replace(self.story.after(3601), world_pods=()).decide()
        assert decision.status == self.story.job.status
        assert not decision.actions
        assert decision.wake is None

    def test_keeps_the_pods_of_a_failed_job_as_long(self) -> None:
        story = (
            a_job(failurePolicy={"maxRestarts": 0}).attempt(0).ended("ProcessFailed").pods(FAILED)
        )
        assert story.decide().wake == 3600
        assert not story.then(3599).decide().actions
        assert written(story.then(3600).decide()) == ["delete Pod reviews-a0-w0"]

    @pytest.mark.parametrize("state", [RUNNING, PENDING])
    def test_lets_no_late_pod_run_on(self, state: Any) -> None:
        story = replace(self.story, world_pods=()).pods(SUCCEEDED, state)
        assert written(story.decide()) == ["delete Pod reviews-a0-w1"]

    def test_follows_a_newer_generation_of_its_spec(self) -> None:
        story = replace(self.story, metadata={"generation": 4})
        assert status_of(story.decide()).observed_generation == 4


class TestTimeToLive:
    """ttlSecondsAfterFinished deletes the job; without it, it stays."""

    @staticmethod
    def story(seconds: int) -> JobStory:
        return a_job(ttlSecondsAfterFinished=seconds).attempt(0).pods(SUCCEEDED)

    def test_is_awaited_from_the_moment_of_the_end(self) -> None:
        # Nothing else wakes the job: its own last write does not.
        assert self.story(60).decide().wake == 60
        failed = a_job(ttlSecondsAfterFinished=60, failurePolicy={"maxRestarts": 0})
        assert failed.attempt(0).ended("ProcessFailed").decide().wake == 60
        assert self.story(60).then(59).decide().wake == 1
        assert self.story(7200).decide().wake == 3600

    def test_deletes_exactly_this_job(self) -> None:
        decision = self.story(60).then(60).decide()
        assert decision.status is None
        assert decision.actions == (
            Delete(
                "TrainingJob", "team", "reviews", UID, "ttlSecondsAfterFinished of 60 s is over"
            ),
        )

    def test_may_be_zero(self) -> None:
        assert self.story(0).decide().wake == 0
        assert isinstance(self.story(0).then(0).decide().actions[0], Delete)

    def test_may_be_shortened_later(self) -> None:
        story = self.story(7200).then(100).with_spec(ttlSecondsAfterFinished=50)
        assert isinstance(story.decide().actions[0], Delete)

    def test_unset_means_never(self) -> None:
        done = a_job().attempt(0).pods(SUCCEEDED).then(10**8)
        assert all(
            action.kind == "Pod" for action in done.decide().actions if isinstance(action, Delete)
        )
