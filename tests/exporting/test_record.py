"""The form of export.json."""

import json

import pytest
from pydantic import ValidationError

from inflate_zoo.exporting.record import RECORD, ExportRecord, Tensor, read_export, versions_of
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.version import __version__

DIGEST = "0" * 64
TABLE = {
    "target": "onnx",
    "source": {
        "name": "vit",
        "kind": "backbone",
        "network": "small",
        "files": {"model.safetensors": {"sha256": DIGEST, "bytes": 1}},
    },
    "volume": [4, 8, 8],
    "batch": None,
    "opset": 20,
    "inputs": [{"name": "volume", "axes": ["batch", "depth"], "shape": ["batch", 4]}],
    "outputs": [],
    "input": {"told": "anything"},
    "files": {"model.onnx": {"sha256": DIGEST, "bytes": 2}},
    "versions": {"torch": "2"},
    "proof": {"error_over_rms": 1e-6, "errors": {"one": 1e-6}, "by": ["onnxruntime"]},
}


def test_what_is_written_is_read_again(tmp_path):
    record = ExportRecord.model_validate(TABLE)
    (tmp_path / RECORD).write_text(form_text(record))
    assert read_export(tmp_path) == record
    assert record.inputs == (Tensor(name="volume", axes=("batch", "depth"), shape=("batch", 4)),)


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"format_version": 2},
        {"proof": {"error_over_rms": float("nan"), "errors": {}, "by": []}},
        {"files": {"model.onnx": {"sha256": "short", "bytes": 2}}},
    ],
)
def test_what_is_not_the_form_is_no_record(change, tmp_path):
    with pytest.raises(ValidationError):
        ExportRecord.model_validate(TABLE | change)
    (tmp_path / RECORD).write_text(json.dumps(TABLE | change))
    assert read_export(tmp_path) is None


def test_a_folder_without_one_has_none(tmp_path):
    assert read_export(tmp_path) is None
    assert read_export(tmp_path / "gone") is None


def test_versions_hold_our_own():
    assert versions_of(["torch"]).keys() == {"inflate-zoo", "torch"}
    assert versions_of([])["inflate-zoo"] == __version__
