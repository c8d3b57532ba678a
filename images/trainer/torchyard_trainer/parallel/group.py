"""The gang once it has met: the device mesh, and the little that processes tell each other."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore, Store

from torchyard.api.contract import WorkerConfig
from torchyard_trainer.parallel.rendezvous import Patience, meet
from torchyard_trainer.settings import Place, read_address
from torchyard_trainer.stop import Stop

TIMEOUT = timedelta(seconds=120)
"""After this long without a sign a peer counts as lost. One that died is noticed at once, by its
broken connection; this is for machines that vanish."""
BACKGROUND_TIMEOUT = timedelta(hours=1)

logger = logging.getLogger(__name__)


class Group:
    """All processes of the attempt. Its methods are collective: every process calls them."""

    def __init__(self, place: Place, device: torch.device, store: Store, stop: Stop) -> None:
        self.rank = place.rank
        self.world = place.world
        self.device = device
        self._store = store
        self._stop = stop
        self._turn = 0
        # The little things go over gloo also where gradients go over the devices' own backend:
        # they are on the CPU and must not wait for the device.
        backend = "gloo"
        if device.type != "cpu":
            backend = f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device)}"
        dist.init_process_group(
            backend,
            store=PrefixStore("group", store),
            rank=place.rank,
            world_size=place.world,
            timeout=TIMEOUT,
            device_id=device if device.type != "cpu" else None,
        )
        self.mesh: DeviceMesh = init_device_mesh(
            device.type, (place.world,), mesh_dim_names=("replicate",)
        )
        # Checkpoints are written in the background: their exchanges must not get between those
        # of the training, and wait for the slowest disk.
        self.background = dist.new_group(backend="gloo", timeout=BACKGROUND_TIMEOUT)

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which does what is to be done once."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """The element-wise sums over all processes, in double precision."""
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        result: list[float] = total.tolist()
        return result

    def share(self, files: Mapping[str, bytes] | None) -> dict[str, bytes]:
        """What rank 0 passes, on every process; the others pass None.

        They wait for it as long as it takes, and leave on SIGTERM.
        """
        self.await_all(self._stop)
        sizes = {name: len(content) for name, content in (files or {}).items()}
        head = self._broadcast(json.dumps(sizes).encode() if files is not None else None)
        sizes = json.loads(head)
        body = self._broadcast(b"".join(files.values()) if files is not None else None)
        result, start = {}, 0
        for name, size in sizes.items():
            result[name] = body[start : start + size]
            start += size
        return result

    def await_all(self, stop: Stop) -> None:
        """Wait until every process has come here, however long the slowest takes.

        Other operations have a time limit, so this stands before them where processes may be far
        apart: one reads the data more slowly, or rank 0 learns while the others have nothing to do.
        """
        self._turn += 1
        key = f"turn/{self._turn}"
        here = self._store.add(key, 1)
        patience = Patience(stop)
        while here < self.world:
            patience.wait(f"{self.world - here} of {self.world} processes are still at work")
            here = self._store.add(key, 0)

    def _broadcast(self, content: bytes | None) -> bytes:
        """Bytes from rank 0, as a tensor: nothing is unpickled."""
        size = torch.tensor([len(content or b"")])
        dist.broadcast(size, src=0)
        if content:
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        else:
            buffer = torch.empty(int(size.item()), dtype=torch.uint8)
        dist.broadcast(buffer, src=0)
        return buffer.numpy().tobytes()


def join(config: WorkerConfig, place: Place, device: torch.device, stop: Stop) -> Group:
    """Meet the other processes of this attempt and form the group."""
    host, port = read_address(config.rendezvous, "rendezvous")
    prefix = f"{config.job.uid}/{config.attempt}"
    store = meet(host, port, prefix, place, TIMEOUT, stop)
    group = Group(place, device, store, stop)
    logger.info("%d processes have met; %s on rank %d", place.world, device, place.rank)
    return group
