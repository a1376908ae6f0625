"""Windows over volumes of any size."""

import itertools
import weakref
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map

from inflate_zoo.bench.definitions.protocols import Evaluation
from inflate_zoo.bench.scoring import inference
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.errors import UsageError
from tests.support.scoring import WINDOW, predictor, volume
from tests.support.trials import one_thread


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


def starts(extent, window, overlap):
    step = max(1, int(window * (1 - overlap)))
    count = -(-(extent - window) // step) + 1
    return sorted({min(at * step, extent - window) for at in range(count)})


def plain(see, image):
    """Every window by itself, its logits added with Gaussian weights."""
    x = torch.from_numpy(image.astype(np.float32))[None]
    weight = compute_importance_map(WINDOW, mode="gaussian", sigma_scale=0.125)
    total, weights = torch.zeros(4, *x.shape[2:]), torch.zeros(x.shape[2:])
    overlap = see.settings.overlap
    places = [starts(e, w, overlap) for e, w in zip(x.shape[2:], WINDOW, strict=True)]
    for corner in itertools.product(*places):
        box = tuple(slice(at, at + size) for at, size in zip(corner, WINDOW, strict=True))
        with torch.no_grad():
            total[:, *box] += see.network(x[:, :, *box])[0] * weight
        weights[box] += weight
    return (total / weights).softmax(0)


def test_one_window_is_one_forward_pass():
    see, image = predictor(), volume(*WINDOW)
    see.network.train()
    see.network.backbone.set_drop_path(0.9)
    found = see.probabilities(image)
    assert not see.network.training
    with torch.no_grad():
        expected = see.network(torch.from_numpy(image).float()[None])[0].softmax(0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(0), torch.ones(WINDOW))


@pytest.mark.parametrize("shape", [(9, 7, 13), (6, 8, 6), (7, 4, 11)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_windows_are_blended_with_gaussian_weights(shape, overlap):
    image = volume(*shape)
    found = predictor(overlap).probabilities(image)
    torch.testing.assert_close(found, plain(predictor(overlap), image), rtol=1e-3, atol=1e-4)
    for batch in (1, 7):
        torch.testing.assert_close(predictor(overlap, batch).probabilities(image), found)


@pytest.mark.parametrize("shape", [(3, 4, 6), (5, 3, 4), (2, 9, 5)])
def test_a_smaller_volume_is_padded_with_zeros_on_both_sides(shape):
    see, image = predictor(), volume(*shape)
    found = see.probabilities(image)
    assert found.shape == (4, *shape)
    missing = [max(0, window - extent) for window, extent in zip(WINDOW, shape, strict=True)]
    before = [part // 2 for part in missing]
    padded = np.pad(image, [(0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True))])
    whole = plain(see, padded)
    expected = whole[:, *(slice(b, b + e) for b, e in zip(before, shape, strict=True))]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


class OfTheCentre(torch.nn.Module):
    """Logits of the centre slice that depend on all slices of the window, and on the place."""

    centre_slice = True

    def __init__(self, classes, depth):
        super().__init__()
        torch.manual_seed(3)
        self.mix = torch.nn.Conv3d(2, classes, (depth, 3, 3), padding=(0, 1, 1))

    def forward(self, x):
        assert x.shape[2:] == (self.mix.kernel_size[0], 8, 12)
        return self.mix(x)


@pytest.mark.parametrize("depth", [5, 3, 1])
@pytest.mark.parametrize("plane", [(8, 12), (7, 9), (5, 12)])
def test_every_slice_is_the_centre_of_one_window(depth, plane):
    network, image = OfTheCentre(3, depth), volume(6, *plane)
    found = []
    for batch in (1, 4, 20):
        settings, device = Evaluation(overlap=0.0, batch=batch), torch.device("cpu")
        see = SlidingWindowPredictor(network, (depth, 8, 12), settings, device, nullcontext)
        found.append(see.probabilities(image))
    edge = np.pad(image.astype(np.float32), [(0, 0), (depth // 2,) * 2, (0, 0), (0, 0)], "edge")
    missing = [own - extent for own, extent in zip((8, 12), plane, strict=True)]
    before = [-(-part // 2) for part in missing]
    full = np.pad(edge, [(0, 0)] * 2 + [(b, m - b) for b, m in zip(before, missing, strict=True)])
    with torch.no_grad():
        logits = torch.nn.functional.conv3d(
            torch.from_numpy(full)[None], network.mix.weight, network.mix.bias, padding=(0, 1, 1)
        )[0]
    inner = [slice(b, b + extent) for b, extent in zip(before, plane, strict=True)]
    for each in found:
        torch.testing.assert_close(each, logits[:, :, *inner].softmax(0))


@pytest.mark.parametrize(
    ("depth", "centre", "deep"), [(5, True, True), (4, True, False), (4, False, True)]
)
def test_depth_is_not_mirrored_where_the_centre_would_move(depth, centre, deep):
    settings, device = Evaluation(overlap=0.0, batch=4), torch.device("cpu")
    network = OfTheCentre(3, depth)
    network.centre_slice = centre
    see = SlidingWindowPredictor(network, (depth, 8, 12), settings, device, nullcontext)
    assert see.sees_depth_mirrored is deep


def test_logits_of_slices_are_in_single_precision_under_autocast():
    settings, device = Evaluation(overlap=0.0, batch=4), torch.device("cpu")
    autocast = partial(torch.autocast, "cpu", torch.bfloat16)
    see = SlidingWindowPredictor(OfTheCentre(3, 5), (5, 8, 12), settings, device, autocast)
    found = see.probabilities(volume(6, 8, 12))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=0), torch.ones(6, 8, 12))


@pytest.mark.parametrize("plane", [(9, 12), (8, 13), (20, 20)])
def test_a_slice_that_is_larger_than_its_window_is_refused(plane):
    settings, device = Evaluation(overlap=0.0, batch=4), torch.device("cpu")
    see = SlidingWindowPredictor(OfTheCentre(3, 5), (5, 8, 12), settings, device, nullcontext)
    told = f"slices of {plane[0]} x {plane[1]} pixels do not fit into windows of 8 x 12"
    with pytest.raises(UsageError, match=told):
        see.logits(volume(6, *plane))


@pytest.mark.parametrize("shape", [(9, 7, 13), (5, 9, 4)])
def test_probabilities_take_the_memory_of_the_logits_on_the_cpu(monkeypatch, shape):
    import monai.inferers

    real, made = monai.inferers.sliding_window_inference, []

    def kept(*arguments, **options):
        assert options["device"] == "cpu"
        made.append(real(*arguments, **options)[0])
        made.append(made[0].clone())
        return made[0][None]

    monkeypatch.setattr(monai.inferers, "sliding_window_inference", kept)
    monkeypatch.setattr(inference, "_SLAB", 64)
    found = predictor().probabilities(volume(*shape))
    logits, before = made
    assert torch.equal(found, before.softmax(0))
    whole = all(extent >= window for extent, window in zip(shape, WINDOW, strict=True))
    assert (found.data_ptr() == logits.data_ptr()) == whole  # else a part of what was padded


def of_the_driver(text):
    error = torch.AcceleratorError(text)
    error.error_code = 2
    return error


def crowded(see, room, calls_before=0, kind=torch.OutOfMemoryError):
    """Let a network fail for more than `room` windows, after some calls; list what it was given."""
    real, given, failed = see.network.forward, [], []

    def forward(windows):
        assert not any(reference() is not None for reference in failed), "memory is still held"
        given.append(len(windows))
        if len(windows) > room and len(given) > calls_before:
            failed.append(weakref.ref(windows))
            raise kind("tried to allocate 9 GiB")
        return real(windows)

    see.network.forward = forward
    return given


@pytest.mark.parametrize(
    "batch, room, calls_before, failing, then",
    [(8, 8, 0, [], 8), (8, 3, 0, [8, 4], 2), (5, 1, 0, [5, 2], 1), (8, 4, 2, [8, 8, 8], 4)],
)
def test_windows_that_do_not_fit_are_halved(batch, room, calls_before, failing, then):
    see, image = predictor(batch=batch), volume(9, 7, 13)
    given = crowded(see, room, calls_before)
    found = see.probabilities(image)
    assert given == failing + [then] * (2 * 3 * 4 // then)
    assert torch.equal(found, predictor(batch=then).probabilities(image))


@pytest.mark.parametrize("kind, left", [(of_the_driver, 3), (RuntimeError, None)])
def test_memory_that_ran_out_is_told_from_other_errors(kind, left):
    given = crowded(see := predictor(batch=6), 3, kind=kind)
    if left is None:
        with pytest.raises(RuntimeError, match="9 GiB"):
            see.probabilities(volume(9, 7, 13))
        assert given == [6]
    else:
        see.probabilities(volume(9, 7, 13))
        assert given[:2] == [6, left]


@pytest.mark.parametrize("batch, tried", [(1, [1]), (6, [6, 3, 1])])
def test_one_window_that_does_not_fit_is_an_error(batch, tried):
    see = predictor(batch=batch)
    given = crowded(see, 0)
    with pytest.raises(torch.OutOfMemoryError):
        see.probabilities(volume(9, 7, 13))
    assert given == tried
