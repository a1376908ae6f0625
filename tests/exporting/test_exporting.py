"""An export: whole and proved, or nothing."""

import json
import shutil
from importlib.metadata import version

import pytest
import torch

from inflate_zoo import load
from inflate_zoo.errors import (
    OutputExistsError,
    UnknownNameError,
    UsageError,
    VerificationError,
    WriteError,
)
from inflate_zoo.exporting import exporting
from inflate_zoo.exporting.exported_program import TorchExport
from inflate_zoo.exporting.exporting import ExportRequest, export_source
from inflate_zoo.exporting.record import read_export
from inflate_zoo.files.digests import sha256


def asked(converted, target, out, **more):
    return ExportRequest(str(converted), target, out, **more)


def test_the_record_tells_source_result_and_proof(converted, tmp_path):
    folder, record = export_source(asked(converted, "torch-export", tmp_path / "out"))
    assert folder == tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "model.pt2"]
    assert read_export(folder) == record
    told = json.loads((folder / "export.json").read_text())
    assert told["target"] == "torch-export"
    assert told["files"]["model.pt2"]["sha256"] == sha256(folder / "model.pt2")
    assert told["source"]["files"]["model.safetensors"]["sha256"] == sha256(
        converted / "model.safetensors"
    )
    assert told["volume"] == [16, 32, 32]
    assert told["batch"] is None
    assert told["versions"]["torch"] == version("torch")
    assert told["proof"]["error_over_rms"] <= told["proof"]["tolerance"]
    assert str(tmp_path) not in json.dumps(told)


def test_the_file_is_compared_with_what_load_gives(converted, tmp_path):
    folder, record = export_source(
        asked(converted, "torch-export", tmp_path / "out", volume=(8, 16, 24), batch=1)
    )
    program = torch.export.load(folder / "model.pt2").module()
    volume = torch.rand(1, 1, 8, 16, 24)
    with torch.no_grad():
        expected = load(converted, volume=(8, 16, 24)).eval().forward_features(volume)
        torch.testing.assert_close(program(volume)[0], expected)
    assert record.outputs[0].shape == tuple(expected.shape)


def test_monai_weights_come_with_what_builds_the_network(converted, tmp_path):
    _, record = export_source(asked(converted, "monai-vit", tmp_path / "out"))
    facts = record.monai_vit
    assert facts.arguments["img_size"] == (16, 32, 32)
    assert facts.prefix_copies == 2
    assert facts.error_with_own_eps is not None
    assert "monai" in record.versions
    assert any("2 times" in note for note in record.notes)


def test_what_is_not_proved_leaves_nothing(converted, tmp_path, monkeypatch):
    write = TorchExport.write

    def spoilt(self, folder):
        (first, *_) = self._program.state_dict.values()
        with torch.no_grad():
            first.view(-1)[0].add_(5)
        write(self, folder)
        with torch.no_grad():
            first.view(-1)[0].sub_(5)

    monkeypatch.setattr(TorchExport, "write", spoilt)
    with pytest.raises(VerificationError, match=r"\de[-+]\d\d of the RMS"):
        export_source(asked(converted, "torch-export", tmp_path / "a" / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(converted, tmp_path, monkeypatch):
    def full(self, folder):
        (folder / "model.pt2").write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TorchExport, "write", full)
    with pytest.raises(WriteError, match="No space left"):
        export_source(asked(converted, "torch-export", tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_is_refused_before_the_source_is_looked_for(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(UnknownNameError, match="no target named 'onx'") as caught:
        export_source(ExportRequest("gone", "onx"))
    assert "onnx" in caught.value.hint
    with pytest.raises(OutputExistsError, match="not empty"):
        export_source(ExportRequest("gone", "onnx", tmp_path / "full"))
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if "onnx" in name else name)
    with pytest.raises(UsageError, match="needs onnx, onnx_ir, onnxruntime, onnxscript") as caught:
        export_source(ExportRequest("gone", "onnx"))
    assert caught.value.hint.startswith('pip install "onnx')


def test_only_an_export_to_the_same_target_is_replaced(converted, tmp_path):
    out = tmp_path / "out"
    _, first = export_source(asked(converted, "torch-export", out))
    with pytest.raises(OutputExistsError, match="not empty"):
        export_source(asked(converted, "torch-export", out))
    (out / "mine.txt").write_text("mine")
    _, again = export_source(asked(converted, "torch-export", out, batch=1, force=True))
    assert (first.batch, again.batch) == (None, 1)
    assert read_export(out) == again
    assert (out / "mine.txt").read_text() == "mine"
    with pytest.raises(OutputExistsError, match=r"another export, to torch-export: model\.pt2"):
        export_source(asked(converted, "monai-vit", out, force=True))
    assert read_export(out) == again
    converted_copy = shutil.copytree(converted, tmp_path / "copy")
    with pytest.raises(OutputExistsError, match="not ours to replace"):
        export_source(asked(converted, "monai-vit", converted_copy, force=True))
