"""What counts as a difference between what was applied and what is there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchyard.core.difference import differs, fingerprint, merge_patch

SAME: list[tuple[str, Any, Any]] = [
    ("defaults that the server added", {"a": 1}, {"a": 1, "b": 2}),
    ("an empty map that was not stored", {"a": {}}, {}),
    ("an empty list that was not stored", {"ingress": []}, {}),
    ("false that was not stored", {"hostNetwork": False}, {}),
    ("none that was not stored", {"a": None}, {}),
    (
        "quantities written another way",
        {"resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}}},
        {"resources": {"limits": {"cpu": "1", "memory": "1024Mi"}}},
    ),
    ("a size limit", {"emptyDir": {"sizeLimit": "0.5Gi"}}, {"emptyDir": {"sizeLimit": "512Mi"}}),
    (
        "another container, put in beside ours",
        {"containers": [{"name": "ours"}]},
        {"containers": [{"name": "sidecar"}, {"name": "ours"}]},
    ),
    (
        "a protocol that was left to its default",
        {"spec": {"ports": [{"port": 80}]}},
        {"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}},
    ),
    ("an atomic list", {"args": ["a", "b"]}, {"args": ["a", "b"]}),
]

DIFFERENT: list[tuple[str, Any, Any, str]] = [
    ("a number", {"spec": {"replicas": 2}}, {"spec": {"replicas": 3}}, "spec.replicas"),
    ("zero is not nothing", {"spec": {"replicas": 0}}, {"spec": {"replicas": 3}}, "spec.replicas"),
    ("a field that is gone", {"a": {"b": "x"}}, {"a": {}}, "a.b"),
    ("a map where a word should be", {"a": "x"}, {"a": {"b": 1}}, "a: wanted"),
    ("an item more in an atomic list", {"args": ["a"]}, {"args": ["a", "b"]}, "args"),
    (
        "a rule more in a policy",
        {"ingress": [{"ports": [{"port": 80}]}]},
        {"ingress": [{"ports": [{"port": 80}, {"port": 22}]}]},
        "ingress.ports",
    ),
    (
        "another image in our container",
        {"containers": [{"name": "ours", "image": "a"}]},
        {"containers": [{"name": "sidecar"}, {"name": "ours", "image": "b"}]},
        "containers.image",
    ),
    (
        "a variable that is gone",
        {"env": [{"name": "A", "value": "1"}]},
        {"env": [{"name": "B", "value": "1"}]},
        "env",
    ),
    ("a real change of a quantity", {"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, "limits"),
    ("quantities only where they are", {"labels": {"a": "1000m"}}, {"labels": {"a": "1"}}, "label"),
]


@pytest.mark.parametrize(("desired", "observed"), [s[1:] for s in SAME], ids=[s[0] for s in SAME])
def test_same(desired: Any, observed: Any) -> None:
    assert differs(desired, observed) is None


@pytest.mark.parametrize(
    ("desired", "observed", "named"), [d[1:] for d in DIFFERENT], ids=[d[0] for d in DIFFERENT]
)
def test_different_and_the_field_is_named(desired: Any, observed: Any, named: str) -> None:
    found = differs(desired, observed)
    assert found is not None
    assert found.startswith(named)


def test_a_long_value_is_cut_in_the_message() -> None:
    found = differs({"a": "x" * 5000}, {"a": "y"})
    assert found is not None
    assert len(found) < 250


def test_the_fingerprint_depends_on_the_content_and_not_on_the_order() -> None:
    assert fingerprint({"a": 1, "b": [1]}) == fingerprint({"b": [1], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1, "b": None})


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396, as the API server carries it out."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def documents(depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    leaves = st.integers(0, 2) | st.text("ab", max_size=1) | st.lists(st.integers(0, 1), max_size=2)
    values = leaves | documents(depth - 1) if depth else leaves
    return st.dictionaries(st.sampled_from("abc"), values, max_size=3)


@given(documents(), documents())
def test_a_merge_patch_leads_from_the_one_to_the_other(before: Any, after: Any) -> None:
    assert _merged(before, merge_patch(before, after)) == after
    assert merge_patch(after, after) == {}
