"""The pipe from a rank to its supervisor: one JSON object a line, one way.

    {"progress": WorkerProgress}     now and then while training
    {"termination": Termination}     at most once: why the rank is about to end

A rank that is killed says nothing; the supervisor then knows its exit status alone.
"""

import contextlib
import json
import logging
import os
import threading
from dataclasses import dataclass

from torchyard.api.contract import Termination, WorkerProgress

Message = WorkerProgress | Termination

logger = logging.getLogger(__name__)


class Sender:
    """The rank's end. Threads may share it."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Hand over one message, whole."""
        kind = "progress" if isinstance(message, WorkerProgress) else "termination"
        line = memoryview(json.dumps({kind: message.wire()}).encode() + b"\n")
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


@dataclass
class Receiver:
    """The supervisor's end of one rank's pipe, a non-blocking descriptor."""

    descriptor: int
    _rest: bytes = b""

    def receive(self) -> tuple[list[Message], bool]:
        """The messages that have come by now, and whether more can come."""
        chunks, open_ended = [self._rest], True
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.descriptor, 1 << 16):
                chunks.append(chunk)
            open_ended = False
        *lines, self._rest = b"".join(chunks).split(b"\n")
        return [message for line in lines if (message := _parse(line))], open_ended


def _parse(line: bytes) -> Message | None:
    try:
        document = json.loads(line)
        if "progress" in document:
            return WorkerProgress.model_validate(document["progress"])
        return Termination.model_validate(document["termination"])
    except (ValueError, TypeError, KeyError):
        # The descriptor is open in a process that runs a user's code; PID 1 must outlive that.
        logger.warning("a rank sent a line that is no message")
        return None
