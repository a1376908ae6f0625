"""What a conversion says of itself: its record, and what readers rely on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inflate_zoo.conversion.sources import Source
from inflate_zoo.errors import UsageError
from inflate_zoo.files.checkpoints import Checkpoint
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.header import read_header
from inflate_zoo.files.reading import called, lacking, read_json
from inflate_zoo.inflation.recipe import Recipe
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.naming.normalization import Feeding
from inflate_zoo.naming.plan import Plan
from inflate_zoo.naming.understanding import Understood
from inflate_zoo.texts import problems_of
from inflate_zoo.version import __version__

if TYPE_CHECKING:
    from inflate_zoo.conversion.proof import Verification


FILES = ("model.safetensors", "config.json", "README.md", "conversion.json")
RECORD = "conversion.json"
Count = Annotated[int, Field(ge=1, le=1 << 20)]


@dataclass(frozen=True, slots=True)
class Job:
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


def feeding_text(verification: Mapping[str, Any]) -> str:
    """How the original was fed, to follow what it was; empty where nothing was folded.

    Args:
        verification: A `Verification` as conversion.json holds it; old ones say nothing of it.
    """
    basis = verification.get("normalization")
    if basis is None:
        return ""
    how = verification["fed_by"] or f"mean and std as folded ({verification['replayed']})"
    guessed = "; the normalisation is a guess, which no proof can check"
    return f", fed by {how}{guessed if basis == 'guessed' else ''}"


def record_of(
    job: Job,
    digests: Mapping[str, str],
    files: Mapping[str, str],
    verification: Verification | None,
) -> dict[str, Any]:
    """The content of conversion.json: no path, no time.

    Args:
        job: The conversion.
        digests: File name to SHA-256 of the source's files.
        files: Likewise of the files written.
        verification: What the proof measured, or `None`.
    """
    source, recipe = job.source, job.recipe
    folded = recipe.normalization
    packages = ("torch", "safetensors", "huggingface_hub", "transformers", "timm")
    return {
        "format_version": 1,
        "source": {
            "name": source.name,
            "repo": source.repo,
            "inside": source.inside,
            "revision": source.revision,
            "commit": source.commit,
            "weights": source.weights.name,
            "taken": job.plan.prefix,
            "copies": list(job.plan.copies),
            "sha256": dict(digests),
            "license": dict(job.license) or {"license": "unknown"},
            "family": job.plan.scheme.name,
            "arch": job.understood.named or None,
        },
        "recipe": {
            "scheme": recipe.scheme,
            "patch_depth": recipe.patch_depth,
            "volume": list(recipe.volume),
            "channels": recipe.channels,
            "dtype": recipe.dtype,
            "fold_normalization": folded is not None,
            "normalization": folded.model_dump(mode="json") if folded else None,
            "normalization_from": job.fed.origin if job.fed else None,
            "normalization_basis": job.fed.basis if job.fed else None,
        },
        "dropped": list(job.plan.dropped),
        "notes": job.notes,
        "files": {name: {"sha256": digest} for name, digest in files.items()},
        "versions": {"inflate-zoo": __version__} | {name: version(name) for name in packages},
        "verification": verification.as_dict() if verification else None,
    }


def given_in(record: Mapping[str, Any]) -> Normalization | None:
    """The normalisation that a user gave for a conversion, by its conversion.json.

    Raises:
        UsageError: It is malformed.
    """
    recipe = record["recipe"]
    if recipe.get("normalization_basis") != "given":
        return None
    try:
        return Normalization.model_validate(recipe.get("normalization"))
    except ValidationError as error:
        raise UsageError(
            "conversion.json: recipe.normalization is no mean and std",
            hint="convert the source again",
        ) from error


def read_record(folder: Path) -> Mapping[str, Any]:
    """Read a conversion's conversion.json and check the digests of its files.

    Raises:
        UsageError: It is no conversion, or a file is not the one that was written.
        CheckpointError: The weights are damaged.
    """
    if not (folder / "conversion.json").is_file():
        raise UsageError(
            f"'{called(folder)}' holds no conversion.json{lacking(folder)}",
            hint="name a folder that 'inflate-zoo convert' wrote",
        )
    record = read_conversion(folder)
    digests = {name: entry["sha256"] for name, entry in record["files"].items()}
    read_header(folder / "model.safetensors")
    changed = [n for n, d in digests.items() if n in FILES and sha256(folder / n) != d]
    if changed:
        raise UsageError(
            f"files in '{called(folder)}' are not the ones that were written",
            details=changed,
            hint="convert the source again, with --force",
        )
    return record


class _Stated(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Source(_Stated):
    name: str
    repo: str | None
    commit: str | None
    arch: str | None
    family: str
    sha256: dict[str, str]


class _Recipe(_Stated):
    scheme: str
    patch_depth: Count
    volume: tuple[Count, Count, Count] = Field(strict=False)
    channels: Count
    fold_normalization: bool
    dtype: str | None


class _File(_Stated):
    sha256: str


class _Record(_Stated):
    format_version: Literal[1]
    source: _Source
    recipe: _Recipe
    files: dict[str, _File]


def read_conversion(folder: Path) -> Mapping[str, Any]:
    """Read a folder's conversion.json, all that is used of it there and of its type.

    Raises:
        UsageError: It is no record of a conversion; names the first field that is wrong.
    """
    record = read_json(folder / RECORD)
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        raise UsageError(
            f"'{called(folder)}': {RECORD} is incomplete: {problems_of(error)[0]}",
            hint="convert the source again",
        ) from error
    return record
