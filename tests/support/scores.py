"""Masks and their scores."""

import numpy as np
from scipy import ndimage

from inflate_zoo.bench.scoring.metrics import case_scores

SURFACES = ["surface_dice_1mm", "surface_dice_2mm", "surface_dice_3mm", "surface_dice_5mm"]
KEYS = {
    "dice",
    "surface_dice",
    *SURFACES,
    "surface_dice_7mm",
    "hd95_mm",
    "volume_mm3",
    "reference_volume_mm3",
    "intersection",
    "prediction_voxels",
    "reference_voxels",
}


SPACING = (2.7, 0.83, 1.31)


def blobs(seed, shape=(13, 18, 22), share=0.3):
    """Two alike smooth random masks; many touch the array's edge."""
    rng = np.random.default_rng(seed)
    common = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    fields = [common + 0.5 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5) for _ in "ab"]
    return [(field > np.quantile(field, 1 - share)).astype(np.uint8) for field in fields]


def score(prediction, reference, spacing=SPACING, tolerance=1.5):
    return case_scores(prediction, reference, spacing, {"organ": (1,)}, tolerance)["organ"]
