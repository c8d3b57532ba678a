"""Model and optimizer to and from torch's distributed checkpoints (DCP), tensors only.

DCP itself unpickles two things: the `.metadata` file, and every value that is no tensor. Whoever
can write to the volume could run code here that way. So nothing but tensors is written, a value
that claims to be something else is refused, and the metadata may name no class beside those that
describe tensors.
"""

import io
import pickle
from concurrent.futures import Future
from enum import Enum
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.optim import Optimizer

METADATA = ".metadata"
ALLOWED = {
    "pathlib": {"PosixPath"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"}
    | {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)},
}

State = dict[str, Tensor]


class CheckpointUnreadable(Exception):
    """A checkpoint whose files are all intact does not fit this model."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _member
        if name not in ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"{METADATA} names {module}.{name}")
        return super().find_class(module, name)


def _member(kind: Any, name: str) -> Any:
    """What `getattr` is to Python 3.11.0 to 3.11.4, which pickle a member of an enum by it."""
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        raise pickle.UnpicklingError(f"{METADATA} asks for an attribute of {kind!r}")
    return kind[name]


class _Reader(FileSystemReader):
    """A reader that cannot be talked into running code."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        content = (Path(self.path) / METADATA).read_bytes()
        metadata = cast(Metadata, _Unpickler(io.BytesIO(content)).load())
        if metadata.storage_meta is None:
            metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Planner(DefaultLoadPlanner):
    """A planner that takes tensors only."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        raise ValueError(f"{read_item.dest_index.fqn} is no tensor")


def begin_save(
    directory: Path, model: nn.Module, optimizer: Optimizer, group: dist.ProcessGroup
) -> "Future[Metadata]":
    """Copy the state and write it in the background.

    Collective, over `group`, which nothing else may use until the future is done; it is done
    once every process has written its part and rank 0 the metadata.
    """
    model_state, optimizer_state = _state(model, optimizer)
    future = async_save(
        _tensors(model_state, optimizer_state),
        storage_writer=FileSystemWriter(str(directory)),
        process_group=group,
    )
    return cast("Future[Metadata]", future)


def files(metadata: Metadata) -> set[str]:
    """The files that a save has written, relative to its directory."""
    parts = (metadata.storage_data or {}).values()
    return {METADATA, *(info.relative_path for info in parts)}


def load(directory: Path, model: nn.Module, optimizer: Optimizer, group: dist.ProcessGroup) -> None:
    """Read the state back, also one that another number of processes wrote. Collective.

    Raises CheckpointUnreadable, on every process; model and optimizer are then undefined.
    """
    model_state, optimizer_state = _state(model, optimizer)
    try:
        dcp_load(  # in place
            _tensors(model_state, optimizer_state),
            storage_reader=_Reader(str(directory)),
            planner=_Planner(),
            process_group=group,
        )
    except CheckpointException as error:  # a BaseException
        causes = "; ".join(str(failure[0]) for failure in error.failures.values())
        raise CheckpointUnreadable(causes) from error
    set_state_dict(
        model,
        optimizer,
        model_state_dict=model_state,
        optim_state_dict=optimizer_state,
        options=OPTIONS,
    )


OPTIONS = StateDictOptions(flatten_optimizer_state_dict=True)


def _state(model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Names are those of the model as it is written, however it is spread."""
    model_state, optimizer_state = get_state_dict(model, optimizer, options=OPTIONS)
    return cast(dict[str, Any], model_state), cast(dict[str, Any], optimizer_state)


def _tensors(model_state: dict[str, Any], optimizer_state: dict[str, Any]) -> State:
    """What is kept. The optimizer's settings, which are no tensors, come from the spec."""
    named = [
        *((f"model.{name}", value) for name, value in model_state.items()),
        *((f"optimizer.{name}", value) for name, value in optimizer_state.items()),
    ]
    return {name: value for name, value in named if isinstance(value, Tensor)}
