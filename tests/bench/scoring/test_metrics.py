"""Scores of a case against MONAI's, and against plain arithmetic."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.bench.scoring.metrics import case_scores
from tests.support.scores import KEYS, SPACING, SURFACES, blobs, score

own_deprecation = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


def box(shape, *bounds):
    mask = np.zeros(shape, dtype=np.uint8)
    mask[tuple(slice(*each) for each in bounds)] = 1
    return mask


@own_deprecation
@pytest.mark.parametrize("seed", range(5))
def test_surface_dice_and_dice_are_monais(seed):
    # MONAI's surface Dice in sub-voxels is an implementation of its own; it wants a padded array
    from monai.metrics import compute_dice, compute_surface_dice

    prediction, reference = blobs(seed)
    got = score(prediction, reference, tolerance=1.7)
    a, b = (torch.from_numpy(np.pad(mask, 2))[None, None] for mask in (prediction, reference))
    for name, tolerance in {"surface_dice": 1.7, "surface_dice_3mm": 3.0}.items():
        monai = compute_surface_dice(
            a, b, [tolerance], include_background=True, spacing=SPACING, use_subvoxels=True
        )
        assert got[name] == pytest.approx(monai.item(), abs=1e-5)
        assert 0.1 < got[name] < 1
    dice = compute_dice(a.float(), b.float(), include_background=True).item()
    assert got["dice"] == pytest.approx(dice, abs=1e-6)


@own_deprecation
@pytest.mark.parametrize("seed", range(3))
def test_hd95_is_the_percentile_of_monais_distances(seed):
    from monai.metrics.utils import get_edge_surface_distance

    prediction, reference = blobs(seed)
    a, b = (torch.from_numpy(np.pad(mask, 2)).bool() for mask in (prediction, reference))
    edges, distances, areas = get_edge_surface_distance(
        a, b, spacing=SPACING, use_subvoxels=True, symmetric=True
    )
    ends = []
    for edge, distance, area in zip(edges, distances, areas, strict=True):
        order = np.argsort(distance.numpy(), kind="stable")
        share = np.cumsum(area[edge].double().numpy()[order])
        ends.append(distance.numpy()[order][np.searchsorted(share, 0.95 * share[-1])])
    assert score(prediction, reference)["hd95_mm"] == pytest.approx(max(ends), rel=1e-5)


@pytest.mark.parametrize("axis", range(3))
def test_a_shifted_plate_lies_its_shift_away(axis):
    shape, shift = (12, 14, 16), 2
    plate = [(3, 9), (4, 10), (5, 11)]
    moved = [(low + shift * (at == axis), high + shift * (at == axis)) for at, (low, high) in
             enumerate(plate)]  # fmt: skip
    distance = shift * SPACING[axis]
    inside = [(0, size) for size in shape]
    slab, other = list(inside), list(inside)
    slab[axis], other[axis] = plate[axis], moved[axis]
    got = score(box(shape, *slab), box(shape, *other), tolerance=distance)
    assert got["hd95_mm"] == pytest.approx(distance)
    assert got["surface_dice"] == pytest.approx(1.0)
    less = score(box(shape, *slab), box(shape, *other), tolerance=0.9 * distance)
    assert less["surface_dice"] < 0.8  # only the rims, which lie along the array's edge


@pytest.mark.parametrize(("inner", "outer"), [(9.0, 12.0), (6.0, 14.0)])
def test_concentric_spheres_are_their_radii_apart(inner, outer):
    spacing = np.array([1.5, 1.0, 0.75])
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (25, 37, 49)), indexing="ij"), -1)
    radius = np.linalg.norm((grid - [12, 18, 24]) * spacing, axis=-1)
    small, large = ((radius <= r).astype(np.uint8) for r in (inner, outer))
    got = score(small, large, tuple(spacing))
    assert got["hd95_mm"] == pytest.approx(outer - inner, abs=1.2)
    assert got["volume_mm3"] == pytest.approx(4 / 3 * math.pi * inner**3, rel=0.05)
    assert got["dice"] == pytest.approx(2 * inner**3 / (inner**3 + outer**3), rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_a_mask_at_the_edge_scores_as_in_a_larger_array(seed):
    masks = blobs(seed, share=0.5)
    assert all(mask[0].any() and mask[:, :, -1].any() for mask in masks)
    assert score(*masks) == score(*(np.pad(mask, 3) for mask in masks))


def test_spacing_belongs_to_the_axes_in_order():
    prediction, reference = blobs(4)
    turned = score(prediction.transpose(2, 0, 1), reference.transpose(2, 0, 1),
                   (SPACING[2], SPACING[0], SPACING[1]))  # fmt: skip
    assert turned == pytest.approx(score(prediction, reference))


def test_a_spacing_in_float32_keeps_whole_voxels_within_the_tolerance():
    spacing = (float(np.float32(0.6)),) * 3  # five voxels are 3.0000001 mm
    masks = box((16, 4, 4), (2, 8), (0, 4), (0, 4)), box((16, 4, 4), (7, 13), (0, 4), (0, 4))
    assert score(*masks, spacing)["surface_dice_3mm"] == 1.0


def test_a_perfect_prediction_scores_1():
    reference = blobs(3)[0]
    got = score(reference, reference)
    assert {got[name] for name in ("dice", "surface_dice", *SURFACES)} == {1.0}
    assert got["hd95_mm"] == 0.0


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_region_missing_in_the_reference_has_no_score(share):
    got = score(blobs(0, share=share)[0], np.zeros((13, 18, 22), dtype=np.uint8))
    assert {name for name, value in got.items() if value is None} == {
        "dice", "surface_dice", *SURFACES, "surface_dice_7mm", "hd95_mm"
    }  # fmt: skip
    assert got["reference_volume_mm3"] == 0


def test_a_region_missing_in_the_prediction_alone_scores_0():
    got = score(np.zeros((13, 18, 22), dtype=np.uint8), blobs(0)[0])
    assert {got[name] for name in ("dice", "surface_dice", *SURFACES)} == {0.0}
    assert got["hd95_mm"] is None


def test_regions_unite_classes_of_255_too():
    prediction, reference = np.zeros((2, 3, 4, 5), dtype=np.uint8)
    prediction[0] = 1
    prediction[1, 0] = 255
    reference[0] = [0, 1, 2, 255, 3]
    scores = case_scores(prediction, reference, (2.0, 3.0, 0.5),
                         {"one": (1,), "all": (1, 2, 255), "none": (9,)}, 1.0)  # fmt: skip
    assert scores["one"]["dice"] == pytest.approx(2 * 4 / (20 + 4))
    assert scores["all"]["dice"] == pytest.approx(2 * 12 / (25 + 12))
    assert scores["all"]["volume_mm3"] == 25 * 3.0
    assert scores["all"]["reference_volume_mm3"] == 12 * 3.0
    assert scores["none"]["dice"] is None


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.004, 0.1, 0.9, 1.0]), st.integers(1, 4))
def test_scores_are_plain_numbers_in_range(seed, share, size):
    rng = np.random.default_rng(seed)
    masks = (rng.random((2, size, 3, 5)) < share).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = score(*masks)
    assert set(got) == KEYS
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    for name in ("dice", "surface_dice", *SURFACES):
        assert got[name] is None or 0 <= got[name] <= 1
    assert (got["dice"] is None) == (not masks[1].any())


def test_grids_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ"):
        score(np.zeros((2, 3, 4), np.uint8), np.zeros((2, 4, 3), np.uint8))
