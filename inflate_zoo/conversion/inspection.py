"""What a source is and what a conversion would do, from headers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from shlex import quote
from typing import Any

from inflate_zoo.conversion.sources import (
    fetch_extras,
    find_source,
    locate_weights,
    open_clip_beside,
    remote_weights,
    split_revision,
    stated_license,
)
from inflate_zoo.errors import UsageError
from inflate_zoo.files.checkpoints import open_checkpoint, shard_names
from inflate_zoo.files.header import Header, TensorInfo
from inflate_zoo.files.reading import read_json
from inflate_zoo.hub import download
from inflate_zoo.hub.addresses import is_local
from inflate_zoo.inflation.recipe import (
    backbone_config,
    checked_options,
    form_with_patch,
    make_recipe,
)
from inflate_zoo.naming.configs.normalization import (
    PREPROCESSOR_CONFIG,
    PROCESSOR_CONFIG,
    Preprocessor,
    image_processor,
)
from inflate_zoo.naming.configs.open_clip import OpenClip
from inflate_zoo.naming.understanding import Understood, find_feeding, understand
from inflate_zoo.networks.base import BackboneConfig

_SMALL = ("config.json", PROCESSOR_CONFIG, PREPROCESSOR_CONFIG)
_Extras = tuple[Mapping[str, Any] | None, Preprocessor | None, OpenClip | None]


def inspect_source(
    source: str | Path,
    *,
    scheme: str | None = None,
    patch_depth: int | None = None,
    volume: Sequence[int] | None = None,
    channels: int | None = None,
    depth_window: int | None = None,
    merge_depth: bool = False,
    patch_size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    revision: str | None = None,
    family: str | None = None,
    arch: str | None = None,
    weights: str | None = None,
) -> dict[str, Any]:
    """Describe a source without reading its weights; of a Hub repo only headers are fetched.

    Args:
        source: Hub repo, folder or weight file.
        scheme: As for `convert`; likewise the arguments of the same names.
        patch_depth: In voxels.
        volume: Volume (depth, height, width) in voxels to count tokens and memory for.
        channels: Input channels.
        depth_window: As for `convert`; likewise merge_depth.
        merge_depth: Merge over depth too.
        patch_size: As for `convert`.
        spacing: Voxel size (depth, height, width) in mm; a patch depth is proposed from it.
        revision: Of a Hub repo.
        family: Family.
        arch: timm architecture of a bare file.
        weights: Which of several complete copies in a training file.

    Returns:
        Plain values for display or JSON.

    Raises:
        UsageError: The source cannot be used.
        HubError: The Hub could not be reached, or refused.
    """
    asked = partial(
        checked_options, channels=channels, dtype=None, fold_normalization=False,
        depth_window=depth_window, merge_depth=merge_depth, patch_size=patch_size,
    )  # fmt: skip
    options = asked(scheme, patch_depth, volume)
    if spacing is not None and (len(spacing) != 3 or not all(0 < mm < 1e6 for mm in spacing)):
        raise UsageError(
            "spacing is not three positive numbers",
            hint="give depth, height, width in mm, e.g. --spacing 5,0.8,0.8",
        )
    facts, header, extras, licence = _read(str(source), revision)
    config, preprocessor, open_clip = extras
    understood = understand(header, config, family, arch, weights, open_clip)
    plan = understood.plan
    inflates = plan.architecture.own_depth is None
    proposed = None
    if spacing and inflates:
        patch = form_with_patch(plan, options.patch_size).patch_size
        proposed = propose_patch_depth(patch, spacing)
    if proposed is not None and patch_depth is None and volume is None:
        options = asked(scheme, proposed, None)
    recipe, _ = make_recipe(options, understood, config, preprocessor)
    fed = find_feeding(understood, config, preprocessor)
    inflated = backbone_config(plan, recipe)
    return {
        **facts,
        "license": licence.get("license", "unknown"),
        "family": plan.family.name,
        "arch": understood.arch or None,
        "described": plan.architecture.described(),
        "native_grid": list(plan.architecture.native_grid),
        "architecture": plan.architecture.model_dump(mode="json"),
        "parameters_2d": _parameters(plan.architecture.shapes()) if inflates else None,
        "normalization": {
            **fed.normalization.model_dump(mode="json"),
            "from": fed.origin,
            "basis": fed.basis,
        },
        "taken": plan.prefix,
        "copies": list(plan.copies),
        "dropped": list(plan.dropped),
        "notes": [*plan.notes, *fed.notes],
        "proposed_patch_depth": proposed,
        "conversion": _conversion(understood, inflated, recipe.scheme),
    }


def understand_source(source: str) -> Understood:
    """What a source is, without reading its weights.

    Raises:
        UsageError: The source cannot be used.
        HubError: The Hub could not be reached, or refused.
    """
    _, header, (config, _, open_clip), _ = _read(source, None)
    return understand(header, config, None, None, None, open_clip)


def propose_patch_depth(patch: tuple[int, int], spacing: Sequence[float]) -> int:
    """Patch depth in voxels whose extent in mm is nearest to the patch's in the plane.

    Args:
        patch: In-plane patch (height, width) in voxels.
        spacing: Voxel size (depth, height, width) in mm.
    """
    plane = (patch[0] * spacing[1] + patch[1] * spacing[2]) / 2
    return max(1, round(plane / spacing[0]))


def _parameters(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(prod(shape) for shape in shapes.values())


def _conversion(
    understood: Understood, config: BackboneConfig, scheme: str | None
) -> dict[str, Any]:
    """What convert would write, and what a volume costs."""
    grid = config.grid_size
    patches = prod(grid)
    tokens = patches + config.num_prefix_tokens
    shapes = config.shapes()
    parameters = _parameters(shapes)
    widest, kept = config.memory(tokens)
    return {
        "scheme": scheme,
        "stem": list(shapes[config.stem]),
        "patch_size": list(config.patch_size),
        "volume": list(config.volume),
        "grid": list(grid),
        "prefix_tokens": config.num_prefix_tokens,
        "tokens": tokens,
        "parameters": parameters,
        "weights_bytes": parameters * 4,
        "estimated_inference_bytes": parameters * 4 + widest,
        "estimated_training_bytes": parameters * 16 + kept,
        "copied_tensors": sum(kept.role == "copy" for kept in understood.plan.kept),
    }


def _read(
    source: str, revision: str | None
) -> tuple[dict[str, Any], Header, _Extras, Mapping[str, str]]:
    """Facts of the origin, header, what the small files say, license; no weights are read."""
    if is_local(source):
        found = find_source(source, revision)
        header = open_checkpoint(found.weights, found.folder).header
        facts = {"source": found.name, "commit": None, "weights": found.weights.name}
        return facts, header, (found.config, found.preprocessor, found.open_clip), found.license
    address = split_revision(source, revision)
    place = locate_weights(address)
    weights = remote_weights(place)
    fetch_extras(place)
    index = [weights] if weights.endswith(".index.json") else []
    place.fetch(index)
    files = shard_names(read_json(place.folder / weights, "index"), weights) if index else [weights]
    if not files[0].endswith(".safetensors"):
        revised = f" --revision {quote(address.revision)}" if address.revision else ""
        folder = address.repo.split("/")[-1]
        raise UsageError(
            f"'{address.repo}' has its weights as {place.start}{weights}, whose names cannot be "
            "read without them",
            hint=f"hf download {address.repo}{revised} --local-dir {folder}, then inspect that "
            "folder",
        )
    header = {}
    for name in files:
        for tensor, (dtype, shape) in download.read_remote_header(
            place.snapshot, place.start + name
        ).items():
            header[tensor] = TensorInfo(dtype, tuple(shape))
    read = [read_json(place.folder / name) if name in place.files else None for name in _SMALL]
    name = "/".join(filter(None, (address.repo, place.inside)))
    facts = {"source": name, "commit": place.snapshot.commit, "weights": weights}
    fed, tower = image_processor(read[1], read[2]), open_clip_beside(place.folder, read[0])
    return facts, header, (read[0], fed, tower), stated_license(place)
