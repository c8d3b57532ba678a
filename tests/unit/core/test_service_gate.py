"""What a service may roll out: which version is meant, its format, its signature."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.builders import version
from tests.unit.core.services import ServiceStory, a_service, contents, said, signature, writes
from torchyard.api.modelservice import Phase
from torchyard.api.modelversion import ModelVersion
from torchyard.core.conditions import find

BEFORE = version(1, signature=signature(y=[-1, 2]))


def told(story: ServiceStory, type_: str) -> tuple[str, str] | None:
    found = find(said(story.decide()).conditions, type_)
    return None if found is None else (found.status.value, found.reason)


def message(story: ServiceStory, type_: str = "Ready") -> str:
    found = find(said(story.decide()).conditions, type_)
    assert found is not None
    return found.message


def target(story: ServiceStory) -> int | None:
    rollout = said(story.decide()).rollout
    return None if rollout is None else rollout.version


class TestReference:
    """A number, an alias, or the newest."""

    @pytest.mark.parametrize(
        ("reference", "found"),
        [
            ({"version": 2}, 2),
            ({"version": 5}, None),
            ({"alias": "latest"}, 3),
            ({"alias": "blessed"}, 2),
            ({"alias": "other"}, None),
        ],
    )
    def test_is_resolved(self, reference: dict[str, Any], found: int | None) -> None:
        versions = (version(1, alias="blessed"), version(3), version(2, alias="blessed"))
        story = a_service().known(*versions).with_spec(model={"name": "reviews", **reference})
        assert target(story) == found

    @pytest.mark.parametrize(
        ("reference", "says"),
        [
            ({"version": 5}, "no ModelVersion reviews-v5 in this namespace"),
            ({"alias": "latest"}, "no ModelVersion of reviews in"),
            ({"alias": "blessed"}, "carries the label alias.torchyard.dev/blessed"),
        ],
    )
    def test_that_leads_nowhere_says_what_is_missing(
        self, reference: dict[str, Any], says: str
    ) -> None:
        story = a_service().with_spec(model={"name": "reviews", **reference})
        assert says in message(story)
        assert told(story, "Stalled") == ("False", "VersionNotFound")
        assert writes(story.decide(), story) == []

    def test_an_alias_that_moves_is_a_rollout(self) -> None:
        story = a_service().asking_alias("blessed").known(version(1, alias="blessed"), 2)
        story = story.deployed(1).traffic(1)
        assert target(story) is None
        assert target(story.forgetting(2).known(version(2, alias="blessed"))) == 2

    def test_an_alias_that_goes_away_leaves_what_serves(self) -> None:
        story = a_service().asking_alias("blessed").known(version(1)).deployed(1).traffic(1)
        assert writes(story.decide(), story) == []
        assert told(story, "Servable") == ("True", "ServersReady")
        assert said(story.decide()).phase is Phase.PENDING


class TestFormat:
    """Serving needs Onnx."""

    story = a_service().known(version(1, artifact=contents("SafeTensors")))

    def test_another_one_is_refused_with_the_cure(self) -> None:
        assert told(self.story, "Stalled") == ("True", "FormatNotServed")
        assert "output.formats" in message(self.story)
        assert writes(self.story.decide(), self.story) == []

    def test_it_may_be_one_of_several(self) -> None:
        assert target(a_service().known(version(1, artifact=contents("SafeTensors", "Onnx")))) == 1


class TestSignature:
    """rollout.compatibility stands between what serves and what comes."""

    @staticmethod
    def story(policy: str, after: ModelVersion) -> ServiceStory:
        story = a_service(1, rollout={"compatibility": policy}).known(BEFORE, after)
        return story.deployed(1).traffic(1).asking(2)

    @pytest.mark.parametrize(
        ("policy", "after", "open_"),
        [
            ("Backward", {"y": [-1, 2]}, True),
            ("Backward", {"y": [-1, 2], "more": [-1]}, True),
            ("Backward", {"other": [-1, 2]}, False),
            ("Backward", {"y": [-1, 3]}, False),
            ("Strict", {"y": [-1, 2]}, True),
            ("Strict", {"y": [-1, 2], "more": [-1]}, False),
            ("None", {"other": [-1, 9]}, True),
        ],
    )
    def test_gate(self, policy: str, after: dict[str, list[int]], open_: bool) -> None:
        story = self.story(policy, version(2, signature=signature(**after)))
        assert (target(story) == 2) is open_
        if open_:
            assert told(story, "SignatureCompatible") == (
                "True",
                "NotChecked" if policy == "None" else "Compatible",
            )
            return
        assert told(story, "SignatureCompatible") == ("False", "SignatureIncompatible")
        assert told(story, "Stalled") == ("True", "SignatureIncompatible")
        assert told(story, "Servable") == ("True", "ServersReady")
        assert writes(story.decide(), story) == []
        assert "rollout.compatibility" in message(story)
        settled = story.then(60)
        assert settled.decide().status == settled.service.status

    def test_it_closes_in_the_middle_of_a_rollout(self) -> None:
        story = self.story("Backward", version(2, signature=signature(y=[-1, 2], more=[-1])))
        story = story.rolling(2).deployed(2).then()
        assert writes(story.decide(), story) == ["traffic v2"]
        story = story.with_spec(rollout={"compatibility": "Strict"})
        assert writes(story.decide(), story) == ["delete v2"]

    def test_it_is_for_the_next_version_not_for_the_one_in_traffic(self) -> None:
        story = self.story("Backward", version(2, signature=signature(y=[-1, 2], more=[-1])))
        story = story.rolling(2).deployed(2).then().traffic(2, recorded=False)
        story = story.with_spec(rollout={"compatibility": "Strict"})
        assert told(story, "Stalled") == ("False", "RollingOut")
        assert writes(story.decide(), story) == ["delete v1"]

    def test_it_compares_with_what_answered_last_not_with_what_was_tried(self) -> None:
        story = self.story("Backward", version(2, signature=signature(other=[-1])))
        story = story.deployed(1, ready=0).asking(2)
        assert told(story, "Stalled") == ("True", "SignatureIncompatible")
        never = a_service(2).known(BEFORE, version(2, signature=signature(other=[-1])))
        assert target(never.deployed(1, ready=0).traffic(1, recorded=False)) == 2

    def test_back_to_what_is_compatible_is_always_open(self) -> None:
        story = self.story("Strict", version(2, signature=signature(z=[-1])))
        stalled = story.then(60)
        back = stalled.asking(1)
        assert told(back, "Stalled") == ("False", "RolledOut")
        assert told(back, "Ready") == ("True", "Serving")

    def test_first_version_has_nothing_to_keep_to(self) -> None:
        assert told(a_service(1).known(BEFORE), "SignatureCompatible") == ("True", "FirstVersion")

    def test_what_was_said_of_the_version_stays_when_it_serves(self) -> None:
        story = self.story("Backward", version(2)).rolling(2).deployed(2).then()
        assert told(story, "SignatureCompatible") == ("True", "Compatible")
        serving = story.traffic(2).then()
        before = find(serving.service.status.conditions, "SignatureCompatible")
        assert before is not None
        assert "reviews-v2 keeps what reviews-v1 promises" in before.message


class TestRefused:
    """What the API server would not do."""

    story = a_service(2).known(1, 2).deployed(1).traffic(1).rolling(2)

    def test_is_told_and_nothing_is_done(self) -> None:
        story = self.story.refused(403, "Forbidden", "exceeded quota: pods")
        assert not story.decide().actions
        assert told(story, "Ready") == ("False", "Forbidden")
        assert "exceeded quota" in message(story)
        assert told(story, "Servable") == ("True", "ServersReady")
        assert told(story, "Accepted") == ("True", "Valid")

    @pytest.mark.parametrize(
        ("code", "reason"), [(409, "NameConflict"), (422, "Invalid"), (400, "BadRequest")]
    )
    def test_asks_for_a_person_where_one_is_needed(self, code: int, reason: str) -> None:
        story = self.story.refused(code, reason)
        assert told(story, "Accepted") == ("False", reason)
        assert told(story, "Stalled") == ("True", reason)
        assert said(story.decide()).phase is Phase.STALLED

    def test_is_forgotten_when_it_is_over(self) -> None:
        story = replace(self.story.refused(409, "NameConflict").then(5), rest={})
        assert told(story, "Accepted") == ("True", "Valid")
        assert told(story, "Stalled") == ("False", "RollingOut")
