"""`python -m torchyard_trainer.rank`: one torch process of a worker."""

import ctypes
import faulthandler
import logging
import os
import signal
import sys
from typing import NoReturn

from torchyard.api.contract import EXIT_RETRY, Outcome
from torchyard_trainer import log, settings
from torchyard_trainer.channel import Sender
from torchyard_trainer.stop import Stop

PR_SET_PDEATHSIG = 1

logger = logging.getLogger(__name__)


def die_with_supervisor(supervisor: int) -> None:
    """Have the kernel kill this process as soon as its supervisor is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # It may have died before the call; then the parent is somebody else by now.
    if os.getppid() != supervisor:
        os._exit(EXIT_RETRY)


def main() -> NoReturn:
    """Train as the environment says; tells the supervisor why it ends, then ends at once."""
    environment = dict(os.environ)
    die_with_supervisor(int(environment[settings.SUPERVISOR_VARIABLE]))
    faulthandler.enable()
    stop = Stop()
    stop.install()
    sender = Sender(int(environment[settings.CHANNEL_VARIABLE]))
    config = settings.read_config(environment)
    worker = settings.read_worker(environment, config)
    place = settings.place(config, worker, int(environment[settings.LOCAL_RANK_VARIABLE]))
    log.setup(worker=worker, rank=place.rank)

    # torch is imported here, after the handlers are in place: it takes seconds.
    from torchyard_trainer.session import Session

    session = Session(config, place, sender, stop)
    termination = session.run()
    sender.send(termination)
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's farewell: destructors of process groups wait for peers, and
    # sockets must close now for these to notice.
    os._exit(0 if termination.outcome is Outcome.SUCCEEDED else 1)


if __name__ == "__main__":
    main()
