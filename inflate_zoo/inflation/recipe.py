"""What determines a conversion, given its source: the options, checked and completed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inflate_zoo.errors import UnknownNameError, UsageError
from inflate_zoo.files.dtypes import DTYPES
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.naming.configs import normalization
from inflate_zoo.naming.configs.normalization import Feeding, Preprocessor
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.naming.understanding import Understood, find_feeding
from inflate_zoo.networks.base import BackboneConfig, Depth, Form2D, Windows
from inflate_zoo.networks.layers.grids import MOST_WINDOW

if TYPE_CHECKING:
    from inflate_zoo.naming.plan import Plan


MOST_PATCH_DEPTH, _LARGEST_CHANNELS = 1024, 1024
_FARTHEST_PATCH = 4
_SCHEME = "center"


@dataclass(frozen=True, slots=True)
class Options:
    """How a user wants a source converted; the fields are those of `convert`, `None` if not given.

    `normalization` is what the user states of it, `mean` and `std` in one.
    """

    scheme: str | None = None
    patch_depth: int | None = None
    volume: tuple[int, int, int] | None = None
    channels: int | None = None
    fold_normalization: bool = False
    dtype: str | None = None
    normalization: Normalization | None = None
    depth_window: int | None = None
    merge_depth: bool = False
    patch_size: tuple[int, int] | None = None


def checked_options(
    scheme: str | None,
    patch_depth: int | None,
    volume: Sequence[int] | None,
    channels: int | None,
    dtype: str | None,
    *,
    fold_normalization: bool,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    depth_window: int | None = None,
    merge_depth: bool = False,
    patch_size: Sequence[int] | None = None,
) -> Options:
    """Check what can be checked before the source is touched.

    Raises:
        UnknownNameError: No such scheme or type.
        UsageError: A number is out of range, or has no use.
    """
    if scheme is not None and scheme not in SCHEMES:
        raise UnknownNameError("scheme", scheme, SCHEMES)
    if dtype is not None and dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    if patch_depth is not None and not 1 <= patch_depth <= MOST_PATCH_DEPTH:
        raise UsageError(
            f"patch depth {patch_depth} is not in 1 to {MOST_PATCH_DEPTH}",
            hint="give the depth of a patch in voxels, e.g. --patch-depth 16",
        )
    if patch_size is not None and (len(patch_size) != 2 or min(patch_size) < 1):
        raise UsageError(
            f"patch size {','.join(map(str, patch_size))} is not two positive numbers",
            hint="give height and width in pixels, e.g. --patch-size 16,16",
        )
    if depth_window is not None and not 1 <= depth_window <= MOST_WINDOW:
        raise UsageError(
            f"depth window {depth_window} is not in 1 to {MOST_WINDOW}",
            hint="give the depth of windows in tokens, e.g. --depth-window 7",
        )
    if channels is not None and not 1 <= channels <= _LARGEST_CHANNELS:
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
    given = normalization.given(mean, std)
    if given is not None and not fold_normalization:
        raise UsageError(
            "--mean and --std have no use where no normalisation is folded",
            hint="add --fold-normalization, or leave them out",
        )
    recipe = (scheme, patch_depth, size, channels, fold_normalization, dtype, given)
    patch = None if patch_size is None else (patch_size[0], patch_size[1])
    return Options(*recipe, depth_window, merge_depth, patch)


def make_recipe(
    options: Options,
    understood: Understood,
    config: Mapping[str, Any] | None,
    preprocessor: Preprocessor | None,
) -> tuple[Recipe, Feeding | None]:
    """Complete the options with what the source says.

    Returns:
        The recipe, and how the original is fed where that is folded.

    Raises:
        UsageError: The patch cannot be taken, or does not divide the volume, the normalisation has
            values for another number of channels, or a source that is 3D already is to be inflated.
        ConfigError: The source states a normalisation that is malformed.
    """
    own = understood.plan.architecture.own_depth
    if own is not None:
        _refuse_inflation(options)
    form = form_with_patch(understood.plan, options.patch_size)
    scheme = (options.scheme or _SCHEME) if own is None else None
    channels = (options.channels or 1) if own is None else form.in_channels
    depth = own or _gained_depth(options, form)
    volume = _volume(options.volume, depth, form)
    fed = _folded(options, understood, config, preprocessor) if options.fold_normalization else None
    folded = normalization.for_channels(fed.normalization, form.in_channels) if fed else None
    made = (scheme, depth.patch, volume, channels, folded, options.dtype)
    resized = form is not understood.plan.architecture
    return Recipe(*made, depth.windows, form.patch_size if resized else None), fed


def form_with_patch(plan: Plan, patch: tuple[int, int] | None) -> Form2D:
    """The 2D architecture of a source with the patch that is asked for.

    Args:
        plan: The source.
        patch: Height and width in pixels; `None` is its own.

    Raises:
        UsageError: The stem is none that takes another, or the patch is far from its own.
    """
    form, network = plan.architecture, plan.family.network
    own = "x".join(map(str, form.patch_size))
    if patch in (None, form.patch_size):
        return form
    why = form.patch_fixed
    if not why and all(kept.role != "stem_kernel" for kept in plan.kept):
        why = "its stem is no kernel in the file"
    if why:
        raise UsageError(
            f"the patch of network '{network}' stays {own}: {why}", hint="leave out the patch size"
        )
    most, pairs = _FARTHEST_PATCH, zip(form.patch_size, patch, strict=True)
    if any(max(old, new) > most * min(old, new) for old, new in pairs):
        raise UsageError(
            f"patch size {patch[0]}x{patch[1]} is far from the source's {own}: a side may become "
            f"at most {most} times as long or as short",
            hint="give height and width that are nearer to it",
        )
    return form.with_patch(patch)


def _volume(asked: tuple[int, int, int] | None, depth: Depth, form: Form2D) -> tuple[int, int, int]:
    """The default volume.

    Raises:
        UsageError: Tokens do not divide it.
    """
    grid, step = form.native_grid, form.stride
    deep = depth.patch * _merged(depth.windows, form)
    volume = asked or (depth.volume, grid[0] * step[0], grid[1] * step[1])
    for extent, size, axis in zip(volume, (deep, *step), ("depth", "height", "width"), strict=True):
        if extent % size:
            near = max(size, round(extent / size) * size)
            other = ", or choose another --patch-depth" if form.own_depth is None else ""
            raise UsageError(
                f"volume {axis} {extent} is not divisible by the patch's {size}",
                hint=f"nearest: {near}; or pad the volumes{other}",
            )
    return volume


def _merged(windows: Windows | None, form: Form2D) -> int:
    """Depth tokens of the stem that are one in the end."""
    merges = windows is not None and windows.merge_depth
    return form.stride[0] // form.patch_size[0] if merges else 1


def _gained_depth(options: Options, form: Form2D) -> Depth:
    """What a 2D network gains along depth: by default patches as deep as they are high."""
    patch, windows = options.patch_depth or form.patch_size[0], _windows(options, form)
    return Depth(patch, patch * _merged(windows, form), windows)


def _refuse_inflation(options: Options) -> None:
    """Refuse what says how to inflate, of a source that is 3D already.

    Raises:
        UsageError: Some of it is given.
    """
    given = {
        "--scheme": options.scheme,
        "--channels": options.channels,
        "--patch-depth": options.patch_depth,
        "--patch-size": options.patch_size,
        "--depth-window": options.depth_window,
        "--merge-depth": options.merge_depth or None,
    }
    named = [name for name, value in given.items() if value is not None]
    if named:
        names = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
        raise UsageError(
            f"the source is 3D already and is taken as it is: nothing is inflated, {names} "
            f"{'has' if len(named) == 1 else 'have'} no use",
            hint=f"leave out {names}",
        )


def _windows(options: Options, form: Form2D) -> Windows | None:
    """Windows over depth, as deep as they are high by default.

    Raises:
        UsageError: Some are asked for of a network that has none.
    """
    useless = {"--depth-window": options.depth_window is not None and form.window is None}
    useless |= {"--merge-depth": options.merge_depth and not form.merges}
    if any(useless.values()):
        lacks = "merges" if form.window is not None else "has no windows and merges"
        names = " and ".join(name for name, there in useless.items() if there)
        raise UsageError(
            f"the network {lacks} no tokens: {names} has no use for it",
            hint=f"leave out {names}",
        )
    if form.window is None:
        return None
    return Windows(options.depth_window or form.window, options.merge_depth)


def _folded(
    options: Options,
    understood: Understood,
    config: Mapping[str, Any] | None,
    preprocessor: Preprocessor | None,
) -> Feeding:
    if options.normalization is not None:
        return Feeding(options.normalization, "given", "--mean and --std")
    fed = find_feeding(understood, config, preprocessor)
    if fed.basis == "guessed":
        mean, std = list(fed.normalization.mean), list(fed.normalization.std)
        warnings.warn(
            f"the source states no normalisation; folded a guess, the {fed.origin}: mean "
            f"{mean}, std {std}. State what you know with --mean and --std",
            stacklevel=5,
        )
    return fed


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines a conversion, given its source.

    Attributes:
        scheme: A name in `SCHEMES`; `None` of a source that is 3D already, which is not inflated.
        patch_depth: Depth of the 3D stem kernel, in voxels.
        volume: Default volume (depth, height, width) in voxels; recorded only.
        channels: Input channels of the 3D network.
        normalization: Input normalisation folded into the stem, or `None`.
        dtype: Type of every tensor (`float32`, `float16`, `bfloat16`); `None` keeps the type of
            copied tensors and writes computed ones, the stem and its bias, in float32.
        windows: Windows over depth; `None` where the network has none.
        patch_size: In-plane patch (height, width) that the stem is resized to; `None` for its own.
    """

    scheme: str | None
    patch_depth: int
    volume: tuple[int, int, int]
    channels: int = 1
    normalization: Normalization | None = None
    dtype: str | None = None
    windows: Windows | None = None
    patch_size: tuple[int, int] | None = None


def backbone_config(plan: Plan, recipe: Recipe) -> BackboneConfig:
    """The 3D architecture that a plan and a recipe give."""
    config = form_with_patch(plan, recipe.patch_size).inflated(
        channels=recipe.channels,
        patch_depth=recipe.patch_depth,
        volume=recipe.volume,
        stem_bias=recipe.normalization is not None,
    )
    return config if recipe.windows is None else config.with_windows(recipe.windows)
