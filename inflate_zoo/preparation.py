"""From a source to a plan and a recipe: everything `convert`, `verify` and `inspect` share."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from inflate_zoo.catalog import naming_schemes
from inflate_zoo.claims import read_claims
from inflate_zoo.definitions import NamingScheme, Normalization
from inflate_zoo.detection import choose_scheme, known_by_wrapper, section_of
from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.inflate import DTYPES, Recipe
from inflate_zoo.naming import Header, Matching
from inflate_zoo.plan import Plan, make_plan
from inflate_zoo.references import describe_timm, timm_arguments
from inflate_zoo.schemes import SCHEMES
from inflate_zoo.towers import best_matching

_LARGEST_PATCH_DEPTH, _LARGEST_CHANNELS = 1024, 1024


@dataclass(frozen=True, slots=True)
class Options:
    """How a user wants a source converted; the fields are those of `convert`."""

    scheme: str = "center"
    patch_depth: int | None = None
    volume: tuple[int, int, int] | None = None
    channels: int = 1
    fold_normalization: bool = False
    dtype: str | None = None


def checked_options(
    scheme: str,
    patch_depth: int | None,
    volume: Sequence[int] | None,
    channels: int,
    dtype: str | None,
    *,
    fold_normalization: bool,
) -> Options:
    """Check what can be checked before the source is touched.

    Raises:
        UnknownNameError: No such scheme or type.
        UsageError: A number is out of range.
    """
    if scheme not in SCHEMES:
        raise UnknownNameError("scheme", scheme, SCHEMES)
    if dtype is not None and dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    if patch_depth is not None and not 1 <= patch_depth <= _LARGEST_PATCH_DEPTH:
        raise UsageError(
            f"patch depth {patch_depth} is not in 1 to {_LARGEST_PATCH_DEPTH}",
            hint="give the depth of a patch in voxels, e.g. --patch-depth 16",
        )
    if not 1 <= channels <= _LARGEST_CHANNELS:
        raise UsageError(
            f"channels {channels} is not in 1 to {_LARGEST_CHANNELS}",
            hint="give the number of input channels, e.g. --channels 1",
        )
    if volume is not None and (len(volume) != 3 or min(volume) < 1 or max(volume) > 1 << 20):
        raise UsageError(
            f"volume {','.join(map(str, volume))} is not three positive numbers",
            hint="give depth, height, width in voxels, e.g. --volume 96,224,224",
        )
    size = None if volume is None else (volume[0], volume[1], volume[2])
    return Options(scheme, patch_depth, size, channels, fold_normalization, dtype)


@dataclass(frozen=True, slots=True)
class Understood:
    """A source whose tensors are accounted for.

    Attributes:
        plan: The plan.
        raw: The config's part on the image tower; timm's own description for timm.
        arch: timm's architecture name; empty for others.
        arguments: Arguments of `timm.create_model`.
    """

    plan: Plan
    raw: Mapping[str, Any]
    arch: str
    arguments: Mapping[str, Any]


def understand(
    header: Header,
    config: Mapping[str, Any] | None,
    family: str | None,
    arch: str | None,
    weights: str | None = None,
) -> Understood:
    """Choose the naming scheme of a source and plan its conversion.

    Raises:
        UsageError: See `choose_scheme`, `best_matching` and `make_plan`.
    """
    scheme = choose_scheme(naming_schemes(), header, config, family=family, arch=arch)
    if scheme.library != "timm":
        if arch is not None:
            raise UsageError(
                f"--arch names a timm architecture; {scheme.name} has no use for it",
                hint="leave out --arch",
            )
        raw, section = section_of(scheme, config or {})
        plan = make_plan(scheme, header, raw, section, weights=weights)
        return Understood(plan, raw, "", {})
    name = arch or (config or {}).get("architecture")
    if not isinstance(name, str):
        raise ConfigError(
            "a timm checkpoint needs its architecture's name, which no config.json states",
            hint="name it, e.g. --arch vit_base_patch16_224",
        )
    base, arguments = timm_arguments(name, {} if arch else config or {})
    raw = describe_timm(base, arguments)
    if arch:
        matching = best_matching(scheme, header, weights, raw["embed_dim"])
        if changed := _finetuned(matching):
            arguments = {**arguments, **changed}
            raw = describe_timm(base, arguments)
    stated = base if arch else None
    plan = make_plan(scheme, header, raw, f"{base}: ", weights=weights, arch=stated)
    _warn_of_heads(plan, base)
    return Understood(plan, raw, base, arguments)


def _finetuned(matching: Matching) -> dict[str, Any]:
    """What fine-tuning changed of a bare architecture: MAE's norms the mean of the tokens."""
    pooled = "fc_norm.weight" in matching.kept and "norm.weight" not in matching.kept
    return {"global_pool": "avg", "fc_norm": True} if pooled else {}


def _warn_of_heads(plan: Plan, arch: str) -> None:
    """Warn where the files of this kind have another number of heads, which no tensor tells."""
    form = plan.architecture
    for scheme in known_by_wrapper(naming_schemes(), plan.prefix):
        with suppress(ConfigError):
            heads = read_claims(scheme, {}, "", form.embed_dim).values["num_heads"]
            if heads != form.num_heads:
                warnings.warn(
                    f"networks of {scheme.name} have {heads} heads at this width, {arch} has "
                    f"{form.num_heads}; if the file is one of them, leave out --arch",
                    stacklevel=5,
                )


def find_normalization(
    scheme: NamingScheme,
    config: Mapping[str, Any] | None,
    preprocessor: Mapping[str, Any] | None,
) -> tuple[Normalization, str]:
    """The source's input normalisation, and where it was found.

    Raises:
        ConfigError: The file that states it is malformed.
    """
    cfg = (config or {}).get("pretrained_cfg")
    stated = (
        (preprocessor, "image_mean", "image_std", "preprocessor_config.json"),
        (cfg, "mean", "std", "config.json: pretrained_cfg"),
        (config if scheme.library == "timm" else None, "mean", "std", "config.json"),
    )
    for where, mean, std, label in stated:
        if isinstance(where, Mapping) and mean in where and std in where:
            try:
                found = Normalization(mean=where[mean], std=where[std])
            except ValidationError as error:
                raise ConfigError(
                    f"{label}: {mean} and {std} must be three numbers each, std above 0",
                    hint="correct the file, or take it from the repo the weights came from",
                ) from error
            return found, label
    return scheme.normalization, f"default of {scheme.name}"


def make_recipe(
    options: Options,
    plan: Plan,
    config: Mapping[str, Any] | None,
    preprocessor: Mapping[str, Any] | None,
) -> tuple[Recipe, str | None]:
    """Complete the options with what the source says.

    Returns:
        The recipe, and where a folded normalisation was found.

    Raises:
        UsageError: The patch does not divide the volume, or the stem takes no RGB.
    """
    form = plan.architecture
    patch_depth = options.patch_depth or form.patch_size[0]
    grid, step = form.position_grid, form.patch_size
    volume = options.volume or (patch_depth, grid[0] * step[0], grid[1] * step[1])
    for extent, size, axis in zip(
        volume, (patch_depth, *step), ("depth", "height", "width"), strict=True
    ):
        if extent % size:
            near = max(size, round(extent / size) * size)
            raise UsageError(
                f"volume {axis} {extent} is not divisible by the patch's {size}",
                hint=f"nearest: {near}; or pad the volumes, or choose another --patch-depth",
            )
    folded, label = None, None
    if options.fold_normalization:
        folded, label = find_normalization(plan.scheme, config, preprocessor)
        if form.in_channels != len(folded.mean):
            raise UsageError(
                f"the stem has {form.in_channels} channels, the normalisation {len(folded.mean)}",
                hint="leave out --fold-normalization",
            )
        if label.startswith("default"):
            warnings.warn(
                f"the source states no normalisation; folded the {label}: mean "
                f"{list(folded.mean)}, std {list(folded.std)}",
                stacklevel=4,
            )
    recipe = Recipe(options.scheme, patch_depth, volume, options.channels, folded, options.dtype)
    return recipe, label
