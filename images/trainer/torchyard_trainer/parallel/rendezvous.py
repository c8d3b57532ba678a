"""Meeting: from a name that may not resolve yet to a store on which everybody has signed in.

Worker 0 keeps the store. Its pod may start last, so the others try until it is there. Nothing
here gives up by itself: a gang that cannot be complete is the operator's business, which knows
why. SIGTERM ends the wait.
"""

import logging
import socket
import time
from collections.abc import Sequence
from datetime import timedelta

from torch._C._distributed_c10d import TCPStore
from torch.distributed.distributed_c10d import PrefixStore, Store

from torchyard_trainer.settings import Place
from torchyard_trainer.stop import Stop

ATTEMPT_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.005
LAST_PAUSE_SECONDS = 0.25
COMPLAIN_SECONDS = 10.0
SHOWN = 8

logger = logging.getLogger(__name__)


class Patience:
    """A wait that gets slower, complains now and then, and ends on SIGTERM."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._next = time.monotonic() + COMPLAIN_SECONDS
        self._pause = FIRST_PAUSE_SECONDS

    def wait(self, complaint: str) -> None:
        """Sleep a little; says `complaint` once in a while. Raises Interrupted."""
        self._stop.check()
        if time.monotonic() >= self._next:
            logger.info("still waiting: %s", complaint)
            self._next = time.monotonic() + COMPLAIN_SECONDS
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, LAST_PAUSE_SECONDS)


def meet(host: str, port: int, prefix: str, place: Place, timeout: timedelta, stop: Stop) -> Store:
    """A store that all `place.world` processes have signed in to.

    `prefix` tells attempts apart: a process of another one that finds its way here meets nobody.
    `timeout` is that of later operations on the store.
    """
    patience = Patience(stop)
    if place.rank == 0:
        host = "localhost"  # its own name may not be published before the pod is ready
    else:
        _reach(host, port, patience)
    # With `wait_for_workers` this call could not be interrupted.
    server = TCPStore(host, port, place.world, place.rank == 0, timeout, wait_for_workers=False)
    store = PrefixStore(prefix, server)
    store.set(_key(place.rank), "here")
    _wait_for_all(store, place.world, patience)
    return store


def _reach(host: str, port: int, patience: Patience) -> None:
    while True:
        try:
            with socket.create_connection((host, port), ATTEMPT_SECONDS):
                return
        except OSError as error:
            patience.wait(f"worker 0 at {host}:{port} does not answer yet ({error})")


def _wait_for_all(store: Store, world: int, patience: Patience) -> None:
    missing: Sequence[int] = range(world)
    while missing := [rank for rank in missing if not store.check([_key(rank)])]:
        shown = ", ".join(map(str, missing[:SHOWN])) + (", …" if len(missing) > SHOWN else "")
        patience.wait(f"{len(missing)} of {world} processes are missing: ranks {shown}")


def _key(rank: int) -> str:
    return f"here/{rank}"
