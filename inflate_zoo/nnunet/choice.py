"""What a fold is trained with: decided once, written beside its checkpoints, read by whoever loads.

It stands twice: as a file in the fold's folder, where a resumed training reads it, and in the plans
that nnU-Net writes beside the folds and into each checkpoint, since these are all that
`nnUNetv2_predict` hands to the function that builds the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.files.reading import read_json
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.base import Side
from inflate_zoo.nnunet.framing import Framed, padded
from inflate_zoo.nnunet.options import FILE, Options, Settings
from inflate_zoo.nnunet.sources import FoundBackbone
from inflate_zoo.segmentation.network import SegmenterConfig
from inflate_zoo.segmentation.segmenter import Segmenter
from inflate_zoo.texts import problems_of, validated
from inflate_zoo.version import __version__

KEY: Final = "inflate_zoo"  # in nnU-Net's plans
_STANDARDISED = frozenset({"ZScoreNormalization", "CTNormalization"})
_TO_ONE = frozenset({"RescaleTo01Normalization", "RGBTo01Normalization"})
_SOME_VOXELS = 0.05  # what padding may add, as a share, before it is worth a word


@dataclass(frozen=True, slots=True)
class Demand:
    """What nnU-Net asks of a network.

    Attributes:
        configuration: Its name, e.g. `3d_fullres`.
        patch_size: In voxels; two numbers in a 2D configuration.
        previous_stage: Configuration whose segmentations are further channels, or `None`.
        channels: Input channels.
        outputs: Classes with the background; of regions, their number.
        normalization: nnU-Net's name of what is done to the intensities of each channel.
    """

    configuration: str
    patch_size: tuple[int, ...]
    previous_stage: str | None
    channels: int
    outputs: int
    normalization: tuple[str, ...]

    def require_supported(self) -> None:
        """Refuse what a 3D backbone cannot do.

        Raises:
            UsageError: A 2D configuration, a cascade, or a single region.
        """
        if len(self.patch_size) != 3:
            raise UsageError(
                f"configuration '{self.configuration}' has 2D patches, the backbone is 3D",
                hint="train 3d_fullres or 3d_lowres",
            )
        if self.previous_stage is not None:
            raise UsageError(
                f"configuration '{self.configuration}' is a cascade: its network takes the labels "
                f"of '{self.previous_stage}' as channels, which no source has seen",
                hint="train 3d_fullres or 3d_lowres",
            )
        if self.outputs < 2:
            raise UsageError(
                "the data set has a single region, a segmenter has two classes or more",
                hint="give it as a label, not as a list of labels, in dataset.json",
            )


class Choice(BaseModel):
    """The content of a fold's `inflate_zoo.json`, and of `inflate_zoo` in its plans: no path.

    Attributes:
        format_version: Of this form.
        inflate_zoo: Version that wrote it.
        source: What to call the backbone's weights.
        weights_sha256: Digest of the file they came from.
        license: License fields of their 2D source, which fine-tuned weights inherit.
        folded: Whether they were made for intensities in [0, 1]; `None` where that is not known.
        patch_size: nnU-Net's patch (depth, height, width) in voxels.
        network: The segmenter, for a volume that holds the patch.
        settings: How it is trained.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    format_version: Literal[1] = 1
    inflate_zoo: str = __version__
    source: str
    weights_sha256: str
    license: dict[str, str] = Field(default_factory=dict)
    folded: bool | None
    patch_size: Annotated[tuple[Side, Side, Side], Field(strict=False)]
    network: SegmenterConfig
    settings: Settings

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return self.model_dump(mode="json")

    def same_network(self, other: Choice) -> bool:
        """Whether two folds are an ensemble of one network from one source."""
        mine, theirs = (
            (each.network, each.patch_size, each.weights_sha256) for each in (self, other)
        )
        return mine == theirs


def choose(options: Options, demand: Demand, found: FoundBackbone) -> Choice:
    """Fit what a user chose to what nnU-Net asks.

    Args:
        options: The user's.
        demand: nnU-Net's.
        found: The backbone that `options.source` names.

    Raises:
        UsageError: They do not fit, e.g. the backbone has another number of channels.
    """
    demand.require_supported()
    own = found.config
    if own.in_channels != demand.channels:
        raise UsageError(
            f"the backbone takes {own.in_channels} channel(s), the data set has {demand.channels}",
            hint=f"convert its source with --channels {demand.channels}",
        )
    depth, height, width = demand.patch_size
    volume = padded(demand.patch_size, own.levels[-1].stride)
    try:
        network = SegmenterConfig(
            backbone=own.for_volume(volume),
            classes=demand.outputs,
            decoder=options.decoder,
            features=options.features,
            image_path=options.image_path,
            slice_wise=False,
        )
    except ValidationError as error:
        raise UsageError(
            f"no segmenter can be made so: {'; '.join(problems_of(error))}",
            hint=f"correct {FILE} in the data set's folder",
        ) from error
    return Choice(
        source=found.name,
        weights_sha256=found.sha256,
        license=found.license,
        folded=found.folded,
        patch_size=(depth, height, width),
        network=network,
        settings=options.settings,
    )


def build(choice: Choice) -> Framed:
    """The network that was chosen, with random weights."""
    backbone = Backbone(choice.network.backbone)  # type: ignore[abstract]  # becomes its kind
    backbone.set_drop_path(choice.settings.drop_path)
    segmenter = Segmenter(backbone, choice.network)
    segmenter.set_grad_checkpointing(choice.settings.grad_checkpointing)
    return Framed(segmenter, choice.patch_size)


def notes_on(choice: Choice, normalization: Sequence[str]) -> list[str]:
    """What a user should know before training, one sentence each.

    Args:
        choice: What is trained.
        normalization: nnU-Net's, of each channel.
    """
    notes = []
    made_for = "intensities in [0, 1]" if choice.folded else "normalised intensities"
    wrong = _STANDARDISED if choice.folded else _TO_ONE
    given = [name for name in normalization if name in wrong]
    if choice.folded is None:
        notes.append(
            "the backbone's folder does not tell what intensities it takes; nnU-Net's z-scores "
            "suit one that was converted without --fold-normalization"
        )
    elif given:
        other = "without" if choice.folded else "with"
        notes.append(
            f"WARNING: the backbone was converted for {made_for}, the data set is prepared with "
            f"{', '.join(sorted(set(given)))}; convert its source {other} --fold-normalization"
        )
    volume, stride = choice.network.backbone.volume, choice.network.backbone.levels[-1].stride
    more = prod(volume) / prod(choice.patch_size) - 1
    if more > _SOME_VOXELS:
        notes.append(
            f"patches of {_by(choice.patch_size)} are padded to {_by(volume)}, {more:.0%} more "
            f"voxels: a patch_size in the plans that {_by(stride)} divides needs none"
        )
    return notes


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def read_choice(folder: Path) -> Choice:
    """Read what a fold is trained with.

    Raises:
        UsageError: It was not trained with this trainer, or its file cannot be read.
        ConfigError: The file is malformed.
    """
    if not (folder / FILE).is_file():
        raise UsageError(
            f"'{folder.name}' holds no {FILE}: nothing tells what it was trained with",
            hint="train the fold anew, without --c",
        )
    return _validated(read_json(folder / FILE), f"{FILE} of '{folder.name}'")


def choice_in(plans: Mapping[str, Any]) -> Choice:
    """What stands in the plans of a trained model.

    Raises:
        UsageError: Nothing does.
        ConfigError: It is malformed.
    """
    if KEY not in plans:
        raise UsageError(
            f"the model's plans.json has no '{KEY}': nothing tells what it was trained with",
            hint="keep the plans.json that nnUNetTrainerInflated wrote beside the folds",
        )
    return _validated(plans[KEY], f"'{KEY}' in plans.json")


def _validated(table: Any, where: str) -> Choice:
    try:
        return validated(Choice, table)
    except ValidationError as error:
        raise ConfigError(
            f"{where} is not valid: {problems_of(error, 'it')[0]}",
            hint="take it from a copy of the trained model, or train anew",
        ) from error


def require_one_network(choice: Choice, folder: Path) -> None:
    """Refuse to train a fold beside folds of another network: nnU-Net loads them as one.

    Args:
        choice: What is to be trained.
        folder: The fold's; the others lie beside it.

    Raises:
        UsageError: Another fold, or this one before, was trained with another backbone, decoder or
            patch.
        ConfigError: Its file is malformed.
    """
    for path in sorted(folder.parent.glob(f"fold_*/{FILE}")):
        if path.parent == folder and not any(folder.glob("checkpoint_*.pth")):
            continue  # it was begun, and nothing came of it
        other = read_choice(path.parent)
        if not choice.same_network(other):
            raise UsageError(
                f"'{path.parent.name}' was trained with another network (of {other.source}, now "
                f"{choice.source}), and nnU-Net takes all folds for one",
                hint="set nnUNet_results to another folder, or choose what that fold has",
            )
