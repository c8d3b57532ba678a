"""How the model is spread over the mesh: so far, replicas that average their gradients (DDP)."""

from typing import cast

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.parallel import DistributedDataParallel


def spread(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """The module to train with: its backward pass leaves averaged gradients in `model`."""
    if mesh["replicate"].size() == 1:
        return model
    return DistributedDataParallel(
        model, process_group=mesh.get_group("replicate"), gradient_as_bucket_view=True
    )


def plain(module: nn.Module) -> nn.Module:
    """The model inside what `spread` returned."""
    if isinstance(module, DistributedDataParallel):
        return cast(nn.Module, module.module)
    return module
