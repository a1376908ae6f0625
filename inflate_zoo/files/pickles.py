"""Pickle checkpoints (.bin, .pth, .ckpt, ...): always weights_only, memory-mapped if possible."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inflate_zoo.errors import CheckpointError
from inflate_zoo.files.budgets import PICKLE_BYTES
from inflate_zoo.files.foreign import BudgetError, parsing, reason_of
from inflate_zoo.files.pickle_steps import ForbiddenError, UnknownStepError, follow, follow_names
from inflate_zoo.files.reading import reading, refuse_disguise, require_regular

if TYPE_CHECKING:
    from torch import Tensor

_PICKLES_OF_OLD_FORM = 4  # magic number, version, machine, the content; then names of storages
_LEVELS = 12  # deeper nests are no checkpoint's
_MOST_VALUES = 5_000_000  # a pickle can name one list a thousand times, on each level
_NUMBERS = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


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
    with reading(path), path.open("rb") as file:
        start = file.read(512)
    refuse_disguise(path, start)
    if not start:
        raise _damaged(path, "it is empty")
    if start[257:262] == b"ustar":
        raise CheckpointError(
            f"'{path.name}' is a tar archive, not a checkpoint",
            hint="unpack it and name the file of weights in it",
        )
    zipped = start.startswith(b"PK\x03\x04")
    if zipped:
        _check_archive(path)
    elif start.startswith(b"\x80"):
        _check_old_form(path)
    else:
        raise _damaged(path, "it is no checkpoint that torch can read")
    content = _load(path, zipped=zipped)
    tensors = _collect(path, content)
    if not tensors:
        raise CheckpointError(f"'{path.name}' holds no tensors", hint="name a file of weights")
    return tensors


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"'{path.name}' is damaged: {reason}",
        hint="download the file again and compare its size with the repo's",
    )


def _refused(path: Path, error: Exception) -> CheckpointError:
    """What a file that cannot be followed or loaded is told."""
    hint = "take the safetensors file of the model, or save its state_dict alone with torch.save"
    if isinstance(error, ForbiddenError):
        return CheckpointError(
            f"'{path.name}' needs the global '{error.name[:200]}', which loading would run or "
            "build; nothing was run",
            hint=hint,
        )
    if isinstance(error, UnknownStepError):
        return CheckpointError(
            f"'{path.name}' is a pickle with instruction {error.code}, which safe loading "
            "does not know; nothing was run",
            hint=hint,
        )
    return _damaged(path, _without_folder(path, reason_of(error)))


def _without_folder(path: Path, text: str) -> str:
    """What torch said, without the folder, which its messages may name."""
    for folder in {str(path.parent.resolve()), str(path.parent)} - {"."}:
        text = text.replace(f"{folder.removesuffix('/')}/", "")
    return text


def _check_archive(path: Path) -> None:
    """Refuse what torch would not have written: code, entries that unpack to more, odd steps."""

    def broken(error: Exception) -> CheckpointError:  # noqa: ARG001 - zipfile's words help nobody
        return _damaged(path, "its zip directory is missing or broken")

    with reading(path), parsing(broken), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError(
            f"'{path.name}' is a TorchScript archive, which holds code",
            hint="convert the repo of the weights instead, e.g. openai/clip-vit-base-patch16; or "
            "save the state_dict of what torch.jit.load makes of it, if you trust it",
        )
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if not pickles:
        raise CheckpointError(
            f"'{path.name}' is a zip archive, not a checkpoint",
            hint="unpack it and name the file of weights in it",
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise _damaged(path, "its entries are compressed, which torch never does")
    if len(pickles) > 1:
        raise _damaged(path, "it holds two pickles of one name")
    with reading(path), parsing(partial(_refused, path)), zipfile.ZipFile(path) as archive:
        if pickles[0].file_size > PICKLE_BYTES:
            raise BudgetError(f"it holds {pickles[0].file_size:,} bytes beside its tensors")
        follow(archive.read(pickles[0]), room=path.stat().st_size)


def _check_old_form(path: Path) -> None:
    """Follow the pickles of a file older than torch 1.6: four, then the storages' names."""
    with reading(path), parsing(partial(_refused, path)), path.open("rb") as file:
        data, position = file.read(PICKLE_BYTES), 0
        for _ in range(_PICKLES_OF_OLD_FORM):
            position = follow(data, position, room=path.stat().st_size)
        follow_names(data, position, room=path.stat().st_size)


def _harmless() -> list[Any]:
    """Inert types that training checkpoints carry beside their tensors."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    kinds = [np.dtype, *(type(np.dtype(code)) for code in _NUMBERS)]
    return [argparse.Namespace, scalar, (scalar, "numpy.core.multiarray.scalar"), *kinds]


def _load(path: Path, *, zipped: bool) -> Any:
    import warnings

    import torch

    with (
        reading(path),
        parsing(partial(_refused, path)),
        torch.serialization.safe_globals(_harmless()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # notes on old formats are of no use to our users
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)


def _collect(path: Path, content: Any) -> dict[str, Tensor]:
    """All tensors by dotted name.

    Raises:
        CheckpointError: Two of one name, one that is not plain memory, or far too many values.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for count, (name, value) in enumerate(_flatten(content, "", _LEVELS)):
        if count > _MOST_VALUES:
            raise _damaged(path, f"it holds more than {_MOST_VALUES:,} values beside its tensors")
        if not isinstance(value, torch.Tensor):
            continue
        if name in tensors:
            raise _damaged(path, f"tensor '{name}' occurs twice")
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(
                f"tensor '{name}' in '{path.name}' is sparse, quantized or without data",
                hint="save it as a plain tensor: tensor.to_dense() or tensor.dequantize()",
            )
        tensors[name] = value
    return tensors


def _flatten(content: Any, prefix: str, levels: int) -> Iterator[tuple[str, Any]]:
    """Every value with its dotted name; what is nested too deeply is passed over."""
    if levels and isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(key, str | int):
                yield from _flatten(value, f"{prefix}{key}.", levels - 1)
    elif levels and isinstance(content, list | tuple):
        for index, value in enumerate(content):
            yield from _flatten(value, f"{prefix}{index}.", levels - 1)
    else:
        yield prefix.removesuffix("."), content
