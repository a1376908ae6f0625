"""How windows are changed: turned, magnified, flipped, and their intensities."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Affine

from inflate_zoo.bench.data.resampling import crop
from inflate_zoo.bench.training.augmentation import Turn, draw_turn, warped
from inflate_zoo.bench.training.sampling import draw, place
from tests.support.trials import one_thread
from tests.support.windows import ALL, case_of, changed, random_case, rule, seeds


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


def test_zoom_may_be_uniform():
    law = changed(turn=1.0, zoom=(0.5, 2.0), zoom_law="uniform")
    drawn = [draw_turn(law, np.random.default_rng(s)).zoom for s in range(2000)]
    assert np.mean(np.array(drawn) > 1.25) == pytest.approx(0.5, abs=0.04)
    assert all(draw_turn(law, np.random.default_rng(s)).depth_zoom == 1 for s in range(9))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("depth_zoom", [1.0, 0.7, 1.7])  # without ties between voxels
@pytest.mark.parametrize("repeat", [False, True])
def test_turns_are_those_of_monai(seed, depth_zoom, repeat):
    random = np.random.default_rng(seed)
    image = random.random((2, 12, 30, 26)).astype(np.float16)
    label = random.integers(0, 4, (1, 12, 30, 26), np.uint8)
    turn = Turn(random.uniform(-0.6, 0.6), random.uniform(0.6, 1.6), depth_zoom)
    corner, size = (-2, -3, 5), (9 + seed % 2, 17, 14)
    beyond = 10  # more than a turned window reaches out of a plain one
    start = (corner[0], *(at - beyond for at in corner[1:]))
    large = (size[0], *(extent + 2 * beyond for extent in size[1:]))
    for volume, mode in ((image, "bilinear"), (label, "nearest")):
        affine = Affine(
            rotate_params=(turn.angle, 0.0, 0.0),
            scale_params=(1 / turn.depth_zoom, 1 / turn.zoom, 1 / turn.zoom),
            spatial_size=size,
            mode=mode,
            padding_mode="zeros",
            image_only=True,
        )
        wanted = affine(crop(volume, start, large, repeat=repeat).astype(np.float32))
        got = warped(volume, corner, size, turn, repeat=repeat)
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def disc(radius, shape=(3, 41, 41)):
    y, x = np.ogrid[: shape[1], : shape[2]]
    inside = (y - shape[1] // 2) ** 2 + (x - shape[2] // 2) ** 2 <= radius**2
    return np.broadcast_to(inside, shape)


@pytest.mark.parametrize("zoom", [0.5, 0.8, 1.25, 2.0])
def test_zoom_magnifies(zoom):
    window = draw(case_of(disc(9)), rule((3, 41, 41), 0, changed(turn=1, zoom=(zoom, zoom))), 0)
    for plane in window.label:
        assert plane.sum() == pytest.approx(np.pi * (9 * zoom) ** 2, rel=0.1)
    assert window.image.sum() == pytest.approx(3 * np.pi * (9 * zoom) ** 2, rel=0.1)


def test_shrinking_is_as_likely_as_magnifying():
    drawn = rule((3, 41, 41), 0, changed(turn=1, zoom=(0.5, 2.0)))
    areas = [draw(case_of(disc(9)), drawn, seed).label[1].sum() for seed in seeds(150)]
    assert np.mean(np.array(areas) > np.pi * 81) == pytest.approx(0.5, abs=0.12)
    assert min(areas) < 0.4 * np.pi * 81
    assert max(areas) > 2.5 * np.pi * 81


def test_turning_is_within_the_plane_and_its_greatest_angle():
    label = np.zeros((3, 41, 41))
    label[:, 18:23, 2:39] = 1  # a bar along the width
    angles = []
    for seed in seeds(60):
        found = draw(case_of(label), rule((3, 41, 41), 0, changed(turn=1, degrees=20)), seed)
        assert torch.equal(found.label[0], found.label[2])
        y, x = np.nonzero(found.label[1].numpy())
        (_, xy), (_, yy) = np.cov(x, y)
        angles.append(np.degrees(0.5 * np.arctan2(2 * xy, np.cov(x, y)[0, 0] - yy)))
    assert 15 < max(angles) < 21.5
    assert -21.5 < min(angles) < -15


def test_slices_do_not_mix():
    case, size = random_case(), (5, 12, 12)
    other = case.image.copy()
    other[:, 3] = np.random.default_rng(9).random(other[:, 3].shape)
    twin = dataclasses.replace(case, image=other)
    drawn = rule(size, 0, changed(turn=1, degrees=30, zoom=(0.7, 1.5)))
    for seed in seeds(10):
        first, second = (draw(c, drawn, seed).image for c in (case, twin))
        start = place(case, drawn, np.random.default_rng(seed))[0]
        differs = (first - second).abs().amax(dim=(0, 2, 3)) > 1e-3
        assert differs.tolist() == [start + at == 3 for at in range(5)]


def test_the_label_follows_the_image():
    coarse = np.random.default_rng(1).integers(0, 2, (9, 6, 6))
    label = coarse.repeat(6, axis=1).repeat(6, axis=2)
    drawn = rule((5, 20, 22), 0.5, changed(flip=0.5, turn=0.8, degrees=40, zoom=(0.7, 1.4)))
    for seed in seeds(30):
        window = draw(case_of(label), drawn, seed)
        agree = (window.image[0].round().long() == window.label).float().mean()
        assert agree > 0.97
        clear = (window.image[0] < 0.05) | (window.image[0] > 0.95)
        assert (window.image[0].round().long() == window.label)[clear].all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_is_flipped_half_of_the_time(axis):
    shape = (4, 5, 6)
    ramp = np.broadcast_to(
        np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)]), shape
    )
    case = case_of(ramp, ramp[None] / 10)
    flips = []
    for seed in seeds(400):
        window = draw(case, rule(shape, 0, changed(flip=0.5)), seed)
        line = window.label.movedim(axis, 0)[:, 0, 0]
        flips.append(bool(line[0] > line[-1]))
        torch.testing.assert_close(window.image[0] * 10, window.label.float(), atol=1e-2, rtol=0)
    assert np.mean(flips) == pytest.approx(0.5, abs=0.08)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_changed_windows_stay_intensities_and_labels(seed):
    window = draw(random_case(), rule((5, 16, 12), 0.5, ALL), seed)
    assert window.image.shape == (2, 5, 16, 12)
    assert window.image.isfinite().all()
    assert 0 <= window.image.min() <= window.image.max() <= 1
    assert set(window.label.unique().tolist()) <= {0, 1, 2}
    again = draw(random_case(), rule((5, 16, 12), 0.5, ALL), seed)
    assert torch.equal(window.image, again.image)
    assert torch.equal(window.label, again.label)


@pytest.mark.parametrize("turn", [0, 1])
def test_a_single_slice_is_flipped_too(turn):
    drawn = rule((1, 8, 9), 0, changed(flip=1, turn=turn))
    for seed in seeds(4):
        plain = draw(random_case(), dataclasses.replace(drawn, augment=None), seed)
        window = draw(random_case(), drawn, seed)
        torch.testing.assert_close(window.image, plain.image.flip(2, 3), atol=1e-3, rtol=0)
        assert torch.equal(window.label, plain.label.flip(1, 2))


def test_intensities_change_as_said():
    case = random_case(channels=1)
    plain = draw(case, rule((7, 19, 23)), 0).image
    brighter = [
        draw(case, rule((7, 19, 23), 0, changed(intensity=1, brightness=0.2)), s).image
        for s in seeds(100)
    ]
    inner = (plain > 0.25) & (plain < 0.75)
    shifts = [(image - plain)[inner] for image in brighter]
    assert max(shift.std() for shift in shifts) < 1e-5
    assert max(shift.mean() for shift in shifts) == pytest.approx(0.2, abs=0.02)
    assert min(shift.mean() for shift in shifts) == pytest.approx(-0.2, abs=0.02)
    squared = draw(case, rule((7, 19, 23), 0, changed(intensity=1, gamma=(2, 2))), 0).image
    torch.testing.assert_close(squared, plain**2)
    noisy = [
        (draw(case, rule((7, 19, 23), 0, changed(intensity=1, noise=0.1)), s).image - plain)[inner]
        for s in seeds(40)
    ]
    spreads = torch.stack([noise.std() for noise in noisy])
    assert spreads.max() == pytest.approx(0.1, abs=0.02)
    assert spreads.min() < 0.02
    never = draw(
        case, rule((7, 19, 23), 0, ALL.model_copy(update={"intensity": 0, "turn": 0, "flip": 0})), 0
    )
    assert torch.equal(never.image, plain)
