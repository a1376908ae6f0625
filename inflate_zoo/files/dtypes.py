"""Types of tensors, by the names that safetensors, torch and users have for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from inflate_zoo.errors import UnknownNameError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2,
    "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
FLOATS = tuple(DTYPES.values())


def torch_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """The type of a name; `None` is float32.

    Raises:
        UnknownNameError: No such type.
    """
    import torch

    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is not None and (not isinstance(dtype, str) or dtype not in DTYPES):
        raise UnknownNameError("dtype", str(dtype), DTYPES)
    return getattr(torch, dtype or "float32")  # type: ignore[no-any-return]


def torch_dtype_of(name: str) -> torch.dtype:
    """The type that safetensors calls so, one of `FLOATS`."""
    return torch_dtype(next(ours for ours, stored in DTYPES.items() if stored == name))


def dtype_name(tensor: Tensor) -> str:
    """The type of a tensor, as safetensors calls it."""
    name = str(tensor.dtype).removeprefix("torch.")
    digits = re.search(r"\d+", name)
    if digits and "float" in name:
        return ("BF" if name.startswith("bfloat") else "F") + digits.group()
    return name.upper()
