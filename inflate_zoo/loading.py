"""From files to a network, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from inflate_zoo import hub
from inflate_zoo.architecture import MODEL_TYPE, BackboneConfig, tensor_shapes
from inflate_zoo.checkpoints import SafetensorsCheckpoint
from inflate_zoo.errors import AccountingError, ConfigError, UnknownNameError, UsageError
from inflate_zoo.files import read_json, require_regular
from inflate_zoo.inflate import DTYPES
from inflate_zoo.nets.vit import VisionTransformer
from inflate_zoo.positions import resize_depth, resize_in_plane
from inflate_zoo.sources import is_local
from inflate_zoo.writing import MARKER, json_text, staged, write_safetensors, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

Net = TypeVar("Net", bound=VisionTransformer)
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_TYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


class Backbone(VisionTransformer):
    """A 3D backbone with its files; what `load` returns."""

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        volume: Sequence[int] | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
    ) -> Self:
        """Load converted weights; the arguments, results and errors are those of `load`."""
        folder = _folder_of(source)
        config = read_backbone_config(folder, folder.name if is_local(str(source)) else str(source))
        target = fitted_config(config, volume)
        tensors = _tensors(folder, config, target, _torch_dtype(dtype), device)
        return assemble(cls, target, tensors)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `config.json` and `model.safetensors`, as `from_pretrained` takes them.

        The position table is written at the present grid; the depth table only where it is not
        zero. Our two files are replaced, others are left alone.

        Args:
            folder: Where to; made if need be.

        Returns:
            The folder.

        Raises:
            WriteError: It cannot be written.
            ConfigError: The weights are of a type other than float32, float16 or bfloat16.
        """
        tensors = dict(sorted(self.state_dict().items()))
        config = self.config
        if bool(tensors["depth_embed"].any()):
            config = config.model_copy(update={"depth_positions": self.grid_size[0]})
        else:
            del tensors["depth_embed"]
        wrong = {str(t.dtype) for t in tensors.values()} - {str(d) for d in _TYPE_NAMES}
        if wrong:
            raise ConfigError(
                f"weights of type {', '.join(sorted(wrong))} cannot be saved",
                hint="backbone.float() first",
            )
        entries = [(n, _TYPE_NAMES[t.dtype], tuple(t.shape)) for n, t in tensors.items()]
        with staged(Path(folder), [WEIGHTS, CONFIG], force=True) as stage:
            write_safetensors(
                stage / WEIGHTS, entries, (t.detach().cpu() for t in tensors.values())
            )
            write_text(stage / CONFIG, json_text(config.model_dump(mode="json")))
        return Path(folder)


def load(
    source: str | Path,
    *,
    volume: Sequence[int] | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> Backbone:
    """Load converted weights, strictly.

    Args:
        source: A folder, or a Hub repo (`org/name` or `org/name@revision`) of converted weights.
        volume: Volume (depth, height, width) in voxels the backbone is to take; position tables
            are resized to its token grid. `None` takes the one in the config.
        dtype: `float32` (also `None`), `float16` or `bfloat16`.
        device: Where the weights go; `None` is the CPU.

    Returns:
        The backbone, in training mode as any new module; call `.eval()` for inference.

    Raises:
        UsageError: No such folder or repo, or a volume that the patch does not divide.
        ConfigError: The config is malformed, or is not that of converted weights.
        AccountingError: Tensors are missing, left over or of another shape.
        CheckpointError: The file is damaged.
    """
    return Backbone.from_pretrained(source, volume=volume, dtype=dtype, device=device)


def _folder_of(source: str | Path) -> Path:
    path = Path(source)
    if is_local(str(source)) and path.is_dir():
        if (path / MARKER).exists():
            raise UsageError(
                f"'{path.name}' holds files of two conversions: a replacement was interrupted",
                hint="convert into it again with --force",
            )
        return path
    if is_local(str(source)) or isinstance(source, Path):
        raise UsageError(
            f"'{path.name}' is no folder of converted weights",
            hint="name the folder that 'inflate-zoo convert' wrote, or a Hub repo of such weights",
        )
    snapshot = hub.resolve(*hub.parse_repo(source))
    hub.fetch(snapshot, [CONFIG])
    read_backbone_config(snapshot.folder, str(source))  # before anything large is fetched
    hub.fetch(snapshot, [WEIGHTS])
    return snapshot.folder


def read_backbone_config(folder: Path, source: str) -> BackboneConfig:
    """Read and check a conversion's config.json.

    Args:
        folder: Where it is.
        source: What the user called it.

    Raises:
        ConfigError: Names the field.
    """
    raw = read_json(folder / CONFIG)
    if raw.get("model_type") != MODEL_TYPE:
        raise ConfigError(
            f"config.json: model_type is {raw.get('model_type')!r}, converted weights have "
            f"'{MODEL_TYPE}'",
            hint=f"convert the 2D checkpoint first: inflate-zoo convert {source}",
        )
    return _validated(raw)


def _validated(raw: Mapping[str, Any]) -> BackboneConfig:
    try:
        return BackboneConfig.model_validate(raw)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(
            "config.json is no valid backbone",
            details=lines,
            hint="correct it, or convert the source again",
        ) from error


def fitted_config(config: BackboneConfig, volume: Sequence[int] | None) -> BackboneConfig:
    """A config for a volume, its position grid equal to the volume's.

    Raises:
        UsageError: The patch does not divide the volume.
    """
    chosen = config.volume if volume is None else tuple(volume)
    try:
        sized = BackboneConfig(**{**config.model_dump(), "volume": chosen})
    except ValidationError as error:
        raise UsageError(
            f"volume {'x'.join(map(str, chosen))} does not fit: "
            + "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors()),
            hint="give depth, height, width in voxels, each a multiple of the patch",
        ) from error
    return sized.model_copy(update={"position_grid": sized.grid_size[1:]})


def _torch_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is not None and dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    return getattr(torch, dtype or "float32")  # type: ignore[no-any-return]


def _tensors(
    folder: Path,
    config: BackboneConfig,
    target: BackboneConfig,
    dtype: torch.dtype,
    device: str | torch.device | None,
) -> dict[str, Tensor]:
    require_regular(folder / WEIGHTS, folder)
    checkpoint = SafetensorsCheckpoint([folder / WEIGHTS])
    expected = tensor_shapes(config, config.patch_depth)
    if config.depth_positions:
        expected["depth_embed"] = (1, config.depth_positions, config.embed_dim)
    found = {name: info.shape for name, info in checkpoint.header.items()}
    problems = [f"missing: '{n}' {list(s)}" for n, s in expected.items() if n not in found]
    problems += [f"left over: '{n}' {list(s)}" for n, s in found.items() if n not in expected]
    problems += [
        f"unexpected shape: '{name}' {list(found[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        raise AccountingError(
            f"'{WEIGHTS}' does not fit its config.json: {len(problems)} problems",
            details=problems,
            hint="take both files from the same conversion",
        )
    # A copy: the file may be replaced while the network lives.
    tensors = {
        name: checkpoint.read(name).to(device=device, dtype=dtype, copy=True) for name in expected
    }
    return fitted_tensors(tensors, config, target)


def fitted_tensors(
    tensors: dict[str, Tensor], config: BackboneConfig, target: BackboneConfig
) -> dict[str, Tensor]:
    """Tensors of one config for another volume: tables resized, the depth table made."""
    table = tensors["pos_embed"]
    prefix, grid = config.position_prefix, config.position_grid
    tensors["pos_embed"] = resize_in_plane(table, prefix, grid, target.position_grid)
    depth = target.grid_size[0]
    line = tensors.get("depth_embed")
    tensors["depth_embed"] = (
        table.new_zeros(1, depth, config.embed_dim) if line is None else resize_depth(line, depth)
    )
    return tensors


def assemble(kind: type[Net], config: BackboneConfig, tensors: Mapping[str, Tensor]) -> Net:
    """Build a network around its tensors, without initialising anything first."""
    with torch.device("meta"):
        network = kind(config)
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    return network
