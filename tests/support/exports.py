"""Networks as an export finds them, without a folder that they were loaded from."""

from pathlib import Path

from inflate_zoo import segmenter
from inflate_zoo.exporting.record import ClassFacts, ExportedFile, InputFacts, Origin
from inflate_zoo.exporting.sources import ExportSource
from inflate_zoo.exporting.target import ExportJob
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.files import WEIGHTS
from inflate_zoo.segmentation.segmenter import Segmenter
from tests.support.checkpoints import randomize
from tests.support.networks import SMALL

FEWER: dict[str, object] = {"depth": 1, "depths": (2, 1)}  # blocks, by the name of the field
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


def fewer_blocks(kind: str) -> BackboneConfig:
    """The small network of a kind, with no more blocks than it takes to have each kind of them."""
    config = SMALL[kind].config
    table = config.model_dump()
    if kind in ("inflated_sam", "inflated_hiera"):  # some inside windows, one global
        return config
    return type(config)(**table | {name: FEWER[name] for name in FEWER.keys() & table.keys()})


def exported(config: BackboneConfig, decoder: str | None) -> Backbone | Segmenter:
    """A random network of a config, behind a decoder if one is named."""
    deep = config.patch_depth if decoder == "upernet" else config.volume[0]
    net = randomize(Backbone(config.for_volume((deep, *config.volume[1:]))))  # type: ignore[abstract]
    if decoder is None:
        return net
    return randomize(segmenter(net, classes=3, decoder=decoder, features=8))
