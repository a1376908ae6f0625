"""What an export says of itself: its export.json, one form to write and to read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from inflate_zoo.errors import UsageError
from inflate_zoo.extras import version_of
from inflate_zoo.files.reading import read_json
from inflate_zoo.texts import validated
from inflate_zoo.version import __version__

RECORD = "export.json"
TOLERANCE = 1e-4  # greatest error over the root mean square, as of a conversion

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Sizes = Annotated[tuple[int, ...], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Triple = Annotated[tuple[int, int, int], Field(strict=False)]
Range = Annotated[tuple[float, float], Field(strict=False)]
Lengths = Annotated[tuple[float, float, float], Field(strict=False)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ExportedFile(_Form):
    """A file that was written or read: its SHA-256, hexadecimal, and its length in bytes."""

    sha256: Digest
    bytes: int


class Origin(_Form):
    """What was exported.

    Attributes:
        name: Of the folder, the repo or the entry of the zoo.
        kind: Whether it is a backbone, or one with a decoder.
        repo: Hub repo, or `None` for a local source; likewise `inside` and `commit`.
        inside: Folder of the repo; empty for the repo itself.
        commit: Of the repo.
        network: The network in a few words.
        trial: Hash of the trial that trained it; `None` where none did.
        license: License fields of the source that was converted; empty where nobody recorded them.
        files: What was read, by name.
    """

    name: str
    kind: Literal["backbone", "segmenter"]
    repo: str | None = None
    inside: str = ""
    commit: str | None = None
    network: str
    trial: str | None = None
    license: dict[str, str] = Field(default_factory=dict)
    files: dict[str, ExportedFile]


class InputFacts(_Form):
    """What a network is fed.

    Attributes:
        value_range: Least and greatest intensity; `None` where nobody recorded it.
        told: The same for people.
        channels: Names of the channels; empty where nobody recorded them.
        spacing_mm: Depth, height and width of a voxel in mm; `None` where it was not trained.
        intensity: Which raw intensities became least and greatest: those of a `window`, or
            `percentiles` of each volume and channel; `None` where it was not trained.
        low: The window's or percentiles' lower end; `high` is the upper one.
        high: The upper one.
    """

    value_range: Range | None = None
    told: str
    channels: Names = ()
    spacing_mm: Lengths | None = None
    intensity: Literal["window", "percentiles"] | None = None
    low: float | None = None
    high: float | None = None


class ClassFacts(_Form):
    """One class of a segmenter, at its place along the class axis.

    Attributes:
        name: Its name.
        value: What stands for it in label files.
    """

    name: str
    value: int


class Tensor(_Form):
    """An input or output.

    Attributes:
        name: Its name.
        axes: What each axis is.
        shape: Its length along each; a name where it may be any.
    """

    name: str
    axes: Names
    shape: Annotated[tuple[int | str, ...], Field(strict=False)]


class ExportProof(_Form):
    """What the proof measured, on the written file.

    Attributes:
        error_over_rms: Greatest absolute error over the root mean square of what our own network,
            loaded from the source, gives.
        tolerance: What it may be.
        errors: The same by case.
        by: What ran the file, and what checked it, with versions.
    """

    error_over_rms: FiniteFloat
    tolerance: float = TOLERANCE
    errors: dict[str, FiniteFloat]
    by: Names


class MonaiVit(_Form):
    """How MONAI's network is built before the tensors are loaded, strictly.

    Attributes:
        network: Its class.
        arguments: Of its constructor.
        prefix_tokens: Rows that its `cls_token` gets; 0 where it has none.
        prefix_copies: How often the source's prefix tokens stand in them, one set after another.
        norm_eps: Epsilon that all its layer norms get.
        error_with_own_eps: Error over the root mean square where they keep MONAI's.
    """

    network: Literal["monai.networks.nets.ViT"] = "monai.networks.nets.ViT"
    arguments: dict[str, int | bool | str | Sizes]
    prefix_tokens: int
    prefix_copies: int
    norm_eps: float
    error_with_own_eps: float | None = None


class ExportRecord(_Form):
    """The content of export.json: no path, no time.

    Attributes:
        format_version: Of this form.
        target: What it was exported to.
        source: What was exported.
        volume: Voxels (depth, height, width).
        batch: Volumes at a time; `None` for any number.
        opset: Of ONNX; `None` elsewhere.
        inputs: What the network takes.
        outputs: What it gives.
        input: How the input is made.
        classes: Of a segmenter, in the order of the class axis; `None` where nobody recorded them.
        monai_vit: How MONAI's ViT is built; `None` for other targets.
        notes: What a user should know, one sentence each.
        files: What was written, by name.
        versions: Package to version.
        proof: What was measured.
    """

    format_version: Literal[1] = 1
    target: str
    source: Origin
    volume: Triple
    batch: int | None
    opset: int | None = None
    inputs: Annotated[tuple[Tensor, ...], Field(strict=False)]
    outputs: Annotated[tuple[Tensor, ...], Field(strict=False)]
    input: InputFacts
    classes: Annotated[tuple[ClassFacts, ...], Field(strict=False)] | None = None
    monai_vit: MonaiVit | None = None
    notes: Names = ()
    files: dict[str, ExportedFile]
    versions: dict[str, str]
    proof: ExportProof


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The package's own version and those of libraries."""
    return {"inflate-zoo": __version__} | {name: version_of(name) for name in packages}


def read_export(folder: Path) -> ExportRecord | None:
    """The export.json of a folder; `None` where there is none that can be read."""
    try:
        return validated(ExportRecord, read_json(folder / RECORD, "record"))
    except (UsageError, ValidationError):
        return None
