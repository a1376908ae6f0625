"""Several networks, and one network on mirrored images: means of class probabilities."""

import itertools

import numpy as np
import pytest
import torch

from inflate_zoo.bench.prediction import ensemble
from inflate_zoo.bench.prediction.ensemble import Ensemble, fit, mean, mirrored
from inflate_zoo.bench.prediction.images import CaseImages
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.segmentation.segmenter import Segmenter
from tests.support.trials import one_thread

CPU = Resources("cpu")


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


def of_the_place(image):
    """Two classes that depend on the place as well as on the voxels; never symmetric."""
    score = np.cumsum(np.cumsum(np.cumsum(image.astype(np.float64), 1), 2), 3).sum(0) / 9
    return torch.from_numpy(np.stack([score, 1 - score])).softmax(0).float()


@pytest.mark.parametrize("depth", [True, False])
def test_mirroring_is_plain_arithmetic(depth):
    image = np.random.default_rng(0).random((2, 4, 3, 5)).astype(np.float16)
    found = mirrored(of_the_place, image, depth=depth)
    forms = list(itertools.product((1, -1) if depth else (1,), (1, -1), (1, -1)))
    total = np.zeros((2, 4, 3, 5))
    for steps in forms:
        turned = tuple(slice(None, None, step) for step in steps)
        total += of_the_place(image[:, *turned].copy()).numpy()[:, *turned]
    np.testing.assert_allclose(found, total / len(forms), atol=1e-6)
    assert not np.allclose(found, of_the_place(image), atol=1e-3)
    assert not np.allclose(found, mirrored(of_the_place, image, depth=not depth), atol=1e-3)


@pytest.mark.parametrize("deep", [True, False])
def test_depth_is_mirrored_where_the_network_may_see_it_so(seeds, monkeypatch, deep):
    monkeypatch.setattr(SlidingWindowPredictor, "sees_depth_mirrored", deep)
    image, trial = seeds.data / "imagesTr" / "case_00.nii.gz", seeds.trials[0]
    job, asked = CaseImages("case_00", (image,), None), []

    def noted(see, seen, *, depth):
        asked.append(depth)
        return see(seen)

    monkeypatch.setattr(ensemble, "mirrored", noted)
    Ensemble([trial], CPU, mirror=True).probabilities(job)
    assert asked == [deep]


def test_mirroring_changes_nothing_where_each_voxel_is_seen_alone():
    image = np.random.default_rng(1).random((1, 3, 4, 5)).astype(np.float16)

    def alone(seen):
        value = torch.from_numpy(seen.astype(np.float32))[0]
        return torch.stack([value, 1 - value])

    np.testing.assert_allclose(mirrored(alone, image, depth=True), alone(image), atol=1e-6)


def test_the_mean_is_the_mean():
    parts = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = parts.double().mean(0).float()
    torch.testing.assert_close(mean(iter(parts.clone())), expected)
    assert torch.equal(mean(iter(parts[:1])), parts[0])


def test_networks_stay_if_they_leave_room():
    assert fit([10, 20], 60)
    assert not fit([10, 21], 60)


@pytest.fixture
def loads(monkeypatch):
    made, load = [], Segmenter.from_pretrained.__func__

    def counted(kind, source, **options):
        made.append(source)
        return load(kind, source, **options)

    monkeypatch.setattr(Segmenter, "from_pretrained", classmethod(counted))
    return made


def test_they_are_loaded_once_or_one_at_a_time(seeds, monkeypatch, loads):
    image = seeds.data / "imagesTr" / "case_00.nii.gz"
    job, trials = CaseImages("case_00", (image,), None), seeds.trials[:2]
    kept = Ensemble(trials, CPU, mirror=False)
    first, _ = kept.probabilities(job)
    assert torch.equal(kept.probabilities(job)[0], first)
    assert loads == [trial.folder for trial in trials]
    loads.clear()
    monkeypatch.setattr(ensemble, "fit", lambda *_: False)
    lean = Ensemble(trials, CPU, mirror=False)
    assert len(loads) == 1
    assert torch.equal(lean.probabilities(job)[0], first)
    assert torch.equal(lean.probabilities(job)[0], first)
    assert len(loads) == 4
    assert len(lean._kept) == 1


def test_those_that_see_otherwise_are_averaged_on_the_image_s_own_grid(seeds):
    image = seeds.data / "imagesTr" / "case_01.nii.gz"
    job = CaseImages("case_01", (image,), None)
    trials = [t for t in seeds.trials if t.spec.seed == 0]
    found, grid = Ensemble(trials, CPU, mirror=False).probabilities(job)
    shape = grid.voxels(trials[0].spec.task.slices)
    assert found.shape == (3, *shape)
    parts = [Ensemble([trial], CPU, mirror=False).probabilities(job)[0] for trial in trials]
    assert not torch.equal(*parts)
    assert parts[0].shape[1:] != shape
    own = [
        torch.nn.functional.interpolate(part[None], size=shape, mode="trilinear")[0]
        for part in parts
    ]
    torch.testing.assert_close(found, torch.stack(own).mean(0))
