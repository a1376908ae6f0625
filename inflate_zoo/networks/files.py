"""The two files of a network of ours: `config.json`, and `model.safetensors` that fits it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from inflate_zoo.errors import AccountingError, ConfigError, UsageError
from inflate_zoo.files.checkpoints import SafetensorsCheckpoint
from inflate_zoo.files.dtypes import DTYPES, FLOATS, dtype_name, torch_dtype
from inflate_zoo.files.reading import called, lacking, read_json, require_files, require_regular
from inflate_zoo.files.writing.contents import json_text, write_safetensors, write_text
from inflate_zoo.files.writing.staging import MARKER, staged
from inflate_zoo.hub.addresses import is_local, locate, parse_address
from inflate_zoo.networks.base import SEGMENTER_TYPE, BackboneConfig, NetworkConfig
from inflate_zoo.networks.config_json import (
    fields_to_write,
    own_fields,
    require_known_format,
    require_library_keys,
)
from inflate_zoo.texts import plural, problems_of, validated

Config = TypeVar("Config", bound=NetworkConfig)

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_NAME_IT = "name the folder that 'inflate-zoo convert' wrote, or a Hub repo of such weights"
_AGAIN = {"backbone": "convert the source again", "segmenter": "save the segmenter again"}


def folder_of(source: str | Path, *kinds: type[NetworkConfig]) -> Path:
    """The folder of a network of ours; of a Hub repo, fetched once its config is found valid.

    Args:
        source: A folder or a Hub repo.
        kinds: What its config may be.

    Raises:
        UsageError: No such folder or repo, or a folder without a config, or whose replacement was
            interrupted.
        ConfigError: The repo's config is not that of a network of ours.
    """
    path = Path(source)
    if is_local(str(source)) and path.is_dir():
        if (path / MARKER).exists():
            raise UsageError(
                f"'{called(path)}' holds files of two conversions: a replacement was interrupted",
                hint="convert into it again with --force",
            )
        require_files(path, [CONFIG], _NAME_IT)
        return path
    if is_local(str(source)) or isinstance(source, Path):
        raise UsageError(
            f"'{called(path)}' is no folder of converted weights{lacking(path)}",
            hint=_NAME_IT,
        )
    place = locate(parse_address(source))
    place.fetch([CONFIG])
    read_config(place.folder, source, *kinds)  # before anything large is fetched
    place.fetch([WEIGHTS])
    return place.folder


def read_config(folder: Path, source: str | Path, *kinds: type[Config]) -> Config:
    """Read and check a network's config.json.

    Args:
        folder: Where it is.
        source: What the user called it.
        kinds: What it may be, each with a `model_type` of its own.

    Raises:
        ConfigError: Names the field, or says that it is of another kind.
    """
    return parse_config(read_json(folder / CONFIG), source, *kinds)


def parse_config(raw: Mapping[str, Any], source: str | Path, *kinds: type[Config]) -> Config:
    """Check what stands in a network's config.json; arguments and errors are `read_config`'s.

    Args:
        raw: The file's content.
        source: What the user called its folder.
        kinds: What it may be, each with a `model_type` of its own.

    Raises:
        ConfigError: Names the field, or says that it is of another kind.
    """
    found = raw.get("model_type")
    for kind in kinds:
        if found == kind.kind():
            return _validated(kind, raw)
    if found == SEGMENTER_TYPE:
        raise ConfigError(
            "config.json is that of a segmenter, not of a backbone",
            hint="inflate_zoo.load(...) gives the segmenter, and its .backbone the backbone",
        )
    name = called(Path(source)) if is_local(str(source)) else str(source)
    ours = " or ".join(f"'{kind.kind()}'" for kind in kinds if kind.kind() != SEGMENTER_TYPE)
    raise ConfigError(
        f"config.json: model_type is {found!r}, converted weights have {ours}",
        hint=f"convert the 2D checkpoint first: inflate-zoo convert {quote(name)}",
    )


def _validated(kind: type[Config], raw: Mapping[str, Any]) -> Config:
    require_known_format(raw, kind)
    fields = own_fields(raw) if issubclass(kind, BackboneConfig) else raw
    try:
        config = validated(kind, fields)
    except ValidationError as error:
        noun = kind.noun
        raise ConfigError(
            f"config.json is no valid {noun}",
            details=problems_of(error),
            hint=f"correct it, or {_AGAIN[noun]}",
        ) from error
    if isinstance(config, BackboneConfig):
        require_library_keys(raw, config)
    return config


def read_tensors(
    folder: Path,
    expected: Mapping[str, tuple[int, ...]],
    dtype: str | torch.dtype | None,
    device: str | torch.device | None,
) -> dict[str, Tensor]:
    """Read just the tensors that are expected.

    Args:
        folder: Where `model.safetensors` is.
        expected: Name to shape.
        dtype: What they become; a name, a type, or `None` for float32.
        device: Where they go; `None` is the CPU.

    Raises:
        AccountingError: Tensors are missing, left over or of another shape.
        CheckpointError: The file is damaged.
        UsageError: There is no such device, or weights cannot be of that type.
    """
    kind = torch_dtype(dtype)
    if not kind.is_floating_point:
        raise UsageError(
            f"weights cannot be {str(kind).removeprefix('torch.')}",
            hint=f"choose among {', '.join(DTYPES)}",
        )
    _require_device(device)
    require_regular(folder / WEIGHTS, folder)
    checkpoint = SafetensorsCheckpoint([folder / WEIGHTS])
    require_shapes({name: info.shape for name, info in checkpoint.header.items()}, expected)
    # A copy: the file may be replaced while the network lives.
    return {
        name: checkpoint.read(name).to(device=device, dtype=kind, copy=True) for name in expected
    }


def require_shapes(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse tensors that are not just those of a network.

    Args:
        found: Name to shape, of the file.
        expected: Name to shape, of the network.

    Raises:
        AccountingError: Tensors are missing, left over or of another shape.
    """
    if problems := _differences(found, expected):
        raise AccountingError(
            f"'{WEIGHTS}' does not fit its config.json: {len(problems)} problems",
            details=problems,
            hint="take both files from the same conversion",
        )


def _differences(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """A line for each tensor that is missing, left over or of another shape."""
    problems = [f"missing: '{n}' {list(s)}" for n, s in expected.items() if n not in found]
    problems += [f"left over: '{n}' {list(s)}" for n, s in found.items() if n not in expected]
    return problems + [
        f"unexpected shape: '{name}' {list(found[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]


def _require_device(device: str | torch.device | None) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise UsageError(
            f"device '{device}' cannot be used: {str(error).splitlines()[0]}",
            hint="leave it out for the CPU; torch.cuda.is_available() tells whether there is a GPU",
        ) from error


def write_network(
    folder: Path,
    config: NetworkConfig,
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
) -> None:
    """Write both files, or neither; other files in the folder are left alone.

    Args:
        folder: Where to; made if need be.
        config: What the network is.
        tensors: All that it holds, by name.
        expected: Name to shape, of the tensors that a network of that config is read from.

    Raises:
        UsageError: The tensors are others, so that nothing could read them again.
        WriteError: They cannot be written.
        ConfigError: The weights are of a type other than float32, float16 or bfloat16.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if problems := _differences(shapes, expected):
        raise UsageError(
            f"the tensors are not those of a {config.noun} of its config: "
            f"{plural(len(problems), 'difference')}",
            details=problems,
            hint="merge adapters first (merge_and_unload()), take a classifier off "
            "(reset_classifier(0)), and save no network that was pruned",
        )
    wrong = {str(t.dtype) for t in tensors.values() if dtype_name(t) not in FLOATS}
    if wrong:
        raise ConfigError(
            f"weights of type {', '.join(sorted(wrong))} cannot be saved",
            hint=f"{config.noun}.float() first",
        )
    ordered = dict(sorted(tensors.items()))
    entries = [(n, dtype_name(t), tuple(t.shape)) for n, t in ordered.items()]
    with staged(folder, [WEIGHTS, CONFIG], force=True) as stage:
        write_safetensors(stage / WEIGHTS, entries, (t.detach().cpu() for t in ordered.values()))
        write_text(stage / CONFIG, json_text(fields_to_write(config)))
