"""Pickle checkpoints (.bin, .pth, .pt): always weights_only, memory-mapped where possible."""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inflate_zoo.errors import CheckpointError
from inflate_zoo.files import refuse_disguise, require_regular

if TYPE_CHECKING:
    from torch import Tensor

_LEVELS = 12  # deeper nests are no checkpoint's


def load_pickle(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a pickle checkpoint, without running anything it holds.

    Nested dicts and lists become dotted names: `teacher.backbone.cls_token`.

    Args:
        path: The file.

    Returns:
        Name to tensor, on the CPU; mapped from the file unless its format is older than torch 1.6.

    Raises:
        CheckpointError: Damaged, something else, a TorchScript archive, or in need of a global
            that is not on the list of harmless ones.
    """
    require_regular(path)
    with path.open("rb") as file:
        start = file.read(512)
    refuse_disguise(path, start)
    if not start:
        raise _damaged(path, "it is empty")
    zipped = start.startswith(b"PK\x03\x04")
    if zipped:
        _refuse_torchscript(path)
    content = _load(path, mmap=zipped)
    tensors = dict(_flatten(content, "", _LEVELS))
    if not tensors:
        raise CheckpointError(f"'{path.name}' holds no tensors", hint="name a file of weights")
    return tensors


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"'{path.name}' is damaged: {reason}",
        hint="download the file again and compare its size with the repo's",
    )


def _refuse_torchscript(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(path, str(error)) from error
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError(
            f"'{path.name}' is a TorchScript archive, which holds code",
            hint="convert the repo of the weights instead, e.g. openai/clip-vit-base-patch16",
        )


def _harmless() -> list[Any]:
    """Inert types that training checkpoints carry beside their tensors."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    kinds = [np.dtype, *(type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8", "?"))]
    return [argparse.Namespace, scalar, (scalar, "numpy.core.multiarray.scalar"), *kinds]


def _load(path: Path, *, mmap: bool) -> Any:
    import pickle
    import warnings

    import torch

    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes on old formats are of no use to our users
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from None
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, OSError,
            IndexError, AssertionError, RecursionError) as error:  # fmt: skip
        raise _damaged(path, _first_line(error)) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]


def _refused(path: Path, text: str) -> CheckpointError:
    found = re.search(r"(?:GLOBAL|global) ([\w.]+)", text) or re.search(r"`([\w.]+)`", text)
    if found is None:
        return _damaged(path, "it is no pickle that torch can read")
    return CheckpointError(
        f"'{path.name}' needs the global '{found.group(1)}', which loading would run or build; "
        "nothing was run",
        hint="take the safetensors file of the model, or save its state_dict alone",
    )


def _flatten(content: Any, prefix: str, levels: int) -> Iterator[tuple[str, Tensor]]:
    import torch

    if isinstance(content, torch.Tensor):
        yield prefix.removesuffix("."), content
    elif levels and isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(key, str | int):
                yield from _flatten(value, f"{prefix}{key}.", levels - 1)
    elif levels and isinstance(content, list | tuple):
        for index, value in enumerate(content):
            yield from _flatten(value, f"{prefix}{index}.", levels - 1)
