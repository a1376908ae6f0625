"""Scores of one predicted segmentation against its reference, region by region."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray
from surface_distance.metrics import (
    compute_robust_hausdorff,
    compute_surface_dice_at_tolerance,
    compute_surface_distances,
)

from inflate_zoo.bench.definitions.scores import COUNTS, SURFACE_METRICS, Scores, dice

_SLACK = 1 + 1e-6  # spacings come as float32: five voxels of 0.6 mm must lie within 3 mm


def case_scores(
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    regions: Mapping[str, tuple[int, ...]],
    tolerance_mm: float,
) -> Scores:
    """Score one case in every region.

    A region that the reference lacks has no Dice, surface Dice or distance (None), whatever was
    predicted: arms are compared on cases where the region is there. A region that the prediction
    alone lacks has Dice and surface Dice 0 and no distance.

    Args:
        prediction: Classes, shape (depth, height, width), on the reference's grid.
        reference: Classes, the same shape.
        spacing_mm: Of the grid (depth, height, width).
        regions: Region to the classes it unites.
        tolerance_mm: Distance up to which surfaces count as the same in `surface_dice`.

    Returns:
        Region to: `dice`; `surface_dice` at the tolerance; `surface_dice_1mm`, `_2mm`, `_3mm`,
        `_5mm`, `_7mm`; `hd95_mm`, after DeepMind's surface-distance: of the distances from the
        points of one surface to the other, each point weighted by the area of its surface element,
        the 95th percentile, taken both ways, the greater (others take it over voxels, or over both
        ways together); `volume_mm3` and `reference_volume_mm3`; and in voxels
        `intersection`, `prediction_voxels` and `reference_voxels`.

    Raises:
        ValueError: The grids differ.
    """
    if prediction.shape != reference.shape or prediction.ndim != 3:
        raise ValueError(f"grids {prediction.shape} and {reference.shape} differ or are not 3D")
    tolerances = {"surface_dice": float(tolerance_mm), **SURFACE_METRICS}
    return {
        name: _region_scores(
            _members(prediction, classes), _members(reference, classes), spacing_mm, tolerances
        )
        for name, classes in regions.items()
    }


def _members(volume: NDArray[np.uint8], classes: Sequence[int]) -> NDArray[np.bool_]:
    table = np.zeros(256, dtype=bool)
    table[list(classes)] = True
    return table[volume]


def _region_scores(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    tolerances_mm: Mapping[str, float],
) -> dict[str, float | None]:
    both = int(np.count_nonzero(prediction & reference))
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    scores: dict[str, float | None] = {"dice": dice(both, predicted, true) if true else None}
    if predicted and true:
        scores |= _surface_scores(prediction, reference, spacing_mm, tolerances_mm)
    else:
        scores |= dict.fromkeys(tolerances_mm, 0.0 if true else None) | {"hd95_mm": None}
    voxel_mm3 = prod(map(float, spacing_mm))
    volumes = {"volume_mm3": predicted * voxel_mm3, "reference_volume_mm3": true * voxel_mm3}
    counts = dict(zip(COUNTS, (both, predicted, true), strict=True))
    return scores | volumes | counts


def _surface_scores(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    tolerances_mm: Mapping[str, float],
) -> dict[str, float | None]:
    """Surface Dice per tolerance and the 95th percentile of distances, of two masks not empty.

    What lies beyond the array counts as outside, so a mask has a surface along the border too.
    """
    with warnings.catch_warnings():
        # surface-distance 0.1 calls SciPy by names that SciPy 2 drops
        warnings.filterwarnings("ignore", "Please import", DeprecationWarning)
        distances = compute_surface_distances(reference, prediction, spacing_mm)
    surface: dict[str, float | None] = {
        name: float(compute_surface_dice_at_tolerance(distances, tolerance * _SLACK))
        for name, tolerance in tolerances_mm.items()
    }
    return surface | {"hd95_mm": float(compute_robust_hausdorff(distances, 95))}
