"""The metadata of a checkpoint is a pickle that names nothing but descriptions of tensors."""

import io
import os
import pickle
from typing import Any

import pytest
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING

from torchyard_trainer.checkpoint.dcp import _Unpickler


class Call:
    """Pickled as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def load(value: Any) -> Any:
    return _Unpickler(io.BytesIO(pickle.dumps(value))).load()


def test_a_member_of_an_enum_is_read_however_python_pickles_it() -> None:
    # Python 3.11.0 to 3.11.4, which Debian 12 has, say getattr(class, name); others class(value).
    member = _MEM_FORMAT_ENCODING.TORCH_CONTIGUOUS_FORMAT
    assert load(Call(getattr, _MEM_FORMAT_ENCODING, member.name)) is member
    assert load(Call(_MEM_FORMAT_ENCODING, member.value)) is member


@pytest.mark.parametrize(
    "value",
    [
        Call(getattr, Call(getattr, _MEM_FORMAT_ENCODING, "__class__"), "mro"),
        Call(getattr, _MEM_FORMAT_ENCODING, "__class__"),
        Call(os.getpid),
        Call(eval, "1"),
    ],
)
def test_nothing_else_is_called(value: Any) -> None:
    with pytest.raises((pickle.UnpicklingError, KeyError)):
        load(value)
