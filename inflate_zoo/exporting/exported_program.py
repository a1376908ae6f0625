"""Target torch-export: torch's own program, in a .pt2 file.

`torch.export.load` unpickles what an archive says is pickled (of the tensors that are marked so,
and of the example inputs where they are not plain tensors). So nothing of ours reads such a file
but this module, just the one that it wrote a moment before into a folder of its own, and only after
`require_plain` has seen that nothing in it would be unpickled.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from inflate_zoo.errors import VerificationError
from inflate_zoo.exporting.graphs import capture
from inflate_zoo.exporting.proving import errors_of, proof_of
from inflate_zoo.exporting.record import ExportProof
from inflate_zoo.exporting.target import Export, ExportJob
from inflate_zoo.files.foreign import parsing, quiet, reason_of

FILE = "model.pt2"
_CONFIGS = ("_weights_config.json", "_constants_config.json")


class TorchExport(Export):
    """A program of `torch.export`."""

    def __init__(self, job: ExportJob) -> None:
        super().__init__(job)
        self._graph = job.graph
        self.inputs, self.outputs = self._graph.inputs, self._graph.outputs
        self.files = (FILE,)
        self._program = capture(self._graph)

    def write(self, folder: Path) -> None:
        """Write the program."""
        torch.export.save(self._program, folder / FILE)

    def prove(self, folder: Path) -> ExportProof:
        """Load the written program, and run it."""
        by = f"torch {torch.__version__}"
        require_plain(folder / FILE)
        with quiet():  # torch 2.10 warns of what it does with the file's bytes
            module = torch.export.load(folder / FILE).module()

        def run(volume: torch.Tensor) -> Any:
            with torch.no_grad():
                return module(volume)

        return proof_of(errors_of(run, self._graph, self._graph.tried, by), [by])


def require_plain(path: Path) -> None:
    """Refuse an archive of which torch would unpickle more than plain tensors.

    Raises:
        VerificationError: It says that something in it is pickled, or is no such archive.
    """

    def refused(error: Exception) -> VerificationError:
        return _unread(path, reason_of(error))

    with parsing(refused), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        configs = [name for name in names if name.endswith(_CONFIGS)]
        if len(configs) != len(_CONFIGS):
            raise _unread(path, "it does not say how its tensors are stored")
        marked = [e for name in configs for e in _pickled(json.loads(archive.read(name)))]
        if marked:
            raise _unread(path, f"{marked[0]} is pickled")
        for name in names:
            if "/sample_inputs/" in name:
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            elif name.endswith(".pt"):
                raise _unread(path, f"{name} is pickled")


def _pickled(config: Any) -> Iterator[str]:
    for name, entry in config["config"].items():
        if entry["use_pickle"]:
            yield name


def _unread(path: Path, reason: str) -> VerificationError:
    return VerificationError(
        f"'{path.name}' cannot be proved: {reason}",
        hint="nothing was kept; please report it with the version of torch",
    )
