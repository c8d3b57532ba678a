"""Specs as Python reads them: what is refused, and by which name."""

from typing import Any

import pytest
from pydantic import ValidationError

from torchyard.api.base import Condition, ObjectMeta
from torchyard.api.modelservice import ModelService, ModelServiceStatus
from torchyard.api.modelversion import ModelVersion
from torchyard.api.pods import Resources
from torchyard.api.trainingjob import TrainingJob, TrainingJobSpec, TrainingJobStatus

LEAST = {"task": {"mlpClassifier": {}}, "data": {"uri": "pvc://d/x.csv"}}


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"workers": {"coutn": 2}}, "workers.coutn"),
        ({"data": {"uri": "pvc://d/../x"}}, "data.uri"),
        ({"data": {"uri": "pvc://d"}}, "data.uri"),
        ({"data": {"uri": "/data/x.csv"}}, "data.uri"),
        ({"output": {"model": "M", "uri": "pvc://m"}}, "output.model"),
        ({"output": {"model": "m" * 51, "uri": "pvc://m"}}, "output.model"),
        ({"checkpoint": {"uri": "pvc://c/" + "x" * 512}}, "checkpoint.uri"),
        ({"workers": {"resources": {"limits": {"cpu": -1}}}}, "workers.resources.limits.cpu"),
        ({"workers": {"resources": {"limits": {"cpu": True}}}}, "workers.resources.limits.cpu"),
        ({"workers": {"accelerator": {"resource": "cpu", "count": 1}}}, "workers.accelerator"),
        ({"image": "with space"}, "image"),
    ],
)
def test_what_is_wrong_is_named(part: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingJobSpec.model_validate({**LEAST, **part})
    places = [".".join(str(step) for step in error["loc"]) for error in caught.value.errors()]
    assert any(place.startswith(field) for place in places), places


@pytest.mark.parametrize(
    ("quantity", "taken"),
    [
        ("500m", "500m"),
        (2, "2"),
        ("1.5", "1.5"),
        ("4Gi", "4Gi"),
        ("1e3", "1e3"),
        (0, "0"),
        ("1E", "1E"),
    ],
)
def test_quantities(quantity: Any, taken: str) -> None:
    assert Resources(limits={"cpu": quantity}).limits == {"cpu": taken}


@pytest.mark.parametrize(
    "quantity", ["", "1.2.3", "-1", "+1", "1 Gi", "1gi", "Gi", "1e", "1e1.5", 1.5, None]
)
def test_no_quantities(quantity: Any) -> None:
    with pytest.raises(ValidationError):
        Resources(limits={"cpu": quantity})


def test_specs_do_not_change() -> None:
    spec = TrainingJobSpec.model_validate(LEAST)
    with pytest.raises(ValidationError):
        spec.suspend = True  # type: ignore[misc]


@pytest.mark.parametrize("model", [TrainingJobStatus, ModelServiceStatus])
def test_an_older_operator_reads_the_status_of_a_newer_one(model: type[TrainingJobStatus]) -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2026-03-01T12:00:00Z",
        "novelty": 1,
    }
    told = {"conditions": [condition], "novelty": {"a": 1}, "observedGeneration": 3}
    read = model.model_validate(told)
    assert read.observed_generation == 3
    assert read.wire()["conditions"][0]["type"] == "Ready"
    assert "novelty" not in read.wire()


def test_an_empty_status_is_one() -> None:
    assert TrainingJobStatus.model_validate({}).wire() == {
        "conditions": [],
        "restarts": 0,
        "attempts": [],
    }


def test_objects_are_read_with_everything_else_that_the_server_sends() -> None:
    meta = {"name": "x", "namespace": "n", "uid": "u", "managedFields": [], "generation": 2}
    job = TrainingJob.model_validate(
        {"apiVersion": "a", "kind": "k", "metadata": meta, "spec": LEAST}
    )
    assert job.metadata.generation == 2
    assert isinstance(job.status, TrainingJobStatus)
    service = {"model": {"name": "m", "version": 1}}
    assert ModelService.model_validate({"metadata": meta, "spec": service}).spec.replicas is None
    assert ModelVersion.model_fields.keys() == {"metadata", "spec"}
    assert ObjectMeta.model_validate(meta).deletion_timestamp is None


@pytest.mark.parametrize("status", ["true", True, "", None])
def test_a_condition_is_true_false_or_unknown(status: Any) -> None:
    with pytest.raises(ValidationError):
        Condition(
            type="Ready",
            status=status,
            reason="R",
            message="",
            last_transition_time="2026-03-01T12:00:00Z",
        )
