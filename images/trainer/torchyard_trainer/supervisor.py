"""PID 1 of a worker pod: starts the ranks, passes signals on, and has the last word.

It imports no torch, so it is there at once, costs little memory and survives whatever a rank
dies of. Whatever ended the ranks, it leaves a termination message.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torchyard.api.contract import Outcome, Termination, WorkerConfig, WorkerProgress
from torchyard_trainer import log, settings, status, termination
from torchyard_trainer.channel import Receiver
from torchyard_trainer.errors import TrainerError
from torchyard_trainer.termination import End
from torchyard_trainer.threads import threads_per_process

GRACE_SECONDS = 20.0
"""How long the other ranks of the pod may take to leave once one has failed."""

logger = logging.getLogger(__name__)


@dataclass
class Rank:
    """A rank process as its supervisor sees it."""

    process: "subprocess.Popen[bytes]"
    number: int
    receiver: Receiver
    word: Termination | None = None
    end: End | None = None
    dismissed: bool = False


@dataclass
class Supervisor:
    """The ranks of one worker, from their start to the last one's end."""

    config: WorkerConfig
    worker: int
    environment: Mapping[str, str]
    ranks: list[Rank] = field(default_factory=list)
    progress: WorkerProgress | None = None
    _deadline: float | None = None

    def newest(self) -> WorkerProgress | None:
        """What is served: worker 0 speaks for the gang, the others keep silent."""
        return self.progress if self.worker == 0 else None

    def run(self) -> Termination:
        """Start the ranks and see them through."""
        with selectors.DefaultSelector() as selector, _signals() as signals:
            selector.register(signals, selectors.EVENT_READ, None)
            for local in range(self.config.spec.workers.processes_per_worker):
                rank = self._start(local)
                self.ranks.append(rank)
                selector.register(rank.receiver.descriptor, selectors.EVENT_READ, rank)
            # Ranks inherit the mask and lift it when their handler is there. Until then the
            # signal would kill them, and a pod that is only stopped would count as failed.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            while any(rank.end is None for rank in self.ranks):
                for key, _ in selector.select(self._patience()):
                    if key.data is None:
                        self._pass_on(signals.recv(4096))
                    elif not self._listen(key.data):
                        selector.unregister(key.fileobj)
                self._reap()
                self._dismiss_stragglers()
        ends = [rank.end for rank in self.ranks if rank.end is not None]
        return termination.verdict(ends, self.progress)

    def _start(self, local: int) -> Rank:
        place = settings.place(self.config, self.worker, local)
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        process = subprocess.Popen(
            [sys.executable, "-m", "torchyard_trainer.rank"],
            env=rank_environment(self.config, place.local, theirs, self.environment),
            pass_fds=(theirs,),
            stdin=subprocess.DEVNULL,
        )
        os.close(theirs)
        logger.info("started rank %d as process %d", place.rank, process.pid)
        return Rank(process, place.rank, Receiver(ours))

    def _listen(self, rank: Rank) -> bool:
        """Take in what a rank has said; False when it will say no more."""
        messages, open_ended = rank.receiver.receive()
        for message in messages:
            if isinstance(message, WorkerProgress):
                self.progress = message
            else:
                rank.word = message
        return open_ended

    def _pass_on(self, numbers: bytes) -> None:
        if not {signal.SIGTERM, signal.SIGINT}.isdisjoint(numbers):
            logger.info("asked to stop: the ranks write a checkpoint and leave")
            for rank in self.ranks:
                self._kill(rank, signal.SIGTERM)

    def _reap(self) -> None:
        """Collect every child that has ended, orphans of the ranks included: PID 1 inherits them.

        `waitpid` here takes the exit status away from Popen, which is therefore never asked.
        """
        while True:
            try:
                pid, raw = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for rank in self.ranks:
                if rank.process.pid == pid:
                    self._ended(rank, os.waitstatus_to_exitcode(raw))

    def _ended(self, rank: Rank, status: int) -> None:
        rank.process.returncode = status
        code = 128 - status if status < 0 else status
        # What a rank says, it says before it ends, so all of it is in the pipe by now.
        self._listen(rank)
        rank.end = End(rank.number, code, time.time(), rank.word, rank.dismissed)
        logger.info("rank %d ended with exit code %d", rank.number, code)
        leaves = rank.word is not None and rank.word.outcome is Outcome.INTERRUPTED
        if code != 0 and not leaves and self._deadline is None:
            self._deadline = time.monotonic() + GRACE_SECONDS

    def _patience(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _dismiss_stragglers(self) -> None:
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        self._deadline = time.monotonic() + GRACE_SECONDS
        for rank in self.ranks:
            if rank.end is None:
                logger.warning("rank %d did not leave after another had failed", rank.number)
                rank.dismissed = True
                self._kill(rank, signal.SIGKILL)

    def _kill(self, rank: Rank, number: signal.Signals) -> None:
        # Until it is reaped, which is done here alone, its number belongs to nobody else.
        if rank.end is None:
            os.kill(rank.process.pid, number)


def rank_environment(
    config: WorkerConfig, local: int, descriptor: int, environment: Mapping[str, str]
) -> dict[str, str]:
    """The environment of rank process `local`; numbers of threads already given are kept."""
    threads = str(threads_per_process(config.spec.workers.processes_per_worker))
    return {
        "OMP_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": environment.get("OMP_NUM_THREADS", threads),
        **environment,
        # Before it is imported: onnxruntime otherwise reports to its maker from its first moment.
        "ORT_DISABLE_TELEMETRY": "1",
        settings.LOCAL_RANK_VARIABLE: str(local),
        settings.CHANNEL_VARIABLE: str(descriptor),
        settings.SUPERVISOR_VARIABLE: str(os.getpid()),
    }


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that yields the number of every signal that matters here, one byte each.

    SIGTERM stays blocked until the ranks have been started.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        # A handler must exist for the number to be written; for PID 1 also because the kernel
        # drops signals that nobody handles.
        signal.signal(number, lambda *_: None)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(-1)
        ours.close()
        theirs.close()


def main() -> int:
    """Run a worker; returns its exit code."""
    environment = dict(os.environ)
    log.setup(worker=environment.get(settings.WORKER_VARIABLE, ""))
    message = _supervise(environment)
    logger.info("%s %s", message.outcome, message.message)
    path = Path(environment.get(settings.TERMINATION_VARIABLE, settings.TERMINATION_LOG))
    termination.write(path, message)
    return termination.exit_code(message)


def _supervise(environment: Mapping[str, str]) -> Termination:
    try:
        config = settings.read_config(environment)
        worker = settings.read_worker(environment, config)
        host, port = settings.status_address(environment)
    except TrainerError as error:
        return Termination(outcome=error.outcome, message=termination.cut(str(error)))
    supervisor = Supervisor(config, worker, environment)
    try:
        with status.serve(host, port, supervisor.newest):
            return supervisor.run()
    except OSError as error:
        message = termination.cut(f"the supervisor failed: {error}")
        return Termination(outcome=Outcome.PROCESS_FAILED, message=message)
