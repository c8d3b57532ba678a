"""The sensor: kopf watches, and what it sees goes into the feed. Nothing else imports kopf.

Only `on.event` handlers are used. They store nothing on the objects, add no finalizers and are
never retried, so they must not be able to fail: all they do is to pass the object on.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import kopf

from torchyard.engine.connection import Connection, Middleware
from torchyard.engine.feed import Feed
from torchyard.engine.resources import WATCHED, Resource, key_of
from torchyard.engine.sweep import selector

_SERVER_SECONDS: Final = 300
_CLIENT_SECONDS: Final = 310  # if the server does not end the watch, the client does
_INACTIVITY_SECONDS: Final = 70  # bookmarks come every minute; a silent stream is a dead one
_REQUEST_SECONDS: Final = 30
_EXIT_SECONDS: Final = 0.5  # events that are dropped at the end are listed by the successor
# kopf keeps each object that it passes on until its own worker has been idle for so long, and
# what it has listed until then: with its defaults a restart took twice the memory of the work.
_IDLE_SECONDS: Final = 0.5
_PAGE: Final = 100


async def watch(
    connection: Connection,
    feed: Feed,
    namespaces: Sequence[str],
    middlewares: Sequence[Middleware],
    started: asyncio.Event,
) -> None:
    """Watches every kind until cancelled. It ends or raises only when a watch is lost for good."""
    await kopf.operator(
        ready_flag=started,
        registry=registry(connection, feed, middlewares),
        settings=settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )


def registry(
    connection: Connection, feed: Feed, middlewares: Sequence[Middleware]
) -> kopf.OperatorRegistry:
    """One login and one event handler a kind."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.AiohttpSession:
        # Asked again after a 401: the old session is closed by then.
        return kopf.AiohttpSession(
            server=connection.server, aiohttp_session=connection.session(*middlewares)
        )

    for resource in WATCHED:
        _register(handlers, resource, feed)
    return handlers


def _register(handlers: kopf.OperatorRegistry, resource: Resource, feed: Feed) -> None:
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}

    @kopf.on.event(
        resource.group,
        resource.version,
        resource.plural,
        registry=handlers,
        id=resource.plural,
    )
    async def pass_on(event: kopf.RawEvent, **_: Any) -> None:
        # The members of a list do not say what they are.
        manifest = {**event["object"], **kind}
        if event["type"] == "DELETED":
            feed.gone(key_of(manifest), manifest)
        else:
            feed.seen(manifest)


def settings() -> kopf.OperatorSettings:
    """Everything that would write, scan or wait is off."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True
    chosen.posting.enabled = False
    chosen.peering.standalone = True
    chosen.persistence.progress_storage = _NoProgress()
    chosen.persistence.diffbase_storage = _NoDiffBase()
    chosen.watching.server_timeout = _SERVER_SECONDS
    chosen.watching.client_timeout = _CLIENT_SECONDS
    chosen.watching.inactivity_timeout = _INACTIVITY_SECONDS
    chosen.watching.chunk_size = _PAGE
    chosen.queueing.idle_timeout = _IDLE_SECONDS
    chosen.queueing.exit_timeout = _EXIT_SECONDS
    chosen.networking.request_timeout = _REQUEST_SECONDS
    for resource in WATCHED:
        if chosen_labels := selector(resource):
            place = (resource.group, resource.version, resource.plural)
            chosen.watching.label_selectors[place] = chosen_labels
    return chosen


class _NoProgress(kopf.ProgressStorage):
    """Handlers of events have no progress."""

    def fetch(self, **_: Any) -> None:
        """Nothing is known."""

    def store(self, **_: Any) -> None:
        """Nothing is kept."""

    def purge(self, **_: Any) -> None:
        """Nothing is there."""

    def touch(self, **_: Any) -> None:
        """Nothing is written."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Nothing is to be taken out."""
        return essence


class _NoDiffBase(kopf.DiffBaseStorage):
    """Nothing is compared with what it was, so nothing is copied for that either."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """An empty essence."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Nothing is known."""

    def store(self, **_: Any) -> None:
        """Nothing is kept."""
