"""What a conversion says of itself: its card and its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from inflate_zoo.cards import render_card
from inflate_zoo.checkpoints import Checkpoint
from inflate_zoo.conversion_record import read_conversion
from inflate_zoo.definitions import Normalization
from inflate_zoo.errors import UsageError
from inflate_zoo.files import called, lacking, sha256
from inflate_zoo.inflate import Recipe, backbone_config
from inflate_zoo.normalization import Basis, Feeding
from inflate_zoo.plan import Plan
from inflate_zoo.preparation import Understood
from inflate_zoo.safetensors_header import read_header
from inflate_zoo.sources import Source
from inflate_zoo.towers import counted, left_out
from inflate_zoo.version import __version__

if TYPE_CHECKING:
    from inflate_zoo.proof import Verification

FILES = ("model.safetensors", "config.json", "README.md", "conversion.json")
_FOUND: Mapping[Basis, str] = MappingProxyType(
    {"stated": "stated by the source", "given": "given by the user", "guessed": "GUESSED"}
)


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


def _geometry(recipe: Recipe, config: Any) -> str:
    patch = "x".join(map(str, (recipe.patch_depth, *config.patch_size)))
    size = "x".join(map(str, recipe.volume))
    return (
        f"patch {patch}, position grid {config.position_grid[0]}x{config.position_grid[1]}, "
        f"default volume {size} voxels, {recipe.channels} input channel(s)"
    )


def _proof_line(verification: Verification | None) -> str:
    if verification is None:
        return "not verified (--no-verify)"
    line = (
        f"greatest absolute error {verification.max_error_over_rms:.1e} of the reference's RMS "
        f"(tolerance {verification.tolerance:.0e}), against {verification.reference}"
        f"{feeding_text(verification.as_dict())}"
    )
    if verification.rounding_error_over_rms is not None:
        line += f"; rounding by dtype adds {verification.rounding_error_over_rms:.1e} of the RMS"
    return line


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


def card_text(name: str, job: Job, verification: Verification | None) -> str:
    """The model card of a conversion; `name` is that of its folder."""
    source, recipe = job.source, job.recipe
    config = backbone_config(job.plan, recipe)
    local = f"{source.name} (a local file)"
    origin = f"{source.address} at {source.commit}" if source.repo else local
    folded = "not folded: feed the network what the source was fed"
    if recipe.normalization is not None:
        mean, std = list(recipe.normalization.mean), list(recipe.normalization.std)
        folded = f"folded into the stem (mean {mean}, std {std}): feed intensities in [0, 1]"
    if job.fed is not None:
        folded += f"; {_FOUND[job.fed.basis]}: {job.fed.origin}"
    dropped = job.plan.dropped
    groups = [counted(name, n) for name, n in left_out(job.plan.prefix, dropped).items()]
    shown = ", ".join(groups[:6]) + (f" and {len(groups) - 6} more" if len(groups) > 6 else "")
    taken = f", its {job.plan.prefix}*" if job.plan.prefix else ""
    facts = [
        ("Source", origin + taken),
        ("Naming scheme", f"{job.plan.scheme.name}: {job.plan.scheme.summary}"),
        ("Scheme", recipe.scheme),
        ("Geometry", _geometry(recipe, config)),
        ("Input normalisation", folded),
        ("Dropped", shown or "nothing"),
        ("Proof", _proof_line(verification)),
        ("Training", "none was done"),
    ]
    notes = job.notes
    if not job.license:
        notes.append("The source states no license: find out before you pass the weights on.")
    shape = (1, recipe.channels, *recipe.volume)
    return render_card(name, job.license, source.repo, facts, notes, name, shape)


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
