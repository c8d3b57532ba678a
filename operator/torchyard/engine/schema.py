"""Whether the installed CRDs are those of this release.

An older CRD prunes what this operator writes into a status, which would then be written again
for ever. So the operator does not start on one, and says what is different.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Final

from torchyard.api.crd import KINDS, Kind, crd
from torchyard.core.difference import differs
from torchyard.engine.client import Client
from torchyard.engine.resources import Key
from torchyard.errors import Invalid, TorchyardError, Unavailable

ATTEMPTS: Final = 20
RETRY_SECONDS: Final = 3.0
_KIND: Final = "CustomResourceDefinition"
_CURE: Final = "upgrade the CRDs together with the operator: `helm upgrade`"

_log = logging.getLogger(__name__)


async def check(client: Client, kinds: Sequence[Kind] = KINDS) -> None:
    """Waits a minute for the CRDs to be there and served; Invalid if they are not ours."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            for kind in kinds:
                await _check(client, kind)
        except Unavailable as error:
            if attempt == ATTEMPTS:
                raise
            _log.warning("waits for the CRDs: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


async def _check(client: Client, kind: Kind) -> None:
    try:
        found = await client.get(Key(_KIND, "", kind.crd_name))
    except Unavailable:
        raise
    except TorchyardError as error:
        raise Invalid(f"CRD {kind.crd_name} cannot be read: {error}") from error
    if found is None:
        raise Unavailable(f"CRD {kind.crd_name} is not installed")
    # Through JSON, so that enums compare as the strings that they are on the wire.
    difference = differs(json.loads(json.dumps(crd(kind)))["spec"], found["spec"])
    if difference is not None:
        raise Invalid(f"CRD {kind.crd_name} is of another release: spec.{difference}; {_CURE}")
    conditions = found.get("status", {}).get("conditions", ())
    if not any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
        raise Unavailable(f"CRD {kind.crd_name} is not served yet")
