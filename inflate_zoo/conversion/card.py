"""The model card of a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from inflate_zoo.files.locations import data_folder
from inflate_zoo.hub.cards import front_matter_text, one_line
from inflate_zoo.inflation.recipe import Recipe, backbone_config
from inflate_zoo.naming.configs.normalization import Basis
from inflate_zoo.naming.towers import counted, left_out
from inflate_zoo.networks.base import BackboneConfig

if TYPE_CHECKING:
    from inflate_zoo.conversion.record import Conversion, Verification


_FOUND: Mapping[Basis, str] = MappingProxyType(
    {"stated": "stated by the source", "given": "given by the user", "guessed": "GUESSED"}
)
_INFLATED = (
    """\
A 3D vision transformer made from a pre-trained 2D one by weight inflation. No training was done:
every weight is the source's, spread or placed along depth.""",
    """\
Method: Zhang et al., "Adapting Pre-trained Vision Transformers from 2D to 3D through Weight
Inflation Improves Medical Image Segmentation", ML4H 2022, arXiv 2302.04303.""",
)
_AS_IT_IS = (
    """\
A 3D vision transformer, pre-trained as one: every weight is the source's, under the names that
inflate-zoo loads. Nothing was inflated, and no training was done.""",
    """\
Network: Liu et al., "Video Swin Transformer", CVPR 2022, arXiv 2106.13230.""",
)


def render_card(
    name: str,
    license_fields: Mapping[str, str],
    base_model: str | None,
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str],
    load_from: str,
    volume_shape: Sequence[int],
    *,
    inflated: bool,
) -> str:
    """The card of a conversion.

    Args:
        name: Name of the output folder.
        license_fields: From the source's card; empty means unknown.
        base_model: Hub repo of the source, or `None`.
        facts: Rows of the card's table.
        notes: What a user should know, one sentence each.
        load_from: What the snippet loads.
        volume_shape: Shape of the snippet's random volume.
        inflated: Whether the source was 2D.

    Returns:
        The whole README.md.
    """
    fields: dict[str, Any] = {}
    if base_model:
        fields |= {"base_model": base_model, "base_model_relation": "finetune"}
    fields |= license_fields or {"license": "unknown"}
    fields |= {
        "library_name": "inflate-zoo",
        "pipeline_tag": "image-feature-extraction",
        "tags": [*(["inflated", "2d-to-3d"] if inflated else []), "3d", "vision-transformer"],
    }
    template = Template((data_folder("model_cards") / "template.md").read_text(encoding="utf-8"))
    origin, method = _INFLATED if inflated else _AS_IT_IS
    body = template.substitute(
        origin=origin,
        method=method,
        name=one_line(name),
        facts="\n".join(f"| {one_line(key)} | {one_line(value)} |" for key, value in facts),
        notes="\n".join(f"- {one_line(note)}" for note in notes),
        load_from="".join(c for c in Path(load_from).name if c.isprintable() and c not in '"\\'),
        shape=", ".join(map(str, volume_shape)),
    )
    return front_matter_text(fields) + "\n" + body


def _geometry(recipe: Recipe, config: BackboneConfig) -> str:
    size = "x".join(map(str, recipe.volume))
    return f"{config.geometry()}, default volume {size} voxels, {recipe.channels} input channel(s)"


def _proof_line(verification: Verification | None) -> str:
    if verification is None:
        return "not verified (--no-verify)"
    line = (
        f"greatest absolute error {verification.max_error_over_rms:.1e} of the reference's RMS "
        f"(tolerance {verification.tolerance:.0e}), against {verification.reference}"
        f"{verification.feeding}"
    )
    if verification.rounding_error_over_rms is not None:
        line += f"; rounding by dtype adds {verification.rounding_error_over_rms:.1e} of the RMS"
    return line


def card_text(name: str, job: Conversion, verification: Verification | None) -> str:
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
        ("Naming scheme", f"{job.plan.family.name}: {job.plan.family.summary}"),
        ("Scheme", recipe.scheme or "none: the source is 3D already and was taken as it is"),
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
    inflated = recipe.scheme is not None
    return render_card(name, job.license, source.repo, facts, notes, name, shape, inflated=inflated)
