"""A bundle that does not do what `predict` does is noticed."""

import json

import nibabel as nib
import numpy as np
import pytest

from inflate_zoo.bench.data.grids import PLANES
from inflate_zoo.bench.data.volumes import read_grid
from inflate_zoo.bench.definitions.trials import window_of
from inflate_zoo.errors import VerificationError
from inflate_zoo.exporting import bundle_proof
from inflate_zoo.exporting.bundle_files import INFERENCE
from inflate_zoo.exporting.bundle_proof import compare, random_image
from inflate_zoo.exporting.monai_bundle import MonaiBundleExport
from inflate_zoo.exporting.record import TOLERANCE
from inflate_zoo.exporting.sources import load_source
from inflate_zoo.exporting.target import ExportJob
from tests.support.prediction import made_up
from tests.support.trials import LINEAR, one_thread


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("run"), *LINEAR).trial()


@pytest.fixture
def bundle(trial, tmp_path):
    export = MonaiBundleExport(ExportJob(load_source(str(trial.folder), None), None))
    export.write(tmp_path)
    return export, tmp_path


def changed(folder, change):
    path = folder / INFERENCE
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


CHANGES = {
    "another overlap": lambda table: table["inferer"].update(overlap=0.75),
    "no importance map": lambda table: table["inferer"].update(mode="constant"),
    "another spacing": lambda table: first(table).update(spacing=[1.0, 1.0, 1.0]),
    "other intensities": lambda table: first(table)["intensity"].update(high=90),
    "another plane": lambda table: first(table).update(slices="sagittal"),
}


def first(table):
    return table["preprocessing"]["transforms"][0]


def test_each_step_counts(trial, bundle):
    export, folder = bundle
    assert compare(folder, trial) < TOLERANCE / 10
    text = (folder / INFERENCE).read_text()
    for what, change in CHANGES.items():
        changed(folder, change)
        assert compare(folder, trial) > 10 * TOLERANCE, what
        (folder / INFERENCE).write_text(text)
    changed(folder, CHANGES["another plane"])
    with pytest.raises(VerificationError, match="of the RMS"):
        export.prove(folder)


def test_a_voxel_with_another_label_is_told(trial, bundle, monkeypatch):
    run = bundle_proof.run_bundle

    def other(*arguments):
        probabilities, labels = run(*arguments)
        labels = labels.copy()
        labels[0, 0, 0] += 1
        return probabilities, labels

    monkeypatch.setattr(bundle_proof, "run_bundle", other)
    with pytest.raises(VerificationError, match="gives 1 of 700 voxels another label"):
        compare(bundle[1], trial)


@pytest.mark.parametrize("slices", PLANES)
def test_the_image_is_turned_and_larger_than_a_window(trial, slices, tmp_path):
    task = trial.spec.task.model_copy(update={"slices": slices, "channels": ("a", "b")})
    window = window_of(trial.spec)
    paths = random_image(task, window, tmp_path / "images")
    assert len(paths) == 2
    grid = read_grid(paths[0])
    np.testing.assert_allclose(grid.spacing(slices), 0.9 * np.array(task.spacing), rtol=1e-6)
    assert all(n >= w for n, w in zip(grid.voxels(slices), window, strict=True))
    assert grid.voxels(slices)[0] * grid.spacing(slices)[0] > window[0] * task.spacing[0]
    assert not np.allclose(grid.affine[:3, :3], np.diag(np.diag(grid.affine[:3, :3])))
    one, two = (np.asarray(nib.load(path).dataobj) for path in paths)
    assert not np.array_equal(one, two)
