"""Carries out what was decided: a few writes, each safe to repeat and harmless when late.

Whatever a write answers is in the store before the next decision. A name that somebody else
holds is a Conflict; anything that is merely no longer as it was seen is Outdated.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from torchyard import names
from torchyard.core.difference import differs, fingerprint
from torchyard.core.plan import Action, Apply, Create, Delete
from torchyard.core.world import Problem
from torchyard.engine.client import Client
from torchyard.engine.feed import Feed
from torchyard.engine.logs import about
from torchyard.engine.resources import BY_KIND, CHILDREN, Key, Manifest, key_of
from torchyard.engine.store import Store
from torchyard.errors import Conflict, NotFound, Outdated, Refused, Unavailable

PARALLEL: Final = 16
"""Writes of one plan that may be under way at the same time."""

_CHILD_KINDS: Final = frozenset(item.kind for item in CHILDREN)

_log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[bool]]


class Refusal(Exception):
    """A write was refused; a retry alone will not mend it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.kind} {problem.name}: {problem.message}")
        self.problem = problem


class Applier:
    """Turns actions into writes, and their answers into what is known."""

    def __init__(self, client: Client, store: Store, feed: Feed) -> None:
        self._client = client
        self._store = store
        self._feed = feed

    async def carry_out(self, owner: Key, actions: Sequence[Action]) -> bool:
        """Everything in order; the first error ends it, as a Refusal if it was the API server's.

        Tells whether anything was changed.
        """
        changed = False
        for kind, group in itertools.groupby(actions, type):
            # Pods do not depend on each other; what is applied may depend on what was before.
            width = 1 if kind is Apply else PARALLEL
            changed |= await _side_by_side(width, [self._step(owner, action) for action in group])
        return changed

    def _step(self, owner: Key, action: Action) -> Step:
        async def step() -> bool:
            try:
                match action:
                    case Create():
                        return await self._create(owner, action)
                    case Apply():
                        return await self._apply(owner, action)
                    case Delete():
                        return await self._delete(owner, action)
            except Refused as error:
                key = _target(action)
                problem = Problem(key.kind, key.name, error.code, error.reason, str(error))
                raise Refusal(problem) from error

        return step

    async def _create(self, owner: Key, action: Create) -> bool:
        key = key_of(action.manifest)
        try:
            created = await self._client.create(action.manifest)
        except Conflict:
            await self._adopt(key, action.manifest)
            return True
        self._feed.seen(created)
        _log_write(owner, "create", created, action.why)
        return True

    async def _adopt(self, key: Key, manifest: Manifest) -> None:
        """The name is taken: by ourselves, before a crash or a lost answer, or by another."""
        found = await self._look(key)
        if found is None:
            raise Outdated(f"{key} was there a moment ago")
        if key.kind == "ModelVersion" and not _is_ours(manifest, found):
            # Its number is taken; the decision counts on from what there really is.
            async for item in self._client.list(BY_KIND[key.kind], key.namespace):
                self._feed.seen(item)
            raise Outdated(f"{key} is taken")
        _refuse_strangers(key, manifest, found)

    async def _apply(self, owner: Key, action: Apply) -> bool:
        manifest, key, uid = stamped(action.manifest), key_of(action.manifest), action.uid
        why = action.why
        if uid is None:
            # A first write is not forced and looks first: it must not take over a stranger's.
            found = await self._look(key)
            if found is not None:
                _refuse_strangers(key, manifest, found)
                uid = found["metadata"]["uid"]
        elif (known := self._store.get(key)) is not None and known["metadata"]["uid"] == uid:
            difference = differs(manifest, known)
            if difference is None:
                return False
            why = f"{why}; {difference}"
        if uid is not None:
            manifest["metadata"]["uid"] = uid
        try:
            applied = await self._client.apply(manifest, force=uid is not None)
        except Conflict as error:
            if (found := await self._look(key)) is not None:
                _refuse_strangers(key, manifest, found)
            raise Outdated(str(error)) from error
        self._feed.seen(applied)
        _log_write(owner, "apply", applied, why)
        return True

    async def _delete(self, owner: Key, action: Delete) -> bool:
        key = _target(action)
        try:
            answer = await self._client.delete(key, action.uid)
        except (NotFound, Conflict):
            await self._look(key)  # this one is gone; perhaps another has its name
            return True
        known = self._store.get(key)
        if known is not None:
            if _is_gone(answer):
                self._feed.gone(key)
            else:
                self._feed.seen({**answer, "apiVersion": known["apiVersion"], "kind": key.kind})
            _log_write(owner, "delete", known, action.why)
        return True

    async def _look(self, key: Key) -> dict[str, Any] | None:
        """The object as it is now; the store learns of it unless it is a stranger's."""
        found = await self._client.get(key)
        known = self._store.get(key)
        if known is not None and (
            found is None or known["metadata"]["uid"] != found["metadata"]["uid"]
        ):
            self._feed.gone(key)
        if found is not None and (key.kind not in _CHILD_KINDS or _is_labelled(found)):
            self._feed.seen(found)
        return found


def stamped(manifest: Manifest) -> dict[str, Any]:
    """The manifest with a hash of itself: a field that is no longer in it shows there."""
    metadata = manifest["metadata"]
    annotations = {
        **metadata.get("annotations", {}),
        names.APPLIED_HASH: fingerprint(manifest),
    }
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _target(action: Action) -> Key:
    if isinstance(action, Delete):
        return Key(action.kind, action.namespace, action.name)
    return key_of(action.manifest)


async def _side_by_side(width: int, steps: Sequence[Step]) -> bool:
    """Runs steps, so many at a time; after an error none is begun, and none is torn down."""
    failures: list[Exception] = []
    results: list[bool] = []
    waiting = iter(steps)

    async def work() -> None:
        for step in waiting:
            if failures:
                return
            try:
                results.append(await step())
            except Exception as error:  # noqa: BLE001 - raised below, when all have ended
                failures.append(error)

    await asyncio.gather(*(work() for _ in range(min(width, len(steps)))))
    if failures:
        raise failures[0]
    return any(results)


def _refuse_strangers(key: Key, manifest: Manifest, found: Manifest) -> None:
    """Returns only if the found object is what an earlier reconcile of the same owner made."""
    if _is_ours(manifest, found):
        return
    metadata, wanted = found["metadata"], _controller(manifest)
    there = _controller(found)
    former = (wanted.get("kind"), wanted.get("name")) == (there.get("kind"), there.get("name"))
    if metadata.get("deletionTimestamp") or (wanted and former):
        raise Unavailable(f"{key} of a former owner is still being deleted")
    raise Conflict(
        f"{key} exists already and belongs to {there.get('kind', 'somebody')} "
        f"{there.get('name', 'else')}: delete or rename it, or choose another name",
        code=409,
        reason="NameConflict",
    )


def _is_ours(manifest: Manifest, found: Manifest) -> bool:
    if wanted := _controller(manifest).get("uid"):
        return bool(_controller(found).get("uid") == wanted)
    # A record outlives the job that made it, so it has no owner: its label tells.
    job = (manifest["metadata"].get("labels") or {}).get(names.JOB_UID)
    return job is not None and job == (found["metadata"].get("labels") or {}).get(names.JOB_UID)


def _controller(manifest: Manifest) -> Mapping[str, Any]:
    references: Sequence[Mapping[str, Any]] = manifest["metadata"].get("ownerReferences") or ()
    return next((item for item in references if item.get("controller")), {})


def _is_labelled(found: Manifest) -> bool:
    labels = found["metadata"].get("labels") or {}
    return bool(labels.get(names.MANAGED_BY) == names.MANAGER)


def _is_gone(answer: Manifest) -> bool:
    """What DELETE answers of an object that stays for a while names what it waits for."""
    metadata = answer.get("metadata", {})
    waits = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    return answer.get("kind") == "Status" or not waits


def _log_write(owner: Key, action: str, written: Manifest, why: str) -> None:
    attempt = (written["metadata"].get("labels") or {}).get(names.ATTEMPT)
    more = {} if attempt is None else {"attempt": attempt}
    fields = about(owner, action=action, object=str(key_of(written)), why=why, **more)
    _log.info("%s %s", action, key_of(written), extra=fields)
