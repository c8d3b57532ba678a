"""When a checkpoint is due, writing it behind the training's back, and finding the newest one.

A checkpoint is due every `everySteps` steps or `everySeconds` seconds, when the last step is
done, and when SIGTERM comes; not at the end of every epoch, which may take no longer than
writing one.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata
from torch.optim import Optimizer

from torchyard.api.contract import WorkerConfig
from torchyard.api.trainingjob import CheckpointStatus, Resume
from torchyard_trainer.checkpoint import dcp
from torchyard_trainer.checkpoint.dcp import CheckpointUnreadable
from torchyard_trainer.checkpoint.shelf import Manifest, Name, Shelf, write_durably
from torchyard_trainer.errors import ConfigInvalid, DataInvalid
from torchyard_trainer.parallel.group import Group
from torchyard_trainer.task import Learnt

EVERY_SECONDS = 300
LEARNT = "learnt"

logger = logging.getLogger(__name__)


class Keeper:
    """The checkpoints of this attempt and of those before; keeps none without a place for them.

    Methods are collective unless they say otherwise. `announce` is told of every checkpoint
    that is whole and durable, on rank 0, from a thread of its own.
    """

    def __init__(
        self, config: WorkerConfig, group: Group, announce: Callable[[CheckpointStatus], None]
    ) -> None:
        self._spec = config.spec.checkpoint
        self._group = group
        self._announce = announce
        path = config.checkpoint_path
        self._uri = config.checkpoint_uri or path
        self._shelf = Shelf(Path(path), config.attempt) if path else None
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None
        self._newest = -1  # step of the newest whole one; on rank 0
        self._last = time.monotonic()
        self._candidates: Iterator[tuple[Name, Manifest]] = iter(())
        self._first: tuple[Name, Manifest] | None = None

    def look(self, data_digest: str) -> Learnt | None:
        """Clean up, find the newest whole checkpoint, and return what was learnt then.

        On rank 0 alone. None where there is nothing to go on from. Raises DataInvalid where the
        data is another by now: what was learnt, and which rows are still to come, would be wrong.
        """
        if self._shelf is None:
            return None
        self._shelf.sweep()
        if self._spec.resume is Resume.NEVER:
            return None
        self._candidates = self._shelf.verified()
        self._first = next(self._candidates, None)
        if self._first is None:
            return None
        name, manifest = self._first
        if manifest.data_digest != data_digest:
            raise DataInvalid(
                f"the data has changed since checkpoint {name} was written: it had "
                f"{manifest.data_digest} and has {data_digest}; bring it back, or create a new job"
            )
        directory = self._shelf.directory(name) / LEARNT
        return {path.name: path.read_bytes() for path in directory.iterdir()}

    def restore(self, model: nn.Module, optimizer: Optimizer) -> CheckpointStatus | None:
        """Load what `look` has found into model and optimizer; None where there is nothing.

        Raises CheckpointUnreadable where intact checkpoints do not fit the model: beginning anew
        would lose them in silence.
        """
        unreadable: CheckpointUnreadable | None = None
        while offer := self._group.share(self._offer() if self._group.leads else None):
            status = CheckpointStatus.model_validate_json(offer["status"])
            try:
                directory = Path(offer["directory"].decode())
                dcp.load(directory, model, optimizer, self._group.background)
            except CheckpointUnreadable as error:
                logger.warning("checkpoint %s cannot be loaded: %s", status.uri, error)
                unreadable = error
                continue
            self._newest = status.step
            logger.info("resumed from checkpoint %s", status.uri, extra={"step": status.step})
            return status
        if unreadable is not None:
            raise unreadable
        return None

    def due(self, step: int) -> bool:
        """Whether `everySteps` wants a checkpoint now. Not collective; the same everywhere."""
        every = self._spec.every_steps
        return self._shelf is not None and every is not None and step % every == 0

    def overdue(self) -> bool:
        """Whether `everySeconds` wants one. Not collective: only rank 0's clock counts."""
        if self._shelf is None or self._spec.every_steps is not None:
            return False
        return time.monotonic() - self._last >= (self._spec.every_seconds or EVERY_SECONDS)

    def save(
        self, step: int, model: nn.Module, optimizer: Optimizer, learnt: Learnt, data_digest: str
    ) -> None:
        """Begin to write a checkpoint, unless the newest one is of this very step."""
        if self._shelf is None:
            return
        self.settle()
        (newest,) = self._group.sum([float(self._newest) if self._group.leads else 0.0])
        if newest == step:
            return
        self._last = time.monotonic()
        name = Name(self._shelf.attempt, step)
        directory = self._shelf.directory(name)
        future = dcp.begin_save(directory, model, optimizer, self._group.background)
        self._pending = self._writer.submit(
            self._finish, self._shelf, name, future, dict(learnt), data_digest
        )

    def settle(self) -> None:
        """Wait for the checkpoint that is being written. Not collective."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _finish(
        self,
        shelf: Shelf,
        name: Name,
        future: "Future[Metadata]",
        learnt: Learnt,
        data_digest: str,
    ) -> None:
        """Runs in the background. A checkpoint that fails costs the training nothing but itself."""
        try:
            metadata = future.result()
            if not self._group.leads:
                return
            directory = shelf.directory(name)
            _write_learnt(directory / LEARNT, learnt)
            paths = [*dcp.files(metadata), *(f"{LEARNT}/{file}" for file in learnt)]
            manifest = shelf.seal(name, paths, data_digest)
            shelf.prune(self._spec.keep)
        except FileNotFoundError as error:
            raise ConfigInvalid(
                f"checkpoint file {error.filename} of another worker is not visible to worker 0: "
                "checkpoint.uri must be on a volume that all workers share"
            ) from error
        except (CheckpointException, OSError) as error:
            logger.warning("checkpoint %s failed: %s", name, error, extra={"step": name.step})
            return
        self._newest = name.step
        logger.info("checkpoint %s is complete", name, extra={"step": name.step})
        self._announce(self._status(name, manifest))

    def _offer(self) -> Mapping[str, bytes]:
        """The next candidate of rank 0; empty when there is none left."""
        found, self._first = self._first or next(self._candidates, None), None
        if found is None or self._shelf is None:
            return {}
        name, manifest = found
        return {
            "directory": str(self._shelf.directory(name)).encode(),
            "status": self._status(name, manifest).model_dump_json().encode(),
        }

    def _status(self, name: Name, manifest: Manifest) -> CheckpointStatus:
        return CheckpointStatus(
            step=name.step, uri=f"{self._uri}/{name}", time=manifest.time, bytes=manifest.size
        )


def _write_learnt(directory: Path, learnt: Learnt) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, content in learnt.items():
        write_durably(directory / name, content)
