"""What a conversion says of itself: its conversion.json, one form to write and to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from inflate_zoo.errors import UsageError
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.dtypes import DTYPES
from inflate_zoo.files.foreign import json_value
from inflate_zoo.files.header import read_header
from inflate_zoo.files.reading import called, lacking, read_json
from inflate_zoo.files.writing.contents import json_text
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.naming.configs.normalization import Basis, Feeding
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.texts import problems_of, validated
from inflate_zoo.version import __version__

if TYPE_CHECKING:
    from inflate_zoo.conversion.sources import Source
    from inflate_zoo.files.checkpoints import Checkpoint
    from inflate_zoo.inflation.recipe import Recipe
    from inflate_zoo.naming.plan import Plan
    from inflate_zoo.naming.understanding import Understood


WEIGHTS, RECORD = "model.safetensors", "conversion.json"
WRITTEN = (WEIGHTS, "config.json", "README.md")  # what a record lists with digests
FILES = (*WRITTEN, RECORD)
_PACKAGES = ("torch", "safetensors", "huggingface_hub", "transformers", "timm")


_OWN_DEPTH = (
    "The source is 3D already: nothing was inflated, its weights are as they were.",
    "Depths that windows do not divide are padded, and what is padded is masked; the original lets "
    "it take part. In the plane, windows larger than the grid keep the biases of their places; the "
    "original takes others. On such volumes the two differ; on all others they are equal.",
)


def _one_of(kind: str, known: Callable[[], Mapping[str, object]]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in known():
            raise ValueError(f"no {kind} named '{name}'; known: {', '.join(sorted(known()))}")
        return name

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1, le=1 << 20)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SchemeName = Annotated[str, _one_of("scheme", lambda: SCHEMES)]
DtypeName = Annotated[str, _one_of("dtype", lambda: DTYPES)]
# JSON has lists only.
Names = Annotated[tuple[str, ...], Field(strict=False)]
Pair = Annotated[tuple[Count, Count], Field(strict=False)]
Triple = Annotated[tuple[Count, Count, Count], Field(strict=False)]


class _Recorded(BaseModel):
    # What a later release adds is kept, where a record is written again.
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Verification(_Recorded):
    """What the proof measured.

    Attributes:
        passed: Whether every error is within the tolerance and the tables are equal.
        max_error_over_rms: Greatest absolute error over the reference's root mean square.
        tolerance: What it may be.
        errors: The same by case.
        reference: What built the 2D original.
        grid: Token grid (depth, height, width) of the proof.
        tables_equal: Whether the position table in the file equals the original's bit for bit.
        rounding_error_over_rms: What narrowing by `dtype` costs; measured, not judged.
        rounded_exactly: Whether the file holds just the rounded tensors; `None` if not narrowed.
        normalization: Who says what was folded; `None` where nothing was.
        fed_by: What of a library fed the original; `None` where mean and std were replayed.
        replayed: Why they were.
    """

    passed: bool
    max_error_over_rms: float
    tolerance: float
    errors: dict[str, float]
    reference: str
    grid: Triple
    tables_equal: bool
    rounding_error_over_rms: float | None = None
    rounded_exactly: bool | None = None
    normalization: Basis | None = None
    fed_by: str | None = None
    replayed: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as conversion.json holds them."""
        return self.model_dump(mode="json")

    @property
    def feeding(self) -> str:
        """How the original was fed, to follow what it was; empty where nothing was folded."""
        if self.normalization is None:
            return ""
        how = self.fed_by or f"mean and std as folded ({self.replayed})"
        guessed = "; the normalisation is a guess, which no proof can check"
        return f", fed by {how}{guessed if self.normalization == 'guessed' else ''}"


class RecordedSource(_Recorded):
    """The 2D checkpoint of a conversion.

    Attributes:
        name: As in `Source`; likewise repo, inside, revision and commit.
        repo: Hub repo, or `None` for a local source.
        inside: Folder or file of the repo; empty for the repo itself.
        revision: As it was asked for.
        commit: Of the repo.
        weights: Name of the weight file, or of the index of its shards.
        taken: Prefix of the tensors that were taken; `None` in records that do not say it.
        copies: Prefixes of the other complete towers of the file.
        sha256: File name to digest.
        license: License fields of the card.
        family: Name of the family.
        arch: timm's architecture as it was named; `None` for others.
    """

    name: str
    repo: str | None
    inside: str = ""
    revision: str | None
    commit: str | None
    weights: str
    taken: str | None = None
    copies: Names = ()
    sha256: dict[str, Digest]
    license: dict[str, str] = Field(default_factory=dict)
    family: str
    arch: str | None

    @property
    def address(self) -> str | None:
        """What names it on the Hub; `None` for a local source."""
        return "/".join(filter(None, (self.repo, self.inside))) if self.repo else None


class RecordedRecipe(_Recorded):
    """How a source was converted.

    Attributes:
        scheme: How the stem gained depth; `None` where the source was 3D already.
        patch_depth: Patch size along depth, in voxels.
        volume: Default volume (depth, height, width) in voxels.
        channels: Input channels of the 3D network.
        dtype: Type of all tensors; `None` for the source's own.
        fold_normalization: Whether the input normalisation is in the stem.
        normalization: What was folded.
        normalization_from: Where it stands, for people.
        normalization_basis: Who says so; `None` where nothing is folded, and in records that do
            not say it.
        depth_window: Depth of the network's windows, in tokens; `None` where it has none.
        merge_depth: Whether tokens are merged over depth too.
        patch_size: In-plane patch (height, width) that the stem was resized to; `None` for its own.
    """

    scheme: SchemeName | None
    patch_depth: Count
    volume: Triple
    channels: Count
    dtype: DtypeName | None
    fold_normalization: bool
    normalization: Normalization | None = None
    normalization_from: str | None = None
    normalization_basis: Basis | None = None
    depth_window: Count | None = None
    merge_depth: bool = False
    patch_size: Pair | None = None

    @model_validator(mode="after")
    def _given_is_there(self) -> Self:
        if self.normalization_basis == "given" and self.normalization is None:
            raise ValueError("normalization is given by the user, but is not there")
        return self

    @property
    def given(self) -> Normalization | None:
        """The normalisation that a user gave."""
        return self.normalization if self.normalization_basis == "given" else None


class RecordedFile(_Recorded):
    """A file that was written; `sha256` is its digest."""

    sha256: Digest


class ConversionRecord(_Recorded):
    """The content of conversion.json: no path, no time.

    Attributes:
        format_version: Of this form.
        source: The 2D checkpoint.
        recipe: How it was converted.
        dropped: Source tensors that were left out.
        notes: What a user should know, one sentence each.
        files: The other files of the folder, by name.
        versions: Package to version.
        verification: What the proof measured, or `None`.
    """

    format_version: Literal[1]
    source: RecordedSource
    recipe: RecordedRecipe
    dropped: Names
    notes: Names
    files: dict[str, RecordedFile]
    versions: dict[str, str]
    verification: Verification | None

    @model_validator(mode="after")
    def _lists_what_was_written(self) -> Self:
        if absent := [name for name in WRITTEN if name not in self.files]:
            raise ValueError(f"files lists no {' and no '.join(absent)}")
        return self

    @property
    def weights_sha256(self) -> str:
        """Digest of model.safetensors, hexadecimal."""
        return self.files[WEIGHTS].sha256

    def text(self) -> str:
        """The content of conversion.json; of a record that was read, just what it held."""
        return json_text(self.model_dump(mode="json", exclude_unset=True))

    def as_dict(self) -> dict[str, Any]:
        """Plain values in the order of the file."""
        content: dict[str, Any] = json_value(self.text(), lambda error: error)
        return content


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion, ready to be written."""

    source: Source
    checkpoint: Checkpoint
    understood: Understood
    recipe: Recipe
    fed: Feeding | None  # how the original is, where that is folded
    license: Mapping[str, str]  # of the source's card, or what the zoo knows of it

    @property
    def plan(self) -> Plan:
        """How the source was understood."""
        return self.understood.plan

    @property
    def notes(self) -> list[str]:
        """What a user should know, one sentence each."""
        notes = [*self.plan.notes, *(self.fed.notes if self.fed else ())]
        if self.recipe.scheme is None:
            notes += _OWN_DEPTH
        if self.recipe.patch_size is not None:
            own, made = self.plan.architecture.patch_size, self.recipe.patch_size
            notes.append(
                f"The stem's kernel was resized from {own[0]}x{own[1]} to {made[0]}x{made[1]} by "
                "the pseudo-inverse of resizing images (FlexiViT); the 2D network was not trained "
                "at that size."
            )
        if self.fed is not None and self.fed.basis == "guessed":
            notes.append(
                "The folded normalisation is a guess: the source states none. If you know it, "
                "convert again with --mean and --std."
            )
        stated = self.source.license.get("license")
        if stated and stated != self.license.get("license"):
            notes.append(
                f"The source's card states the license {stated}; the stricter one, of those who "
                "published the weights, is this card's."
            )
        return notes


def record_of(
    job: Conversion,
    digests: Mapping[str, str],
    files: Mapping[str, str],
    verification: Verification | None,
) -> ConversionRecord:
    """What conversion.json says of a conversion.

    Args:
        job: The conversion.
        digests: File name to SHA-256 of the source's files.
        files: Likewise of the files written.
        verification: What the proof measured, or `None`.
    """
    return ConversionRecord(
        format_version=1,
        source=_source_of(job, digests),
        recipe=_recipe_of(job),
        dropped=job.plan.dropped,
        notes=tuple(job.notes),
        files={name: RecordedFile(sha256=digest) for name, digest in files.items()},
        versions=_versions(),
        verification=verification,
    )


@cache  # each is parsed from the whole of a package's description
def _versions() -> dict[str, str]:
    return {"inflate-zoo": __version__} | {name: version(name) for name in _PACKAGES}


def _source_of(job: Conversion, digests: Mapping[str, str]) -> RecordedSource:
    source = job.source
    return RecordedSource(
        name=source.name,
        repo=source.repo,
        inside=source.inside,
        revision=source.revision,
        commit=source.commit,
        weights=source.weights.name,
        taken=job.plan.prefix,
        copies=job.plan.copies,
        sha256=dict(digests),
        license=dict(job.license) or {"license": "unknown"},
        family=job.plan.family.name,
        arch=job.understood.named or None,
    )


def _recipe_of(job: Conversion) -> RecordedRecipe:
    recipe = job.recipe
    asked: dict[str, Any] = {}
    if recipe.windows is not None:
        asked["depth_window"], asked["merge_depth"] = recipe.windows
    if recipe.patch_size is not None:
        asked["patch_size"] = recipe.patch_size
    return RecordedRecipe(
        scheme=recipe.scheme,
        patch_depth=recipe.patch_depth,
        volume=recipe.volume,
        channels=recipe.channels,
        dtype=recipe.dtype,
        fold_normalization=recipe.normalization is not None,
        normalization=recipe.normalization,
        normalization_from=job.fed.origin if job.fed else None,
        normalization_basis=job.fed.basis if job.fed else None,
        **asked,
    )


def record_in(table: Mapping[str, Any]) -> ConversionRecord | None:
    """The record that a JSON object is; `None` where it is none."""
    try:
        return validated(ConversionRecord, table)
    except ValidationError:
        return None


def read_conversion(folder: Path, name: str = "") -> ConversionRecord:
    """Read a folder's conversion.json.

    Args:
        folder: Where it is.
        name: What to call the folder in messages; as its path has it by default.

    Raises:
        UsageError: It is no record of a conversion; names the first field that is wrong.
        ConfigError: It is no JSON object.
    """
    table = read_json(folder / RECORD)
    try:
        return validated(ConversionRecord, table)
    except ValidationError as error:
        raise UsageError(
            f"'{name or called(folder)}': {RECORD} is incomplete: {problems_of(error, 'it')[0]}",
            hint="convert the source again, with --force",
        ) from error


def read_record(folder: Path) -> ConversionRecord:
    """Read a conversion's conversion.json and check the digests of its files.

    Raises:
        UsageError: It is no conversion, or a file is not the one that was written.
        CheckpointError: The weights are damaged.
    """
    if not (folder / RECORD).is_file():
        raise UsageError(
            f"'{called(folder)}' holds no {RECORD}{lacking(folder)}",
            hint="name a folder that 'inflate-zoo convert' wrote",
        )
    record = read_conversion(folder)
    read_header(folder / WEIGHTS)
    changed = [n for n in WRITTEN if sha256(folder / n) != record.files[n].sha256]
    if changed:
        raise UsageError(
            f"files in '{called(folder)}' are not the ones that were written",
            details=changed,
            hint="convert the source again, with --force",
        )
    return record
