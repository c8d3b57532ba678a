"""Checkpoints of torch's own kind, read without running what is in them."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import SGD, Adam, Optimizer

from torchyard_trainer.checkpoint import dcp
from torchyard_trainer.checkpoint.dcp import CheckpointUnreadable


@pytest.fixture(autouse=True)
def group() -> Iterator[dist.ProcessGroup]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.new_group(backend="gloo")
    dist.destroy_process_group()


def trained(kind: type[Optimizer] = Adam, steps: int = 3) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(steps)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    optimizer = kind(model.parameters(), lr=0.1)  # type: ignore[call-arg]
    for _ in range(steps):
        model(torch.randn(5, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


@pytest.mark.parametrize("kind", [Adam, SGD])
def test_model_and_optimizer_come_back(
    tmp_path: Path, group: dist.ProcessGroup, kind: type[Optimizer]
) -> None:
    model, optimizer = trained(kind)
    metadata = dcp.begin_save(tmp_path / "c", model, optimizer, group).result()
    assert dcp.files(metadata) == {path.name for path in (tmp_path / "c").iterdir()}
    other, another = trained(kind, 0)
    dcp.load(tmp_path / "c", other, another, group)
    expected, found = optimizer.state_dict(), another.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for name, value in model.state_dict().items():
        assert (other.state_dict()[name] == value).all()
    for number, state in expected["state"].items():
        for name, value in state.items():
            assert (torch.as_tensor(found["state"][number][name]) == value).all()


def test_nothing_but_tensors_is_kept(tmp_path: Path, group: dist.ProcessGroup) -> None:
    metadata = dcp.begin_save(tmp_path / "c", *trained(), group).result()
    kinds = {type(entry).__name__ for entry in metadata.state_dict_metadata.values()}
    assert kinds == {"TensorStorageMetadata"}


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_metadata_that_names_other_classes_is_not_unpickled(
    tmp_path: Path, group: dist.ProcessGroup
) -> None:
    model, optimizer = trained()
    dcp.begin_save(tmp_path / "c", model, optimizer, group).result()
    (tmp_path / "c" / ".metadata").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(CheckpointUnreadable, match=r"names posix\.mkdir"):
        dcp.load(tmp_path / "c", model, optimizer, group)
    assert not (tmp_path / "ran").exists()


def test_a_value_in_place_of_a_tensor_is_not_unpickled(
    tmp_path: Path, group: dist.ProcessGroup
) -> None:
    model, optimizer = trained()
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    bomb = {**state, "model.0.weight": Bomb(tmp_path / "ran")}
    save(bomb, storage_writer=FileSystemWriter(str(tmp_path / "c")), process_group=group)
    with pytest.raises(CheckpointUnreadable):
        dcp.load(tmp_path / "c", model, optimizer, group)
    assert not (tmp_path / "ran").exists()


def test_another_architecture(tmp_path: Path, group: dist.ProcessGroup) -> None:
    dcp.begin_save(tmp_path / "c", *trained(), group).result()
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(CheckpointUnreadable, match=r"[Ss]ize mismatch"):
        dcp.load(tmp_path / "c", model, Adam(model.parameters()), group)
