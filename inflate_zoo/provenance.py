"""What a conversion says of itself: its card and its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inflate_zoo.cards import render_card
from inflate_zoo.checkpoints import Checkpoint
from inflate_zoo.errors import UsageError
from inflate_zoo.files import called, lacking, read_json, sha256
from inflate_zoo.inflate import Recipe, backbone_config
from inflate_zoo.plan import Plan
from inflate_zoo.preparation import Understood
from inflate_zoo.safetensors_header import read_header
from inflate_zoo.sources import Source
from inflate_zoo.version import __version__

if TYPE_CHECKING:
    from inflate_zoo.proof import Verification

FILES = ("model.safetensors", "config.json", "README.md", "conversion.json")


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion, ready to be written."""

    source: Source
    checkpoint: Checkpoint
    understood: Understood
    recipe: Recipe
    normalization_from: str | None
    license: Mapping[str, str]  # of the source's card, or what the zoo knows of it

    @property
    def plan(self) -> Plan:
        """How the source was understood."""
        return self.understood.plan

    @property
    def notes(self) -> list[str]:
        """What a user should know, one sentence each."""
        notes = list(self.plan.notes)
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
    )
    if verification.rounding_error_over_rms is not None:
        line += f"; rounding by dtype adds {verification.rounding_error_over_rms:.1e} of the RMS"
    return line


def card_text(name: str, job: Job, verification: Verification | None) -> str:
    """The model card of a conversion; `name` is that of its folder."""
    source, recipe = job.source, job.recipe
    config = backbone_config(job.plan, recipe)
    origin = f"{source.repo} at {source.commit}" if source.repo else f"{source.name} (a local file)"
    folded = "not folded: feed the network what the source was fed"
    if recipe.normalization is not None:
        mean, std = list(recipe.normalization.mean), list(recipe.normalization.std)
        folded = f"folded into the stem (mean {mean}, std {std}): feed intensities in [0, 1]"
    dropped = job.plan.dropped
    shown = ", ".join(dropped[:6]) + (f" and {len(dropped) - 6} more" if len(dropped) > 6 else "")
    facts = [
        ("Source", origin),
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
            "revision": source.revision,
            "commit": source.commit,
            "weights": source.weights.name,
            "sha256": dict(digests),
            "license": dict(job.license) or {"license": "unknown"},
            "family": job.plan.scheme.name,
            "arch": job.understood.arch or None,
        },
        "recipe": {
            "scheme": recipe.scheme,
            "patch_depth": recipe.patch_depth,
            "volume": list(recipe.volume),
            "channels": recipe.channels,
            "dtype": recipe.dtype,
            "fold_normalization": folded is not None,
            "normalization": folded.model_dump(mode="json") if folded else None,
            "normalization_from": job.normalization_from,
        },
        "dropped": list(job.plan.dropped),
        "notes": job.notes,
        "files": {name: {"sha256": digest} for name, digest in files.items()},
        "versions": {"inflate-zoo": __version__} | {name: version(name) for name in packages},
        "verification": verification.as_dict() if verification else None,
    }


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
    record = read_json(folder / "conversion.json")
    try:
        digests = {name: entry["sha256"] for name, entry in record["files"].items()}
        complete = {"repo", "commit", "name", "arch", "family", "sha256"} <= set(record["source"])
        complete = complete and {"scheme", "volume", "dtype"} <= set(record["recipe"])
    except (KeyError, TypeError, AttributeError):
        complete, digests = False, {}
    if not complete or record.get("format_version") != 1:
        raise UsageError(
            f"'{called(folder)}': conversion.json is incomplete", hint="convert the source again"
        )
    read_header(folder / "model.safetensors")
    changed = [n for n, d in digests.items() if n in FILES and sha256(folder / n) != d]
    if changed:
        raise UsageError(
            f"files in '{called(folder)}' are not the ones that were written",
            details=changed,
            hint="convert the source again, with --force",
        )
    return record
