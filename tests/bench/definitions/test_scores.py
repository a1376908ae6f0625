"""Means of scores, and the Dice of all voxels together."""

import numpy as np
import pytest

from inflate_zoo.bench.definitions.scores import means, pooled
from tests.support.scores import KEYS, blobs, score


def test_pooled_dice_is_that_of_all_cases_as_one_volume():
    pairs = [blobs(seed, share=share) for seed, share in enumerate((0.1, 0.3, 0.5))]
    pairs.append([pairs[0][0], np.zeros_like(pairs[0][0])])  # a false alarm counts when pooled
    whole = score(*(np.concatenate(masks) for masks in zip(*pairs, strict=True)))["dice"]
    cases = [{"organ": score(*pair)} for pair in pairs]
    assert pooled(cases) == {"organ": {"dice": pytest.approx(whole)}}


def test_pooled_dice_of_nothing_at_all_is_none():
    nothing = np.zeros((3, 4, 5), dtype=np.uint8)
    assert pooled([{"organ": score(nothing, nothing)}] * 2) == {"organ": {"dice": None}}
    assert pooled([]) == {}


def test_pooled_dice_of_false_alarms_alone_is_0():
    prediction, reference = blobs(0)[0], np.zeros((13, 18, 22), dtype=np.uint8)
    assert pooled([{"organ": score(prediction, reference)}]) == {"organ": {"dice": 0.0}}


def test_means_leave_out_cases_without_a_value():
    full, empty = blobs(1), [blobs(1)[0], np.zeros((13, 18, 22), dtype=np.uint8)]
    cases = [{"organ": score(*pair)} for pair in (full, empty, blobs(2))]
    mean = means(cases)["organ"]
    assert set(mean) == KEYS - {"intersection", "prediction_voxels", "reference_voxels"}
    assert mean["dice"] == pytest.approx(
        (cases[0]["organ"]["dice"] + cases[2]["organ"]["dice"]) / 2
    )
    assert mean["volume_mm3"] == pytest.approx(np.mean([c["organ"]["volume_mm3"] for c in cases]))
    assert means([cases[1]])["organ"]["hd95_mm"] is None
