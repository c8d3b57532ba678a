"""The check of the installed CRDs."""

import json
from typing import Any

import pytest

from tests.unit.engine.fake import FakeClient
from torchyard.api.crd import KINDS, crd
from torchyard.engine import schema
from torchyard.errors import Forbidden, Invalid, Unavailable

Json = dict[str, Any]


def installed(**status: Any) -> list[Json]:
    """The CRDs as an API server stores them: with defaults of its own."""
    found = []
    for kind in KINDS:
        manifest = json.loads(json.dumps(crd(kind)))
        manifest["spec"]["conversion"] = {"strategy": "None"}
        manifest["status"] = {"conditions": [{"type": "Established", "status": "True"}], **status}
        found.append(manifest)
    return found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "RETRY_SECONDS", 0)


async def test_our_own_are_accepted() -> None:
    client = FakeClient()
    for manifest in installed():
        client.keep(manifest)
    await schema.check(client)


async def test_another_release_is_refused_with_the_field_and_the_cure() -> None:
    client = FakeClient()
    for manifest in installed():
        version = manifest["spec"]["versions"][0]
        del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["type"]
        client.keep(manifest)
    with pytest.raises(Invalid, match=r"properties\.spec\.type: wanted .*helm upgrade"):
        await schema.check(client)


async def test_missing_ones_are_waited_for_and_then_reported() -> None:
    with pytest.raises(Unavailable, match="is not installed"):
        await schema.check(FakeClient())


async def test_one_that_is_not_served_yet_is_waited_for() -> None:
    client = FakeClient()
    for manifest in installed(conditions=[]):
        client.keep(manifest)
    with pytest.raises(Unavailable, match="not served"):
        await schema.check(client)


async def test_one_that_may_not_be_read_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def forbidden(key: object) -> None:
        raise Forbidden("no", code=403, reason="Forbidden")

    client = FakeClient()
    monkeypatch.setattr(client, "get", forbidden)
    with pytest.raises(Invalid, match="cannot be read"):
        await schema.check(client)
