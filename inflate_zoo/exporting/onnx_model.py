"""Target onnx: a model that onnxruntime and others run, checked and proved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from inflate_zoo.errors import UsageError, VerificationError, out_of_memory
from inflate_zoo.exporting.graphs import INPUT, Graph, capture
from inflate_zoo.exporting.proving import Run, errors_of, proof_of
from inflate_zoo.exporting.record import ExportProof, Tensor
from inflate_zoo.exporting.sources import ExportSource
from inflate_zoo.exporting.target import Export, ExportJob
from inflate_zoo.extras import version_of
from inflate_zoo.files.foreign import parsing, quiet, reason_of
from inflate_zoo.networks.files import WEIGHTS
from inflate_zoo.version import __version__

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

FILE, DATA = "model.onnx", "model.onnx.data"
MOST_INSIDE = (2 << 30) - (64 << 20)  # bytes of weights; protobuf takes 2 GiB, with the graph
# What the reference, plain numpy, is through with in seconds.
_REFERENCE_BYTES, _REFERENCE_VALUES = 16 << 20, 1 << 16


class OnnxExport(Export):
    """A model in ONNX, with weights in a file of their own where they are too many.

    Attributes:
        program: The model in memory.
    """

    modules = ("onnx", "onnx_ir", "onnxruntime", "onnxscript")
    packages = ("torch", "onnx", "onnx_ir", "onnxruntime", "onnxscript")

    def __init__(self, job: ExportJob) -> None:
        super().__init__(job)
        self._graph = job.graph
        self.inputs, self.outputs = self._graph.inputs, self._graph.outputs
        self.program = translated(self._graph)
        self.opset = int(self.program.model.opset_imports[""])
        self.program.model.metadata_props.update(metadata(job.source, self.inputs, self.outputs))
        self._outside = weight_bytes(self.program) > MOST_INSIDE
        self.files = (FILE, DATA) if self._outside else (FILE,)

    def write(self, folder: Path) -> None:
        """Write the model."""
        write_model(self.program, folder, outside=self._outside)

    def prove(self, folder: Path) -> ExportProof:
        """Check the written model, and run it by onnxruntime; a small one by the reference too."""
        check(folder / FILE)
        by = [f"onnxruntime {version_of('onnxruntime')}"]
        run = _onnxruntime(folder / FILE)
        errors = errors_of(run, self._graph, self._graph.tried, by[0])
        first = self._graph.tried[0]
        if weight_bytes(self.program) <= _REFERENCE_BYTES and prod(first) <= _REFERENCE_VALUES:
            by.append(f"onnx.reference {version_of('onnx')}")
            errors |= errors_of(_reference(folder / FILE), self._graph, [first], by[-1])
        return proof_of(errors, [*by, f"onnx.checker {version_of('onnx')}, full check"])


def translated(graph: Graph) -> ONNXProgram:
    """The graph in ONNX, in memory.

    Raises:
        UsageError: The exporter knows no way.
    """
    program = capture(graph)
    shapes = [dict(graph.dynamic)] if graph.dynamic else None
    with quiet(), parsing(_untranslated):
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=[tensor.name for tensor in graph.inputs],
            output_names=[tensor.name for tensor in graph.outputs],
            dynamic_shapes=shapes,
        )
    assert made is not None  # noqa: S101 - for mypy: it is where dynamo is on
    return made


def _untranslated(error: Exception) -> Exception:
    if out_of_memory(error):
        return error
    return UsageError(
        f"the network cannot be translated to ONNX: {reason_of(error)}",
        hint="please report it with the versions of torch and onnxscript",
    )


def weight_bytes(program: ONNXProgram) -> int:
    """Bytes of all tensors that the model holds."""
    values = program.model.graph.initializers.values()
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)


def metadata(
    source: ExportSource, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> dict[str, str]:
    """What the model says of itself, for programs: lists are JSON."""
    fed, origin = source.fed, source.origin
    axes = {tensor.name: tensor.axes for tensor in (*inputs, *outputs)}
    told: Mapping[str, Any] = {
        "axes": axes,
        "volume": source.volume,
        "value_range": fed.value_range,
        "channel_names": fed.channels or None,
        "spacing_mm": fed.spacing_mm,
        "intensity": {"rule": fed.intensity, "low": fed.low, "high": fed.high}
        if fed.intensity
        else None,
        "class_names": [each.name for each in source.classes] if source.classes else None,
        "class_values": [each.value for each in source.classes] if source.classes else None,
        "license": origin.license or None,
    }
    texts = {
        "producer": f"inflate-zoo {__version__}",
        "source": origin.name,
        "source_sha256": origin.files[WEIGHTS].sha256,
        "network": origin.network,
        "input": fed.told,
    }
    return texts | {
        name: json.dumps(value, ensure_ascii=False)
        for name, value in told.items()
        if value is not None
    }


def write_model(program: ONNXProgram, folder: Path, *, outside: bool) -> None:
    """Write a model, with its weights in a second file where they are to be outside."""
    import onnx_ir

    where = DATA if outside else None
    onnx_ir.save(program.model, folder / FILE, external_data=where)


def check(path: Path) -> None:
    """The checker of ONNX, shapes and types included.

    Raises:
        VerificationError: The file is not valid.
    """
    import onnx

    def refused(error: Exception) -> VerificationError:
        return VerificationError(
            f"'{path.name}' is no valid ONNX: {reason_of(error)}",
            hint="nothing was kept; please report it with the versions of torch and onnx",
        )

    with parsing(refused):
        onnx.checker.check_model(str(path), full_check=True)


def _onnxruntime(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)

    def run(volume: torch.Tensor) -> list[torch.Tensor]:
        found = session.run(None, {INPUT: volume.numpy()})
        return [torch.from_numpy(value) for value in found]

    return run


def _reference(path: Path) -> Run:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))

    def run(volume: torch.Tensor) -> list[torch.Tensor]:
        found = evaluator.run(None, {INPUT: volume.numpy()})
        return [torch.from_numpy(np.asarray(value)) for value in found]

    return run
