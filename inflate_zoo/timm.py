"""timm's create_model takes our networks once this module is imported.

    import timm
    import inflate_zoo.timm

    model = timm.create_model("hf-hub:org/name", pretrained=True, volume=(64, 96, 128))
    model = timm.create_model("local-dir:folder", pretrained=True, num_classes=3)
    model = timm.create_model("inflated_vit", arch="vit_base_patch16_224")  # random weights

There is one entry point for each network, of the name that is `model_type` in config.json;
`timm.list_models("inflated_*")` lists them. What comes is an `inflate_zoo.Backbone`, which answers
as timm's models do; its outputs are those of `inflate_zoo.load`. config.json has to be of format
version 2: `inflate_zoo.load(FOLDER).save_pretrained(FOLDER)` writes it for older conversions.

Beside timm's arguments (`num_classes`, `global_pool`, `drop_path_rate`, `features_only`,
`out_indices`, `cache_dir` ...) an entry point takes `volume` (depth, height, width in voxels);
`img_size` is height and width alone. Without files `config` (a config of ours) or `arch` (a model
of timm's that is converted) says what to build, else a usual size is built.

What timm's own tests of its models ask and ours do not do: TorchScript and symbolic tracing by
torch.fx (a volume of a wrong size is refused by its shape, which a trace cannot ask for;
torch.export can); stems for other channels than the weights were converted for (`convert
--channels` makes them); `drop_rate`, as there is no dropout; pruned variants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import ValidationError
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.files.dtypes import torch_dtype
from inflate_zoo.files.foreign import parsing, reason_of
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.inflation.recipe import Options, backbone_config, make_recipe
from inflate_zoo.naming.understanding import understand
from inflate_zoo.networks.backbone import Backbone, read_backbone_config
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.config_json import HEAD, library_keys
from inflate_zoo.networks.files import CONFIG, parse_config, require_shapes
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.networks.tables import file_tables
from inflate_zoo.texts import message_of

__all__ = ["register"]  # timm adds the entry points

# What is built where nothing says what: timm's name of the 2D network that is inflated.
_USUAL: Mapping[str, str] = {
    "inflated_vit": "vit_small_patch16_224",
    "inflated_beit": "beit_base_patch16_224",
    "inflated_dinov3": "vit_small_patch16_dinov3",
    "inflated_eva02": "eva02_tiny_patch14_224",
    "inflated_swin": "swin_tiny_patch4_window7_224",
    "inflated_swinv2": "swinv2_tiny_window8_256",
    "inflated_aimv2": "aimv2_large_patch14_224",
    "inflated_sam": "samvit_base_patch16",
    "inflated_hiera": "hiera_tiny_224",
}
_MOST_LEVELS = 4  # that features_only gives unless out_indices says otherwise

Fields = BackboneConfig | Mapping[str, Any]


def _build(
    kind: str,
    pretrained: bool = False,
    *,
    pretrained_cfg: Any = None,
    cache_dir: str | Path | None = None,
    config: Fields | None = None,
    arch: str | None = None,
    **kwargs: Any,
) -> nn.Module:
    """What an entry point does.

    Args:
        kind: Its name, a `model_type`.
        pretrained: Whether to load the weights that `pretrained_cfg` names.
        pretrained_cfg: As timm hands it over.
        cache_dir: Of the Hub, as timm hands it over.
        config: The network, or its fields as config.json has them.
        arch: timm's name of a 2D network to inflate; weights are not loaded.
        kwargs: What `_network` and timm's builder take.

    Raises:
        UsageError: An argument does not fit the network.
        ConfigError: The config is malformed, or is that of another network.
        AccountingError: Tensors of the file are missing, left over or of another shape.
    """
    told: Mapping[str, Any] = pretrained_cfg if isinstance(pretrained_cfg, Mapping) else {}
    stored = _stated(kind, config, told, cache_dir) or _inflated(kind, arch)
    if stored.kind() != kind:
        raise ConfigError(
            f"'{kind}' is not the network that is described, '{stored.kind()}'",
            hint=f'timm.create_model("{stored.kind()}", ...)',
        )
    stored = _with_channels(stored, kwargs.get("in_chans"), pretrained=pretrained)
    if pretrained_cfg is None:
        told = {**library_keys(stored)["pretrained_cfg"], "architecture": kind, "num_classes": 0}
    levels = min(_MOST_LEVELS, len(stored.levels))
    model = build_model_with_cfg(
        partial(_network, stored),
        kind,
        pretrained,
        # No stem for timm to adapt: older releases would take ours for one of 3 channels.
        pretrained_cfg={**told, "first_conv": ()} if told else pretrained_cfg,
        pretrained_filter_fn=partial(_fitted, stored),
        cache_dir=cache_dir,
        feature_cfg={"out_indices": levels, "feature_cls": "getter"},
        **kwargs,
    )
    model.pretrained_cfg["first_conv"] = stored.stem.removesuffix(".weight")
    return model  # type: ignore[no-any-return]


def _stated(
    kind: str, config: Fields | None, cfg: Mapping[str, Any], cache_dir: str | Path | None
) -> BackboneConfig | None:
    """The network that the caller or the files describe; `None` where neither does."""
    if isinstance(config, BackboneConfig):
        return config
    if config is not None:
        return parse_config(config, kind, CONFIGS[kind])
    source = cfg.get("source")
    if source == "local-dir":
        return read_backbone_config(Path(cfg["file"]), cfg["file"])
    if source == "hf-hub":
        from huggingface_hub import hf_hub_download

        repo, _, revision = cfg["hf_hub_id"].partition("@")
        path = hf_hub_download(repo, CONFIG, revision=revision or None, cache_dir=cache_dir)
        return read_backbone_config(Path(path).parent, repo)
    return None


def _inflated(kind: str, arch: str | None) -> BackboneConfig:
    """What a 2D network of timm's becomes in 3D, as `convert` does it by default.

    Raises:
        UsageError: No such network, or it is not converted.
    """
    arch = arch or _USUAL.get(kind)
    if arch is None:
        raise UsageError(
            f"'{kind}' has no usual size", hint="say what to build, with config= or arch="
        )
    if not timm.is_model(arch):
        raise UsageError(
            f"timm has no model '{arch}'", hint="timm.list_models() names those there are"
        )

    def refused(error: Exception) -> UsageError:
        return UsageError(
            f"timm does not build '{arch}': {reason_of(error)}", hint="choose another arch="
        )

    with parsing(refused), torch.device("meta"):
        flat = timm.create_model(arch, pretrained=False).state_dict()
    header = {name: TensorInfo("F32", tuple(tensor.shape)) for name, tensor in flat.items()}
    understood = understand(header, None, None, arch)
    recipe, _ = make_recipe(Options(), understood, None, None)
    return backbone_config(understood.plan, recipe)


def _with_channels(
    config: BackboneConfig, asked: int | None, *, pretrained: bool
) -> BackboneConfig:
    """The network for other channels, if it has no weights yet.

    Raises:
        UsageError: It has, or it is no number of channels.
    """
    if asked in (None, config.in_channels):
        return config
    if pretrained:
        raise UsageError(
            f"in_chans={asked}, but the weights were converted for {config.in_channels} channel(s)",
            hint=f"convert the source again with --channels {asked}",
        )
    try:
        return type(config)(**{**config.model_dump(), "in_channels": asked})
    except ValidationError as error:
        raise UsageError(
            f"in_chans={asked!r} does not fit: {'; '.join(map(message_of, error.errors()))}",
            hint="give a number of channels",
        ) from error


def _network(
    stored: BackboneConfig,
    *,
    volume: tuple[int, int, int] | None = None,
    img_size: int | tuple[int, int] | None = None,
    num_classes: int = 0,
    global_pool: str | None = None,
    drop_path_rate: float = 0.0,
    drop_rate: float = 0.0,
    dynamic_img_size: bool = False,
    in_chans: int | None = None,  # noqa: ARG001 - timm always says it; the config has it by now
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    **unknown: Any,
) -> Backbone:
    """A network as timm builds its own, with random weights.

    Raises:
        UsageError: An argument is not known, or does not fit.
    """
    if drop_rate:
        unknown["drop_rate"] = drop_rate
    if unknown:
        raise UsageError(
            f"networks of ours take no {', '.join(sorted(unknown))}",
            hint="see help(inflate_zoo.timm) for what they take",
        )
    if img_size is not None:
        if volume is not None:
            raise UsageError(
                "volume and img_size are both given", hint="volume= says depth, height and width"
            )
        plane = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        if len(plane) != 2:
            raise UsageError(
                f"img_size {img_size} is no height and width",
                hint="volume= says depth, height and width",
            )
        volume = (stored.volume[0], *plane)
    config = stored.with_volume(volume) if dynamic_img_size else stored.for_volume(volume)
    with torch.device(device or "cpu"):
        network = Backbone(config)  # type: ignore[abstract]  # becomes its kind
    network = network.to(torch_dtype(dtype))
    network.reset_classifier(num_classes, global_pool)
    network.set_drop_path(drop_path_rate)
    network.dynamic_img_size = dynamic_img_size
    network.in_chans = network.config.in_channels  # type: ignore[assignment]
    network._model_args = {}
    return network


def _fitted(
    stored: BackboneConfig, tensors: Mapping[str, Tensor], model: Backbone
) -> dict[str, Tensor]:
    """Tensors of a file for a model: tables of one of ours are resized, as `load` does.

    Args:
        stored: What the file's config says.
        tensors: Of a file of ours, or of a checkpoint that timm saved of such a model.
        model: What they are for.

    Raises:
        AccountingError: They are missing, left over or of another shape.
    """
    head = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{HEAD}.")}
    found = {name: tensor for name, tensor in tensors.items() if name not in head}
    # A file's own first: a grid of as many places has tables of the same shape.
    if stored.shapes() != _shapes(found) == _shapes(model.state_dict()):
        return dict(tensors)
    require_shapes(_shapes(found), stored.shapes())
    kind = model.get_parameter(stored.stem).dtype
    typed = {name: tensor.to(kind) for name, tensor in found.items()}
    fitted = stored.fit(typed, model.config)
    model.file = file_tables(stored, typed, fitted)
    return {**fitted, **head}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name to shape, without a classifier."""
    return {n: tuple(t.shape) for n, t in tensors.items() if not n.startswith(f"{HEAD}.")}


def _entry_point(kind: str) -> Callable[..., nn.Module]:
    def entry_point(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _build(kind, pretrained, **kwargs)

    entry_point.__name__ = entry_point.__qualname__ = kind
    entry_point.__doc__ = f"The network that config.json calls '{kind}'; see the module."
    return entry_point


def _default_cfg(kind: str) -> dict[str, Any]:
    """What timm tells of an entry point before anything is built."""
    usual = timm.get_pretrained_cfg_value(_USUAL[kind], "input_size") if kind in _USUAL else None
    plane = usual[1:] if usual else (224, 224)
    known = {"first_conv": CONFIGS[kind].stem.removesuffix(".weight"), "classifier": HEAD}
    return {**known, "input_size": (1, *plane), "mean": (0.0,), "std": (1.0,), "num_classes": 0}


default_cfgs = generate_default_cfgs({kind: _default_cfg(kind) for kind in CONFIGS})


def register(kind: str) -> None:
    """Tell timm of the networks of one `model_type`.

    Args:
        kind: A name in `CONFIGS`.
    """
    default_cfgs.setdefault(kind, generate_default_cfgs({kind: _default_cfg(kind)})[kind])
    globals()[kind] = register_model(_entry_point(kind))


for _kind in CONFIGS:
    register(_kind)
