"""Leader election on one Lease: who holds it acts, who loses it ends.

The holder renews it every two seconds and stops writing when ten have passed without success; the
others wait until they have watched it unchanged for fifteen by their own clock. Clocks of
different machines are never compared: a renewal is noticed by the Lease's resourceVersion.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from torchyard.engine.client import Client
from torchyard.engine.resources import Key
from torchyard.errors import Conflict, Ended, TorchyardError, Unavailable

DURATION_SECONDS: Final = 15
RENEW_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


class Lease:
    """One Lease, wanted by one replica."""

    def __init__(
        self, client: Client, key: Key, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._key = key
        self._identity = identity
        self._clock = clock
        self._renewed_at = float("-inf")
        self._observed: dict[str, Any] | None = None
        self._observed_at = float("-inf")

    def held(self) -> bool:
        """Whether nobody else can be acting."""
        return self._clock() - self._renewed_at < RENEW_SECONDS

    def fence(self) -> None:
        """Refuses a write unless the Lease is held: a paused process wakes up as a stranger."""
        if not self.held():
            raise Unavailable("this replica does not hold the Lease; nothing is written")

    async def acquire(self) -> None:
        """Waits until the Lease is ours, however long an API server is away."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(RETRY_SECONDS)
        _log.info("acquired the Lease", extra={"lease": str(self._key)})

    async def keep(self) -> None:
        """Renews the Lease for ever; raises Ended when that fails for too long."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if not await self._try() and not self.held():
                raise Ended(f"{self._key} was lost: another replica may be acting")

    async def release(self) -> None:
        """Lets another replica act at once. A failure only makes it wait."""
        if self._observed is None or not self.held():
            return
        self._renewed_at = float("-inf")
        spec = {**self._observed["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._client.replace({**self._observed, "spec": spec})
        except TorchyardError as error:
            _log.warning("could not release the Lease: %s", error)

    async def _try(self) -> bool:
        """One attempt to take or renew; True when the Lease is ours now."""
        # Counted from before the request: the holder must give up before the others take over.
        start = self._clock()
        try:
            async with asyncio.timeout(RENEW_SECONDS / 2):
                taken = await self._take()
        except (TorchyardError, TimeoutError) as error:
            _log.warning("could not take or renew the Lease: %s", error)
            if isinstance(error, Conflict):
                self._observed = None  # look again before the next attempt
            return False
        if taken:
            self._renewed_at = start
        return taken

    async def _take(self) -> bool:
        found = self._observed
        if found is None or self._holder(found) != self._identity:
            found = await self._client.get(self._key)
            if found is None:
                self._observe(await self._client.create(self._manifest(None)))
                return True
            self._observe(found)
            if not self._free(found):
                self._renewed_at = float("-inf")
                return False
        self._observe(await self._client.replace(self._manifest(found)))
        return True

    def _observe(self, found: dict[str, Any]) -> None:
        version = found["metadata"]["resourceVersion"]
        if self._observed is None or self._observed["metadata"]["resourceVersion"] != version:
            self._observed_at = self._clock()
        self._observed = found

    def _free(self, found: dict[str, Any]) -> bool:
        if self._holder(found) in ("", self._identity):
            return True
        duration: float = found["spec"].get("leaseDurationSeconds", DURATION_SECONDS)
        return self._clock() - self._observed_at >= duration

    def _manifest(self, found: dict[str, Any] | None) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = found.get("spec", {}) if found else {}
        again = before.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "acquireTime": before.get("acquireTime", now) if again else now,
            "renewTime": now,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if again else 1),
        }
        if found:
            return {**found, "spec": spec}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._key.name, "namespace": self._key.namespace},
            "spec": spec,
        }

    @staticmethod
    def _holder(found: dict[str, Any]) -> str:
        return str(found.get("spec", {}).get("holderIdentity", ""))
