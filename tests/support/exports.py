"""Networks as an export finds them, without a folder that they were loaded from."""

from pathlib import Path

from inflate_zoo.exporting.record import ClassFacts, ExportedFile, InputFacts, Origin
from inflate_zoo.exporting.sources import ExportSource
from inflate_zoo.exporting.target import ExportJob
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.files import WEIGHTS
from inflate_zoo.segmentation.segmenter import Segmenter

DIGEST = "ab" * 32


def source_of(
    network: Backbone | Segmenter,
    fed: InputFacts | None = None,
    classes: tuple[ClassFacts, ...] | None = None,
) -> ExportSource:
    """A network in memory, as if it had been found."""
    origin = Origin(
        name="small",
        kind="segmenter" if isinstance(network, Segmenter) else "backbone",
        network="a small one",
        files={WEIGHTS: ExportedFile(sha256=DIGEST, bytes=1)},
    )
    fed = fed or InputFacts(told="anything")
    network = network.eval().requires_grad_(False)
    return ExportSource("small", Path(), network, origin, fed, classes, None, ())


def job_of(network: Backbone | Segmenter, batch: int | None = None) -> ExportJob:
    """What is exported of a network in memory."""
    return ExportJob(source_of(network), batch)
