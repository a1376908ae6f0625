"""What stands in a MONAI bundle: whole by MONAI's specification, and nothing that runs as code."""

import json
import warnings

import pytest
from monai.bundle import ConfigParser, verify_metadata

from inflate_zoo.bench.definitions.trials import window_of
from inflate_zoo.errors import UsageError
from inflate_zoo.exporting.bundle_files import inference, license_text, metadata, readme
from inflate_zoo.files.digests import sha256
from tests.support.trials import result_of, tiny_run

VERSIONS = dict.fromkeys(("monai", "torch", "numpy", "inflate-zoo", "nibabel", "scipy"), "1.2.3")
TEXT, NUMBER = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}
# What https://docs.monai.io/en/stable/mb_specification.html calls mandatory.
TENSOR = {
    "type": {"enum": ["image", "series", "tuples", "probabilities"]},
    "format": {"enum": ["magnitude", "hounsfield", "labels", "segmentation"]},
    "modality": TEXT,
    "num_channels": NUMBER,
    "spatial_shape": {"type": "array", "items": NUMBER, "minItems": 3, "maxItems": 3},
    "dtype": TEXT,
    "value_range": {"type": "array", "items": {"type": "number"}},
    "is_patch_data": {"type": "boolean"},
    "channel_def": {"type": "object", "additionalProperties": TEXT},
}
TENSORS = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "object", "properties": TENSOR, "required": list(TENSOR)},
}
FIELDS = {
    "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    "monai_version": TEXT,
    "pytorch_version": TEXT,
    "numpy_version": TEXT,
    "required_packages_version": {"type": "object", "additionalProperties": TEXT},
    "task": TEXT,
    "description": TEXT,
    "authors": TEXT,
    "copyright": TEXT,
    "network_data_format": {
        "type": "object",
        "properties": {"inputs": TENSORS, "outputs": TENSORS},
        "required": ["inputs", "outputs"],
    },
}
SCHEMA = {"type": "object", "properties": FIELDS, "required": list(FIELDS)}


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("run"), channels=("T1", "T2")).trials[0]


def made(trial, **changes):
    task = trial.spec.task.model_copy(update=changes)
    return metadata(trial.spec.model_copy(update={"task": task}), result_of(trial), VERSIONS)


def test_monai_finds_every_field_that_it_asks_for(trial, tmp_path):
    schema, file = tmp_path / "schema.json", tmp_path / "metadata.json"
    schema.write_text(json.dumps(SCHEMA))  # there already, so that none is fetched
    table = made(trial)
    file.write_text(json.dumps(table))
    known = {"create_dir": False, "hash_val": sha256(schema), "hash_type": "sha256"}
    verify_metadata(str(file), str(schema), **known)
    for name in FIELDS:
        file.write_text(json.dumps({key: table[key] for key in table if key != name}))
        with pytest.raises(ValueError, match="Failed validating"):
            verify_metadata(str(file), str(schema), **known)
    inputs, outputs = (table["network_data_format"][side] for side in ("inputs", "outputs"))
    assert inputs["image"]["channel_def"] == {"0": "T1", "1": "T2"}
    assert inputs["image"]["spatial_shape"] == list(window_of(trial.spec))
    assert outputs["pred"]["channel_def"] == {"0": "background", "1": "front", "2": "back"}
    assert table["eval_metrics"] == {"mean_dice": 0.5}


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "$__import__('os').system('true')"},
        {"title": "%/etc/hostname"},
        {"channels": ("@bundle_root", "T2")},
        {"labels": {"background": 0, " $1": 1, "back": 2}},
        {"citation": "see %#name"},
    ],
    ids=str,
)
def test_what_monai_would_run_as_code_is_refused(trial, changes):
    with pytest.raises(UsageError, match="MONAI would run"):
        made(trial, **changes)


def test_names_of_strangers_stand_in_no_config_and_prices_in_no_way(trial):
    text = json.dumps(inference(trial.spec))
    for name in (*trial.spec.task.labels, *trial.spec.task.channels, trial.spec.task.title):
        assert f'"{name}"' not in text
    assert made(trial, title="worth 5 $")["name"] == "worth 5 $"


def test_texts_drive_no_terminal(trial):
    task = trial.spec.task.model_copy(update={"title": "a\x1b[31m", "license": "b\u202e"})
    spec = trial.spec.model_copy(update={"task": task})
    for text in (readme(spec), license_text(spec)):
        assert all(c.isprintable() or c == "\n" for c in text)
    assert trial.spec.arm.source in license_text(spec)


def test_it_names_what_runs_it_beside_ours(trial):
    needed = made(trial)["required_packages_version"]
    for name in ("inflate-zoo", "pytorch-ignite", "fire"):
        assert name in needed
        assert name in readme(trial.spec)


def test_the_config_is_one_that_monai_parses(trial, tmp_path):
    (tmp_path / "inference.json").write_text(json.dumps(inference(trial.spec)))
    parser = ConfigParser()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser.read_config(str(tmp_path / "inference.json"))
        inferer = parser.get_parsed_content("inferer")
        before = parser.get_parsed_content("preprocessing")
    evaluation = trial.spec.protocol.evaluation
    assert tuple(inferer.roi_size) == window_of(trial.spec)
    assert (inferer.overlap, inferer.sw_batch_size) == (evaluation.overlap, evaluation.batch)
    assert inferer.mode == "gaussian"
    assert before.transforms[0].task.spacing == trial.spec.task.spacing
    assert before.transforms[0].task.intensity == trial.spec.task.intensity
