"""ONNX: valid, named, proved by onnxruntime and the reference, with weights inside or beside."""

import json
import math
from importlib.metadata import Distribution, PackageNotFoundError

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from inflate_zoo.errors import UsageError, VerificationError
from inflate_zoo.exporting import onnx_model
from inflate_zoo.exporting.onnx_model import DATA, FILE, OnnxExport, check, translated
from inflate_zoo.exporting.record import ClassFacts, InputFacts, versions_of
from inflate_zoo.exporting.target import ExportJob
from tests.support.exports import DIGEST, exported, fewer_blocks, job_of, source_of
from tests.support.networks import SMALL

FED = InputFacts(
    value_range=(0.0, 1.0), told="percentiles", channels=("T1", "T2"), spacing_mm=(1.5, 1.0, 1.0),
    intensity="percentiles", low=0.5, high=99.5,
)  # fmt: skip
CLASSES = tuple(ClassFacts(name=n, value=v) for n, v in (("background", 0), ("a", 2), ("b", 7)))


@pytest.fixture(scope="module")
def net():
    return exported(fewer_blocks("inflated_vit"), "linear")


@pytest.fixture(scope="module")
def export(net):
    return OnnxExport(ExportJob(source_of(net, FED, CLASSES), None))


@pytest.fixture(scope="module")
def folder(export, tmp_path_factory):
    made = tmp_path_factory.mktemp("onnx")
    export.write(made)
    return made


def test_the_written_model_gives_what_the_network_gives(export, folder):
    proof = export.prove(folder)
    assert 0 < proof.error_over_rms < 1e-5
    runners = {case.split(",")[0] for case in proof.errors}
    assert runners == {
        f"onnxruntime {onnxruntime.__version__}",
        f"onnx.reference {onnx.__version__}",
    }
    assert any("full check" in each for each in proof.by)


def test_a_runtime_from_another_distribution_proves_as_well(export, folder, monkeypatch):
    """Such as onnxruntime-gpu, which brings the module onnxruntime."""
    found = Distribution.from_name

    def other(name):
        if name == "onnxruntime":
            raise PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(Distribution, "from_name", other)
    assert f"onnxruntime {onnxruntime.__version__}" in export.prove(folder).by
    assert versions_of(["onnxruntime"])["onnxruntime"] == onnxruntime.__version__


def test_any_number_of_volumes_goes_through_by_name(export, folder, net):
    session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, result.name) == ("volume", "logits")
    assert given.shape == list(export.inputs[0].shape)
    assert given.shape[0] == "batch"
    assert result.shape[0] == "batch"
    for count in (1, 2, 5):
        volume = torch.rand(count, *given.shape[1:])
        (found,) = session.run(["logits"], {"volume": volume.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, net(volume).numpy(), rtol=1e-3, atol=1e-3)


def test_the_model_says_what_it_takes_and_gives(export, folder):
    model = onnx.load(folder / FILE)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["axes"]) == {
        "volume": ["batch", "channels", "depth", "height", "width"],
        "logits": ["batch", "class", "depth", "height", "width"],
    }
    assert json.loads(told["value_range"]) == [0.0, 1.0]
    assert json.loads(told["volume"]) == list(export.volume)
    assert json.loads(told["class_names"]) == ["background", "a", "b"]
    assert json.loads(told["class_values"]) == [0, 2, 7]
    assert json.loads(told["channel_names"]) == ["T1", "T2"]
    assert json.loads(told["spacing_mm"]) == [1.5, 1.0, 1.0]
    assert json.loads(told["intensity"]) == {"rule": "percentiles", "low": 0.5, "high": 99.5}
    assert told["source_sha256"] == DIGEST
    assert told["input"] == "percentiles"
    (opset,) = [each.version for each in model.opset_import if not each.domain]
    assert export.opset == opset


def test_what_is_not_known_is_not_told():
    source = source_of(SMALL["inflated_vit"].network())
    told = onnx_model.metadata(source, (), ())
    assert {"class_names", "value_range", "spacing_mm", "license"}.isdisjoint(told)


def test_too_many_weights_are_written_beside_the_model(export, net, tmp_path, monkeypatch):
    program = export.program
    monkeypatch.setattr(onnx_model, "translated", lambda _: program)
    monkeypatch.setattr(onnx_model, "MOST_INSIDE", 1 << 10)
    export = OnnxExport(job_of(net))
    assert export.files == (FILE, DATA)
    export.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, DATA]
    model = onnx.load(tmp_path / FILE, load_external_data=False)
    beside = onnx.TensorProto.EXTERNAL
    weights = [each for each in model.graph.initializer if math.prod(each.dims) >= 256]
    assert len(weights) > 5
    assert {each.data_location for each in weights} == {beside}
    assert export.prove(tmp_path).error_over_rms < 1e-5
    content = bytearray((tmp_path / DATA).read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    (tmp_path / DATA).write_bytes(content)
    with pytest.raises(VerificationError, match="of the RMS"):
        export.prove(tmp_path)


def test_a_wrong_weight_in_the_file_is_noticed(export, folder, tmp_path):
    model = onnx.load(folder / FILE)
    weight = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    weight.raw_data = bytes(len(weight.raw_data))
    onnx.save(model, tmp_path / FILE)
    with pytest.raises(VerificationError, match=r"of the RMS \(tolerance 1e-04\)"):
        export.prove(tmp_path)


def test_an_invalid_model_is_refused(folder, tmp_path):
    model = onnx.load(folder / FILE)
    model.graph.node[0].op_type = "Nonsense"
    onnx.save(model, tmp_path / FILE)
    with pytest.raises(VerificationError, match="no valid ONNX"):
        check(tmp_path / FILE)


def test_what_the_exporter_cannot_do_is_a_sentence(monkeypatch):
    def refusing(*_, **__):
        raise RuntimeError("no function for aten.strange")

    monkeypatch.setattr(torch.onnx, "export", refusing)
    graph = job_of(SMALL["inflated_vit"].network()).graph
    with pytest.raises(UsageError, match=r"cannot be translated to ONNX: no function for aten"):
        translated(graph)

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch.onnx, "export", full)
    with pytest.raises(MemoryError):
        translated(graph)
