"""A backbone as a training finds it: folder, config, digest, and what is known of its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from inflate_zoo.conversion.record import RECORD, ConversionRecord, read_conversion
from inflate_zoo.files.digests import sha256
from inflate_zoo.hub.addresses import is_local
from inflate_zoo.networks.backbone import read_backbone_config
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.files import WEIGHTS
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.registry.finding import find_network


@dataclass(frozen=True, slots=True)
class FoundBackbone:
    """Converted weights.

    Attributes:
        name: What to call them: no path.
        folder: Where they are.
        config: Their own, for their own volume.
        sha256: Digest of the weights.
        folded: Whether they take intensities in [0, 1]; `None` where no record tells.
        license: License fields that their record states.
    """

    name: str
    folder: Path
    config: BackboneConfig
    sha256: str
    folded: bool | None
    license: dict[str, str] = field(default_factory=dict)


def find_backbone(source: str, say: Callable[[str], None]) -> FoundBackbone:
    """Find converted weights, fetched or made where they are not here.

    Args:
        source: A folder, a Hub repo, or the name of a zoo entry.
        say: Told whether a zoo entry's weights are fetched or made, and why.

    Raises:
        UsageError: There is no such source, or it cannot be used.
        ConfigError: It is no backbone's, e.g. a segmenter's.
        WorkError: It could not be fetched or made.
    """
    found = find_network(source, tuple(CONFIGS.values()), say, (RECORD,))
    folder = found.folder
    config = read_backbone_config(folder, source)
    digest = sha256(folder / WEIGHTS)
    record = _record(folder, digest)
    return FoundBackbone(
        name=found.name if is_local(source) else source,
        folder=folder,
        config=config,
        sha256=digest,
        folded=record.recipe.fold_normalization if record else None,
        license=record.source.license if record else {},
    )


def _record(folder: Path, digest: str) -> ConversionRecord | None:
    """The folder's record, if it is one of just these weights."""
    if not (folder / RECORD).is_file():
        return None
    record = read_conversion(folder)
    return record if record.weights_sha256 == digest else None
