"""Every network with every decoder, to ONNX and torch.export: what each pair comes to.

    python -m tests.export_matrix [KIND...]

Prints a line for each, exits with 1 where one is not proved. `tests/whole/test_exports.py` asks
less: a pair takes about 10 seconds.
"""

import sys
import tempfile
from pathlib import Path
from unittest import mock

from inflate_zoo.errors import InflateZooError
from inflate_zoo.exporting import exported_program, onnx_model
from inflate_zoo.exporting.graphs import capture
from inflate_zoo.exporting.targets import TARGETS
from inflate_zoo.segmentation.decoders import DECODERS
from tests.support.exports import exported, fewer_blocks, job_of
from tests.support.networks import SMALL

CAPTURED = {"torch-export": exported_program, "onnx": onnx_model}


def tried(kind: str, decoder: str | None) -> list[str]:
    """The error of one pair for each target, or why it was refused."""
    told = []
    try:
        job = job_of(exported(fewer_blocks(kind), decoder))
        program = capture(job.graph)  # once for both: it takes longest
        for target, module in CAPTURED.items():
            with (
                mock.patch.object(module, "capture", return_value=program),
                tempfile.TemporaryDirectory() as folder,
            ):
                export = TARGETS[target](job)
                export.write(Path(folder))
                told.append(f"{target} {export.prove(Path(folder)).error_over_rms:.1e}")
    except InflateZooError as error:
        told.append(f"REFUSED {error.message}")
    return told


def main(kinds: list[str]) -> int:
    """0 where all are proved."""
    refused = 0
    for kind in kinds or SMALL:
        for decoder in (None, *DECODERS):
            told = tried(kind, decoder)
            refused += told[-1].startswith("REFUSED")
            print(f"{kind:16} {decoder or 'backbone':9} {'  '.join(told)}", flush=True)
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
