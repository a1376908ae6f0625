"""The slice that a report shows of a case."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo.bench.data.cases import CachedCase
from inflate_zoo.bench.definitions.results import CaseScores
from inflate_zoo.bench.scoring.evaluation import score_case
from inflate_zoo.bench.scoring.slices import keep_overlays
from tests.support.scoring import TASK, case_of, own_deprecation, predictor
from tests.support.trials import one_thread


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


@own_deprecation
@pytest.mark.parametrize("depth", [9, 18, 4])
def test_the_image_of_an_overlay_lies_at_the_same_height(tmp_path, depth):
    case = case_of(0, original=(depth, 7, 13))
    ramp = np.broadcast_to(np.arange(9).reshape(1, 9, 1, 1) / 10, (2, 9, 7, 13))
    reference = np.zeros((depth, 7, 13), np.uint8)
    reference[depth * 2 // 3, 2:5, 3:6] = 1
    case = CachedCase(**{
        **{name: getattr(case, name) for name in CachedCase.__dataclass_fields__},
        "image": ramp.astype(np.float16), "reference": reference,
    })  # fmt: skip
    scored = score_case(predictor(), case, TASK, tmp_path, 0)
    assert scored.slice == depth * 2 // 3
    grey = load_file(tmp_path / "cases" / "0000.safetensors")["image"]
    height = (depth * 2 // 3 + 0.5) * 9 / depth - 0.5  # in slices of the image
    assert grey.min() == grey.max()
    assert abs(grey[0, 0].item() / 25.5 - height) <= 0.6


@own_deprecation
def test_the_pixels_of_an_overlay_are_square(tmp_path):
    case = case_of(0)
    case = CachedCase(**{
        **{name: getattr(case, name) for name in CachedCase.__dataclass_fields__},
        "spacing": (0.25, 2.0, 0.5),  # that of depth has no say
    })  # fmt: skip
    scored = score_case(predictor(), case, TASK, tmp_path, 0)
    overlay = load_file(tmp_path / "cases" / "0000.safetensors")
    wanted = np.repeat(case.reference[scored.slice], 4, axis=0)
    assert torch.equal(overlay["reference"], torch.from_numpy(wanted))
    assert overlay["image"].shape == overlay["prediction"].shape == wanted.shape


def test_overlays_of_large_slices_are_thinned(tmp_path):
    (tmp_path / "cases").mkdir()
    plane = (torch.arange(600)[:, None] * 3 + torch.arange(200)).to(torch.uint8)
    names = ("image", "reference", "prediction")
    save_file({name: plane.clone() for name in names}, tmp_path / "cases" / "0000.safetensors")
    keep_overlays(tmp_path, [CaseScores(case="a", regions={}, mean_dice=0.5, slice=0)])
    kept = load_file(tmp_path / "overlays.safetensors")["0000.reference"]
    assert torch.equal(kept, plane[::3, ::3])
