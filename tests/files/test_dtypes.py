"""Types of tensors under the names that everybody has for them."""

import pytest
import torch
from safetensors.torch import save

from inflate_zoo.errors import UnknownNameError
from inflate_zoo.files.dtypes import (
    DTYPES,
    FLOATS,
    ITEM_BYTES,
    dtype_name,
    torch_dtype,
    torch_dtype_of,
)

STORED = [torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_a_tensors_type_is_called_and_sized_as_safetensors_does(dtype):
    content = save({"a": torch.zeros(3, dtype=dtype)})
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].decode()
    name = dtype_name(torch.zeros(3, dtype=dtype))
    assert f'"dtype":"{name}"' in header
    assert f'"data_offsets":[0,{3 * ITEM_BYTES[name]}]' in header


def test_a_name_gives_its_type_and_none_is_float32():
    assert {name: torch_dtype(name) for name in DTYPES} == {
        "float32": torch.float32,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
    }
    assert torch_dtype(None) is torch.float32
    assert torch_dtype(torch.int8) is torch.int8
    with pytest.raises(UnknownNameError, match="no dtype named 'float61'") as caught:
        torch_dtype("float61")
    with pytest.raises(UnknownNameError, match="no dtype named '5'"):
        torch_dtype(5)
    assert "float16" in caught.value.hint


def test_the_types_that_are_kept_are_known_by_both_names():
    for name in FLOATS:
        assert dtype_name(torch.zeros(1, dtype=torch_dtype_of(name))) == name
