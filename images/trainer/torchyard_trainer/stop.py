"""SIGTERM as a flag that the work looks at where it can stop."""

import signal

from torchyard_trainer.errors import Interrupted


class Stop:
    """Whether this process has been asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        """Take SIGTERM as the request; leave SIGINT, which a terminal sends to all, to PID 1."""
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    def check(self) -> None:
        """Raise Interrupted if asked to stop. For phases that have nothing to save yet."""
        if self.requested:
            raise Interrupted("asked to stop before the first step")

    def _request(self, *_: object) -> None:
        self.requested = True
