"""Scoring: windows over volumes of any size, and what is kept of every case."""

import itertools
import json
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from inflate_zoo.bench.data.cases import CachedCase, open_case
from inflate_zoo.bench.definitions.protocols import Evaluation
from inflate_zoo.bench.definitions.results import CaseScores
from inflate_zoo.bench.definitions.tasks import Intensity, Task, class_regions
from inflate_zoo.bench.scoring import evaluation, inference
from inflate_zoo.bench.scoring.evaluation import evaluate, score_case, validation_dice
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.bench.scoring.slices import keep_overlays
from inflate_zoo.errors import WriteError
from inflate_zoo.segmentation.segmenter import segmenter
from tests.segmentation.test_segmenter import backbone
from tests.support.trials import one_thread, tiny_run


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


WINDOW = (6, 4, 6)
TASK = Task(
    name="boxes", title="Boxes", modality="MRI", channels=("a", "b"),
    labels={"background": 0, "inner": 2, "rim": 7, "cyst": 9},
    regions={"inner": (2,), "all": (2, 7, 9), "cyst": (9,)},
    intensity=Intensity(rule="percentiles", low=0, high=100), spacing=(1, 1, 1),
)  # fmt: skip
own_deprecation = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


def predictor(overlap=0.5, batch=4, classes=4):
    torch.manual_seed(1)
    network = segmenter(backbone(), classes=classes, decoder="linear")
    torch.nn.init.normal_(network.decoder.head.weight)
    return SlidingWindowPredictor(
        network, WINDOW, Evaluation(overlap=overlap, batch=batch), torch.device("cpu"), nullcontext
    )


def volume(*shape, seed=0):
    return np.random.default_rng(seed).random((2, *shape)).astype(np.float16)


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


def crowded(see, room, calls_before=0):
    """Let a network fail for more than `room` windows, after some calls; list what it was given."""
    real, given, failed = see.network.forward, [], []

    def forward(windows):
        assert not any(reference() is not None for reference in failed), "memory is still held"
        given.append(len(windows))
        if len(windows) > room and len(given) > calls_before:
            failed.append(weakref.ref(windows))
            raise torch.OutOfMemoryError("tried to allocate 9 GiB")
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


@pytest.mark.parametrize("batch, tried", [(1, [1]), (6, [6, 3, 1])])
def test_one_window_that_does_not_fit_is_an_error(batch, tried):
    see = predictor(batch=batch)
    given = crowded(see, 0)
    with pytest.raises(torch.OutOfMemoryError):
        see.probabilities(volume(9, 7, 13))
    assert given == tried


def test_regions_become_places_in_the_sorted_values():
    assert class_regions(TASK) == {"inner": (1,), "all": (1, 2, 3), "cyst": (3,)}


def case_of(seed, shape=(9, 7, 13), classes=4, name=None, original=None):
    label = np.random.default_rng(seed).integers(0, classes, shape).astype(np.uint8)
    reference = label
    if original is not None:
        reference = np.random.default_rng(seed).integers(0, classes, original).astype(np.uint8)
    return CachedCase(
        name=name or f"case_{seed}",
        key=str(seed),
        image=volume(*shape, seed=seed),
        label=label,
        reference=reference,
        spacing=(1.0, 2.0, 1.5),
        foreground=np.empty((0, 4), np.int32),
    )


def test_validation_dice_is_the_mean_over_cases_and_their_regions():
    see, cases = predictor(), [case_of(0), case_of(1, classes=3), case_of(2, classes=1)]
    values = []
    for case in cases:
        found = see.probabilities(case.image).argmax(0).numpy()
        for members in ([1], [1, 2, 3], [3]):
            wanted = sum(case.label == member for member in members)
            got = sum(found == member for member in members)
            if wanted.sum():
                values.append(2 * (wanted * got).sum() / (wanted.sum() + got.sum()))
    assert len(values) == 5
    assert validation_dice(see, cases, TASK) == pytest.approx(np.mean(values))
    assert validation_dice(see, cases[2:], TASK) is None
    assert validation_dice(see, [], TASK) is None


@own_deprecation
def test_a_case_is_scored_on_its_own_grid_and_kept(tmp_path):
    see, case = predictor(), case_of(3, original=(7, 14, 10))
    scored = score_case(see, case, TASK, tmp_path, 5)
    probabilities = see.probabilities(case.image)
    there = torch.nn.functional.interpolate(probabilities[None], (7, 14, 10), mode="trilinear")
    found = there[0].argmax(0).numpy()
    assert scored.case == "case_3"
    for name, members in {"inner": [1], "all": [1, 2, 3], "cyst": [3]}.items():
        wanted, got = np.isin(case.reference, members), np.isin(found, members)
        scores = scored.regions[name]
        expected = 2 * (wanted & got).sum() / (wanted.sum() + got.sum())
        assert scores["dice"] == pytest.approx(expected)
        assert scores["reference_volume_mm3"] == pytest.approx(3 * wanted.sum())
    mean = np.mean([scores["dice"] for scores in scored.regions.values()])
    assert scored.mean_dice == pytest.approx(mean)
    assert json.loads((tmp_path / "cases" / "0005.json").read_text()) == scored.model_dump()
    overlay = load_file(tmp_path / "cases" / "0005.safetensors")
    chosen = scored.slice
    sizes = [(plane > 0).sum() for plane in case.reference]
    assert sizes[chosen] == max(sizes)
    squared = [  # nearest to the centres of as many pixels as fit into the extent
        np.floor((np.arange(pixels) + 0.5) * extent / pixels).astype(int)
        for extent, pixels in ((14, round(14 * 2 / 1.5)), (10, 10))
    ]
    for name, volume in (("reference", case.reference), ("prediction", found.astype(np.uint8))):
        assert torch.equal(overlay[name], torch.from_numpy(volume[chosen][np.ix_(*squared)]))
    assert overlay["image"].shape == overlay["reference"].shape
    assert overlay["image"].dtype == torch.uint8


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
        "spacing": (1.0, 2.0, 0.5),
    })  # fmt: skip
    scored = score_case(predictor(), case, TASK, tmp_path, 0)
    overlay = load_file(tmp_path / "cases" / "0000.safetensors")
    wanted = np.repeat(case.reference[scored.slice], 4, axis=0)
    assert torch.equal(overlay["reference"], torch.from_numpy(wanted))
    assert overlay["image"].shape == overlay["prediction"].shape == wanted.shape


@own_deprecation
def test_an_earlier_attempts_case_is_used_again(tmp_path, monkeypatch):
    see, case = predictor(), case_of(0)
    first = score_case(see, case, TASK, tmp_path, 0)

    def seen_again(self, image):
        raise AssertionError("computed twice")

    monkeypatch.setattr(SlidingWindowPredictor, "probabilities", seen_again)
    assert score_case(see, case, TASK, tmp_path, 0) == first
    with pytest.raises(AssertionError, match="computed twice"):
        score_case(see, case, TASK, tmp_path, 1)


@own_deprecation
@pytest.mark.parametrize("name, content", [
    ("0000.json", ""), ("0000.json", "[]"), ("0000.json", "another case"),
    ("0000.json", "a Dice of 7.5"),
    ("0000.safetensors", ""), ("0000.safetensors", None),
])  # fmt: skip
def test_what_was_kept_and_cannot_be_used_is_scored_anew(tmp_path, name, content):
    see, case = predictor(), case_of(0)
    first = score_case(see, case, TASK, tmp_path, 0)
    path = tmp_path / "cases" / name
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    elif " " in content:
        changed = {"case": "other"} if "case" in content else {"mean_dice": 7.5}
        path.write_text(json.dumps(json.loads(whole) | changed))
    else:
        path.write_text(content)
    assert score_case(see, case, TASK, tmp_path, 0) == first
    assert path.read_bytes() == whole


@own_deprecation
def test_a_case_that_could_not_be_kept_is_scored_anew(tmp_path, monkeypatch):
    see, case = predictor(), case_of(0)

    def full(path, text):
        raise WriteError("disk full", hint="free space")

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "replace_text", full)
        with pytest.raises(WriteError):
            score_case(see, case, TASK, tmp_path, 0)
    assert [path.name for path in (tmp_path / "cases").iterdir()] == ["0000.safetensors"]
    assert score_case(see, case, TASK, tmp_path, 0).case == "case_0"


@own_deprecation
@pytest.mark.parametrize("count", [1, 4, 5])
def test_overlays_are_those_of_every_case_with_a_dice(tmp_path, monkeypatch, count):
    cases = [case_of(seed, classes=1 if seed == 2 else 4) for seed in range(count)]
    monkeypatch.setattr(evaluation, "open_case", lambda cache, key: cases[int(key)])
    told = []
    scored = evaluate(
        predictor(), TASK, [(case.name, case.key) for case in cases], tmp_path, tmp_path,
        lambda *progress: told.append(progress),
    )  # fmt: skip
    assert told == [(done + 1, count) for done in range(count)]
    assert [entry.case for entry in scored] == [case.name for case in cases]
    shown = [index for index, entry in enumerate(scored) if index != 2]
    assert count < 3 or scored[2].mean_dice is None
    with safe_open(tmp_path / "overlays.safetensors", "pt") as file:
        state = json.loads(file.metadata()["state"])
        assert state.keys() == {f"{index:04d}" for index in shown}
        for index in shown:
            assert state[f"{index:04d}"] == {
                "case": f"case_{index}", "dice": scored[index].mean_dice,
                "slice": scored[index].slice,
            }  # fmt: skip
            kept = load_file(tmp_path / "cases" / f"{index:04d}.safetensors")
            for name in ("image", "reference", "prediction"):
                assert torch.equal(file.get_tensor(f"{index:04d}.{name}"), kept[name])


def test_overlays_of_large_slices_are_thinned(tmp_path):
    (tmp_path / "cases").mkdir()
    plane = (torch.arange(600)[:, None] * 3 + torch.arange(200)).to(torch.uint8)
    names = ("image", "reference", "prediction")
    save_file({name: plane.clone() for name in names}, tmp_path / "cases" / "0000.safetensors")
    keep_overlays(tmp_path, [CaseScores(case="a", regions={}, mean_dice=0.5, slice=0)])
    kept = load_file(tmp_path / "overlays.safetensors")["0000.reference"]
    assert torch.equal(kept, plane[::3, ::3])


@own_deprecation
def test_without_any_region_there_are_no_overlays(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "open_case", lambda cache, key: case_of(0, classes=1))
    (scored,) = evaluate(predictor(), TASK, [("case_0", "0")], tmp_path, tmp_path, lambda *_: None)
    assert scored.mean_dice is None
    assert not (tmp_path / "overlays.safetensors").exists()


@own_deprecation
def test_planned_cases_are_scored_from_the_cache(tmp_path):
    run = tiny_run(tmp_path)
    spec = run.trial().spec
    names = [(name, spec.entries[name]) for name in spec.cases.test]
    torch.manual_seed(0)
    network = segmenter(backbone(in_channels=1, volume=(6, 4, 6)), classes=3, decoder="linear")
    see = SlidingWindowPredictor(
        network, WINDOW, spec.protocol.evaluation, torch.device("cpu"), nullcontext
    )
    scored = evaluate(see, spec.task, names, run.cache, tmp_path, lambda *_: None)
    for (name, key), entry in zip(names, scored, strict=True):
        case = open_case(run.cache, key)
        assert entry.case == name == case.name
        front = entry.regions["front"]
        assert front["reference_voxels"] == (case.reference == 1).sum()
