"""A trained trial as a MONAI bundle, run by MONAI itself."""

import json
import sys
import warnings
from contextlib import contextmanager

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow, run, verify_net_in_out

from inflate_zoo.bench.trials.folder import plan_trial
from inflate_zoo.errors import OutputExistsError, UsageError
from inflate_zoo.exporting.exporting import ExportRequest, export_source
from inflate_zoo.exporting.monai_bundle import MonaiBundleExport
from inflate_zoo.exporting.record import read_export
from inflate_zoo.exporting.sources import load_source
from inflate_zoo.exporting.target import ExportJob
from inflate_zoo.files.digests import sha256
from tests.support.prediction import finish, made_up, predict
from tests.support.trials import LINEAR, one_thread, tiny_run

FILES = {
    "configs/inference.json", "configs/metadata.json", "docs/README.md", "docs/license.txt",
    "export.json", "models/config.json", "models/model.safetensors",
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("run"), *LINEAR, channels=("T1", "T2"))


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "mine"
    return export_source(ExportRequest(str(trained.trial().folder), "monai-bundle", out))


@contextmanager
def by_monai(folder):
    """MONAI's commands, as they are typed in a bundle's folder; its warnings are its own."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        patch.setattr("sys.path", list(sys.path))
        yield


def test_it_holds_what_a_bundle_holds_and_no_pickle(bundle, trained):
    folder, record = bundle
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == FILES
    weights = folder / "models" / "model.safetensors"
    assert sha256(weights) == sha256(trained.trial().folder / "model.safetensors")
    assert record.files["models/model.safetensors"].sha256 == sha256(weights)
    assert read_export(folder) == record
    assert record.proof.error_over_rms <= 1e-4
    assert {"monai", "torch", "nibabel", "inflate-zoo"} <= record.versions.keys()
    told = "".join((folder / name).read_text() for name in FILES if "model." not in name)
    assert str(trained.out.parent) not in told
    assert any("no model.pt" in note for note in record.notes)


def test_monai_runs_it_and_gives_what_predict_gives(bundle, trained, tmp_path):
    folder, _ = bundle
    images = trained.data / "imagesTr"
    some = tmp_path / "some"
    some.mkdir()
    for name in ("case_00", "case_03"):
        (some / f"{name}.nii.gz").symlink_to(images / f"{name}.nii.gz")
    assert predict(trained.trial().folder, some, "--out", tmp_path / "ours").exit_code == 0
    with by_monai(folder):
        run(
            config_file="configs/inference.json",
            dataset_dir=str(some),
            output_dir=str(tmp_path / "theirs"),
            device="cpu",
        )
    for name in ("case_00.nii.gz", "case_03.nii.gz"):
        ours, theirs = (tmp_path / who / name for who in ("ours", "theirs"))
        assert theirs.read_bytes() == ours.read_bytes()
        assert len(np.unique(nib.load(ours).dataobj)) > 1


def test_monai_s_own_checks_pass(bundle, trained):
    folder, _ = bundle
    files = {"meta_file": "configs/metadata.json", "config_file": "configs/inference.json"}
    with by_monai(folder):
        verify_net_in_out("network_def", **files, device="cpu")
        workflow = ConfigWorkflow(
            files["config_file"],
            files["meta_file"],
            logging_file=False,
            workflow_type="infer",
            dataset_dir=str(trained.data / "imagesTr"),
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        table = json.loads((folder / files["meta_file"]).read_text())
        wrong = table["network_data_format"]["outputs"]["pred"] | {"num_channels": 7}
        with pytest.raises(ValueError, match="doesn't match"):
            verify_net_in_out(
                "network_def", **files, device="cpu",
                **{"_meta_#network_data_format#outputs#pred": wrong},
            )  # fmt: skip


def of_whole_slices(folder):
    """A trial of whole slices of 16 x 16 pixels, of which a window tells the centre one."""
    run = tiny_run(folder, "network.decoder=upernet", "network.features=8",
                   "data.whole_slices=true", "network.window=[3, 36, 24]",
                   "network.patch_depth=1")  # fmt: skip
    spec, place = run.trials[0].spec, run.trials[0].place
    small = spec.model_copy(update={"task": spec.task.model_copy(update={"slice_size": 16})})
    trial = plan_trial(folder / "small", small, place)
    finish(trial)
    return trial


def test_each_kind_of_trial_is_proved(tmp_path):
    """Slice by slice, and whole slices of which a window tells the centre one."""
    flat = made_up(tmp_path / "flat", *LINEAR, kinds=("2d",)).trial("2d")
    for trial, name in ((flat, "flat"), (of_whole_slices(tmp_path / "whole"), "whole")):
        folder, record = export_source(
            ExportRequest(str(trial.folder), "monai-bundle", tmp_path / f"{name}-bundle")
        )
        assert record.proof.error_over_rms <= 1e-4
        inferer = json.loads((folder / "configs" / "inference.json").read_text())["inferer"]
        assert ("CentreSlice" in inferer["_target_"]) == (name == "whole")


def test_what_is_no_trial_or_has_other_windows_is_refused(trained, converted, tmp_path):
    with pytest.raises(UsageError, match="is no trained trial"):
        export_source(ExportRequest(str(converted), "monai-bundle", tmp_path / "out"))
    trial = trained.trial().folder
    for change in ({"volume": (8, 16, 16)}, {"batch": 2}):
        with pytest.raises(UsageError, match="--volume and --batch"):
            export_source(ExportRequest(str(trial), "monai-bundle", tmp_path / "out", **change))
    assert not (tmp_path / "out").exists()


def test_it_is_replaced_with_force_alone(trained, tmp_path):
    request = ExportRequest(str(trained.trial().folder), "monai-bundle", tmp_path / "out")
    export_source(request)
    (tmp_path / "out" / "models" / "mine").write_text("mine")
    with pytest.raises(OutputExistsError):
        export_source(request)
    export_source(ExportRequest(request.source, request.target, request.out, force=True))
    assert (tmp_path / "out" / "models" / "mine").read_text() == "mine"


def test_its_record_tells_what_the_network_takes(trained):
    export = MonaiBundleExport(ExportJob(load_source(str(trained.trial().folder), None), None))
    assert export.inputs[0].shape == ("batch", 2, *export.volume)
    assert export.outputs[0].shape == ("batch", 3, *export.volume)
