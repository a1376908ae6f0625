"""The proof of a source that is 3D already: our network gives what the original makes of a volume.

Depths are such as windows divide, or one window covers: what pads others takes part in the
attention of the originals, and is masked in ours. In the plane the last stage is one window:
of a grid that is smaller the originals read other rows of their tables than those of its places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inflate_zoo.conversion.measuring import (
    Build,
    Compared,
    error_to_original,
    for_network,
    random_values,
    rms,
)

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.conversion.feeders import Feeder
    from inflate_zoo.conversion.originals.references import Reference
    from inflate_zoo.inflation.recipe import Recipe
    from inflate_zoo.naming.understanding import Understood
    from inflate_zoo.networks.backbone import Backbone
    from inflate_zoo.networks.base import Windows


def on_volumes(
    understood: Understood, original: Reference, recipe: Recipe, feeder: Feeder | None
) -> Compared:
    """Our network against the 3D original, on random volumes.

    Args:
        understood: The source, understood; its network is 3D.
        original: Its own library's network, at the plane it was trained on.
        recipe: The recipe of the conversion.
        feeder: Pixels to what the original takes, or `None` where nothing is folded.
    """
    form = understood.plan.architecture
    grid = form.native_grid
    height, width = (n * step for n, step in zip(grid, form.stride, strict=True))
    depths = depth_tokens(recipe.windows)

    def measure(build: Build) -> dict[str, float]:
        errors: dict[str, float] = {}
        for case, depth in depths.items():
            network = build((depth * recipe.patch_depth, height, width)).eval()
            errors |= _any_volume(case, network, original, recipe, feeder)
        return errors

    return Compared(original.built_by, (max(depths.values()), *grid), measure)


def depth_tokens(windows: Windows | None) -> dict[str, int]:
    """Tokens along depth of each case: two windows, shifted; less than one, clipped."""
    if windows is None:
        return {"any volume": 2}
    return {"any volume": 2 * windows.depth, "any volume, flat": max(1, windows.depth - 1)}


def _any_volume(
    case: str, network: Backbone, original: Reference, recipe: Recipe, feeder: Feeder | None
) -> dict[str, float]:
    values = random_values((1, recipe.channels, *network.config.volume), recipe)
    expected = original.tokens(_for_original(values, feeder))
    volume = for_network(values, recipe)
    errors = {case: error_to_original(network.forward_features(volume), expected, rms(expected))}
    if original.pooled is not None:
        pooled = original.pooled(expected)
        errors[f"{case}, pooled"] = error_to_original(network(volume), pooled, rms(pooled))
    return errors


def _for_original(values: Tensor, feeder: Feeder | None) -> Tensor:
    """What the original must see, shape (B, C, D, H, W): a processor feeds slice by slice."""
    if feeder is None:
        return values.float()
    slices = values.movedim(2, 1)
    fed = feeder.images(slices.flatten(0, 1))
    return fed.reshape(*slices.shape[:2], *fed.shape[1:]).movedim(1, 2)
