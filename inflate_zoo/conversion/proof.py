"""The proof: the 3D network reproduces the original; a 2D one here, one that is 3D in `volumes`.

A scheme's law is its weight per slice: what the 3D network makes of a volume one patch deep is what
the 2D one makes of the sum of its slices, each times its weight (bias aside). So on a stack of
equal slices every depth token equals the 2D network's, on the slice times the sum of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from inflate_zoo.conversion.feeders import Feeder, feeder_of
from inflate_zoo.conversion.measuring import (
    INSPECT,
    Build,
    Compared,
    error_to_original,
    for_network,
    random_values,
    rms,
)
from inflate_zoo.conversion.originals.original import original_of, tables_of
from inflate_zoo.conversion.originals.patched import original_with_patch
from inflate_zoo.conversion.originals.references import Reference
from inflate_zoo.conversion.record import Verification
from inflate_zoo.conversion.volumes import on_volumes
from inflate_zoo.errors import VerificationError, out_of_memory
from inflate_zoo.files.checkpoints import SafetensorsCheckpoint
from inflate_zoo.files.dtypes import torch_dtype
from inflate_zoo.files.foreign import parsing, reason_of
from inflate_zoo.inflation.recipe import Recipe, backbone_config, form_with_patch
from inflate_zoo.inflation.schemes import SCHEMES, Scheme
from inflate_zoo.inflation.tensors import compute, network_in_memory, outputs, stacked
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.base import Windows

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from inflate_zoo.files.checkpoints import Checkpoint
    from inflate_zoo.naming.configs.normalization import Feeding
    from inflate_zoo.naming.definition import Normalization
    from inflate_zoo.naming.plan import TensorPlan
    from inflate_zoo.naming.understanding import Understood

TOLERANCE = 1e-4
_MOST_TOKENS = 600


def _proof_grid(
    native: tuple[int, int], windows: Windows | None, merged: int
) -> tuple[int, int, int]:
    """Depth tokens and the in-plane grid: native where two depth tokens of it are few enough.

    Windows over depth are shifted and padded where there is one token more than they are deep: in
    the first stage, whose tokens `merged` times as many are as those of the last.
    """
    height, width = native
    deep = 0 if windows is None else -(-(windows.depth + 1) // merged)
    if deep and deep * height * width <= _MOST_TOKENS:
        return deep, height, width
    room = _MOST_TOKENS // 2
    if height * width > room:
        shrink = (room / (height * width)) ** 0.5
        height, width = max(1, int(height * shrink)), max(1, int(width * shrink))
    return (3 if 3 * height * width <= _MOST_TOKENS else 2), height, width


def prove(
    folder: Path,
    understood: Understood,
    checkpoint: Checkpoint,
    recipe: Recipe,
    fed: Feeding | None,
) -> Verification:
    """Compare the network in a written file with the original.

    Where a normalisation is folded, both see the same pixels: the network as intensities in
    [0, 1], the original through its library's own processor.

    Args:
        folder: Folder with the written `model.safetensors` and `config.json`.
        understood: The source, understood.
        checkpoint: The source's tensors.
        recipe: The recipe of the conversion.
        fed: How the original is fed; `None` where nothing is folded.

    Returns:
        What was measured; nothing is raised for values that are too far apart.

    Raises:
        VerificationError: The original cannot be run, or gives values of another shape.
        UsageError: What builds the original of a source that is 3D already is missing.
    """
    form = form_with_patch(understood.plan, recipe.patch_size)
    sliced = form.own_depth is None
    step = backbone_config(understood.plan, recipe).levels[-1].stride[0]
    grid = (
        _proof_grid(form.native_grid, recipe.windows, step // recipe.patch_depth)
        if sliced
        else (1, *form.native_grid)
    )
    original = _original(understood, checkpoint, recipe, grid[1:])
    feeder = None
    if fed is not None and recipe.normalization is not None:
        feeder = _feeder(fed, recipe.normalization, form.in_channels, original)
    compared = (
        _on_slices(understood, original, recipe, feeder, grid)
        if sliced
        else on_volumes(understood, original, recipe, feeder)
    )
    narrowed = recipe.dtype in ("float16", "bfloat16")

    def measure(build: Build) -> dict[str, float]:
        with torch.inference_mode():
            return compared.measure(build)

    def from_file(volume: tuple[int, int, int]) -> Backbone:
        return Backbone.from_pretrained(folder, volume=volume)

    def from_memory(volume: tuple[int, int, int]) -> Backbone:
        return network_in_memory(understood, checkpoint, recipe, volume)

    errors = measure(from_memory if narrowed else from_file)
    exact = _rounded_exactly(folder, understood, checkpoint, recipe) if narrowed else None
    tables = _tables_equal(folder, understood, checkpoint, recipe)
    worst = max(errors.values())
    return Verification(
        passed=bool(worst <= TOLERANCE) and tables and exact is not False,
        max_error_over_rms=worst,
        tolerance=TOLERANCE,
        errors=errors,
        reference=compared.original,
        grid=compared.grid,
        tables_equal=tables,
        rounding_error_over_rms=max(measure(from_file).values()) if narrowed else None,
        rounded_exactly=exact,
        normalization=fed.basis if fed else None,
        fed_by=feeder.built_by if feeder else None,
        replayed=feeder.replayed if feeder else None,
    )


def _on_slices(
    understood: Understood,
    original: Reference,
    recipe: Recipe,
    feeder: Feeder | None,
    grid: tuple[int, int, int],
) -> Compared:
    """The 3D network against its 2D original: stacks of equal slices, and a patch of any slices."""
    step = backbone_config(understood.plan, recipe).levels[-1].stride[0]
    strides = form_with_patch(understood.plan, recipe.patch_size).stride
    size = tuple(n * stride for n, stride in zip(grid[1:], strides, strict=True))
    volumes = [(n * step, size[0], size[1]) for n in (grid[0], 1)]

    def measure(build: Build) -> dict[str, float]:
        stack = _equal_slices(build(volumes[0]).eval(), original, recipe, understood, feeder)
        single = _any_volume(build(volumes[1]).eval(), original, recipe, understood, feeder)
        return {**stack, **single}

    return Compared(original.built_by, grid, measure)


def _feeder(
    fed: Feeding, normalization: Normalization, channels: int, original: Reference
) -> Feeder:
    """What feeds the original, up to its stem."""
    if not fed.conditioned:
        return feeder_of(fed, normalization, channels)
    own = original.conditioner
    if own is None:  # of our own form: mean and std are replayed
        return feeder_of(replace(fed, processor=None), normalization, channels)
    feeder = feeder_of(fed, normalization, channels)
    if feeder.built_by is None:
        return feeder
    return replace(feeder, images=lambda pixels: own(feeder.images(pixels)))


def _original(
    understood: Understood, checkpoint: Checkpoint, recipe: Recipe, grid: tuple[int, int]
) -> Reference:
    with _running(understood.plan.family.reference):
        if recipe.patch_size is None:
            return _guarded(original_of(understood, checkpoint, grid))
        return _guarded(original_with_patch(understood, checkpoint, recipe.patch_size, grid))


def _guarded(original: Reference) -> Reference:
    """An original of which whatever it raises is told as a proof that failed."""

    def guarded(call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def called(values: Tensor) -> Tensor:
            with _running(original.built_by):
                return call(values)

        return called

    return replace(
        original,
        tokens=guarded(original.tokens),
        pooled=original.pooled and guarded(original.pooled),
        conditioner=original.conditioner and guarded(original.conditioner),
    )


def _running(original: str) -> AbstractContextManager[None]:
    """Where a library's own network is built or run; what takes all memory is no word on it.

    Args:
        original: What it is called.

    Raises:
        VerificationError: With the reason that the library gives.
    """

    def refused(error: Exception) -> Exception:
        if out_of_memory(error):
            return error
        return VerificationError(
            f"the original, which the 3D network is proved with, cannot be run: {reason_of(error)}",
            details=[f"it is {original}"],
            hint=INSPECT,
        )

    return parsing(refused)


def _tables_equal(
    folder: Path, understood: Understood, checkpoint: Checkpoint, recipe: Recipe
) -> bool:
    """Whether the file's position tables are the original's, rounded where they are narrowed."""
    written = SafetensorsCheckpoint([folder / "model.safetensors"])
    kind = torch_dtype(recipe.dtype)
    return all(
        torch.equal(written.read(name).float(), table.to(kind).float())
        for name, table in tables_of(understood.plan, checkpoint).items()
    )


def _rounded_exactly(
    folder: Path, understood: Understood, checkpoint: Checkpoint, recipe: Recipe
) -> bool:
    def read(kept: TensorPlan) -> Tensor:
        return stacked(kept, [checkpoint.read(source) for source in kept.sources])

    dtype = torch_dtype(recipe.dtype)
    written = SafetensorsCheckpoint([folder / "model.safetensors"])
    made = outputs(understood.plan, recipe)
    return set(written.header) == {output.name for output in made} and all(
        torch.equal(compute(output, recipe, read).to(dtype), written.read(output.name))
        for output in made
    )


def _for_reference(
    slices: Tensor, weights: Sequence[float], channels: int, feeder: Feeder | None
) -> Tensor:
    """What the 2D original must see where the 3D network sees these slices.

    Args:
        slices: Shape (B, recipe.channels, D, H, W), as `_random` makes them.
        weights: Of each slice, D of them.
        channels: The original's input channels.
        feeder: Pixels to what the original takes, or `None` where nothing is folded.

    Returns:
        Shape (B, channels, H, W), float32.
    """
    # Feeding is affine, so its sum is taken after it: a processor takes whole pixels only.
    summed = torch.zeros(slices.shape[0], channels, *slices.shape[3:], dtype=torch.float64)
    for weight, picture in zip(weights, slices.unbind(dim=2), strict=True):
        if weight:
            own = picture.shape[1] == channels
            images = (picture,) if own else picture.unsqueeze(2).unbind(dim=1)
            for image in images:
                seen = image.expand(-1, channels, -1, -1)  # a grey one in every channel
                fed = (feeder.images(seen) if feeder else seen).double()
                summed += weight / len(images) * fed
    return summed.float()


def _law(recipe: Recipe) -> Scheme:
    if recipe.scheme is None:
        raise ValueError("what is 3D already has no law over slices")
    return SCHEMES[recipe.scheme]


def _equal_slices(
    network: Backbone,
    original: Reference,
    recipe: Recipe,
    understood: Understood,
    feeder: Feeder | None,
) -> dict[str, float]:
    form, prefix = understood.plan.architecture, network.num_prefix_tokens
    depth, height, width = network.config.volume
    image = random_values((2, recipe.channels, 1, height, width), recipe)
    whole = sum(_law(recipe).weights(recipe.patch_depth))
    expected = original.tokens(_for_reference(image, [whole], form.in_channels, feeder))
    volume = for_network(image, recipe).repeat(1, 1, depth, 1, 1)
    got = network.forward_features(volume)
    scale = rms(expected)
    layers = got[:, prefix:].reshape(got.shape[0], network.grid_size[0], -1, got.shape[-1])
    alike = expected[:, None, prefix:].expand(-1, layers.shape[1], -1, -1)
    errors = {"equal slices": error_to_original(layers, alike, scale)}
    if prefix:
        errors["equal slices, prefix"] = error_to_original(
            got[:, :prefix], expected[:, :prefix], scale
        )
    if original.pooled is not None:
        pooled = original.pooled(expected)
        scale = rms(pooled)
        errors["equal slices, pooled"] = error_to_original(network(volume), pooled, scale)
    return errors


def _any_volume(
    network: Backbone,
    original: Reference,
    recipe: Recipe,
    understood: Understood,
    feeder: Feeder | None,
) -> dict[str, float]:
    depth, *plane = network.config.volume
    volume = random_values((1, recipe.channels, recipe.patch_depth, *plane), recipe)
    scheme, channels = _law(recipe), understood.plan.architecture.in_channels
    weights = scheme.weights(recipe.patch_depth)
    expected = original.tokens(_for_reference(volume, weights, channels, feeder))
    # Where depth is merged, as many equal patches as a token takes in.
    repeated = for_network(volume, recipe).repeat(1, 1, depth // recipe.patch_depth, 1, 1)
    got = network.forward_features(repeated)
    scale = rms(expected)
    return {scheme.slice_name: error_to_original(got, expected, scale)}


def require_passed(verification: Verification) -> None:
    """Raise where a proof failed.

    Raises:
        VerificationError: With the errors by case.
    """
    if verification.passed:
        return
    details = [f"{case}: {found:.1e} of the RMS" for case, found in verification.errors.items()]
    if not verification.tables_equal:
        details.append("the position table in the file differs from the original's")
    if verification.rounded_exactly is False:
        details.append("the file does not hold the rounded tensors")
    fed = f", fed by {verification.fed_by}" if verification.fed_by else ""
    raise VerificationError(
        "the 3D network does not reproduce the 2D one: error "
        f"{verification.max_error_over_rms:.1e} of the RMS, tolerance {verification.tolerance:.0e}",
        details=[*details, f"compared with {verification.reference}{fed}"],
        hint=f"nothing was left behind; {INSPECT}",
    )
