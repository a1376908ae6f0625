"""The main job: a 2D checkpoint becomes a proven folder of 3D weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from inflate_zoo.conversion.card import card_text
from inflate_zoo.conversion.record import FILES, Conversion, read_record, record_of
from inflate_zoo.conversion.sources import Source, builtin_of, find_source
from inflate_zoo.errors import CheckpointError, OutputExistsError, UsageError, VerificationError
from inflate_zoo.files.checkpoints import Checkpoint, open_checkpoint
from inflate_zoo.files.digests import Digests
from inflate_zoo.files.dtypes import ITEM_BYTES, torch_dtype_of
from inflate_zoo.files.reading import called
from inflate_zoo.files.writing.contents import json_text, write_safetensors, write_text
from inflate_zoo.files.writing.staging import check_target, staged
from inflate_zoo.inflation.recipe import Options, backbone_config, checked_options, make_recipe
from inflate_zoo.inflation.tensors import InflatedTensor, compute, outputs, stacked
from inflate_zoo.naming.configs.normalization import OPEN_CLIP_CONFIG
from inflate_zoo.naming.plan import TensorPlan
from inflate_zoo.naming.understanding import Understood, understand
from inflate_zoo.networks.config_json import fields_to_write

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.conversion.record import RecordedRecipe, Verification

ByteProgress = Callable[[int, int], None]


def convert(
    source: str | Path,
    out: str | Path | None = None,
    *,
    scheme: str | None = None,
    patch_depth: int | None = None,
    volume: Sequence[int] | None = None,
    channels: int | None = None,
    fold_normalization: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    depth_window: int | None = None,
    merge_depth: bool = False,
    patch_size: Sequence[int] | None = None,
    revision: str | None = None,
    dtype: str | None = None,
    family: str | None = None,
    arch: str | None = None,
    weights: str | None = None,
    verify: bool = True,
    force: bool = False,
) -> Path:
    """Convert a 2D vision transformer checkpoint into 3D weights, and prove the conversion.

    A source that is 3D already (Video-Swin) is taken as it is and proved likewise; what says how to
    inflate (scheme, patch_depth, channels, depth_window, merge_depth) is refused of it.

    Args:
        source: Hub repo (`org/name`, `org/name@revision`), folder, or weight file.
        out: Output folder; `<name>-3d-<scheme>` in the current one by default, `<name>-3d` of a
            source that is 3D already.
        scheme: How the stem gains depth: a name in `SCHEMES`; `center` by default.
        patch_depth: Patch size along depth in voxels; the in-plane patch size by default.
        volume: Default volume (depth, height, width) in voxels, recorded in the config; one patch
            deep at the source's own size by default, of a source that is 3D already one window.
        channels: Input channels of the 3D network; 1 by default.
        fold_normalization: Fold the source's input normalisation into the stem; the network then
            takes intensities in [0, 1].
        mean: What to fold instead of what the source states, in intensities of [0, 1]: one value
            per channel of the source, or one for all.
        std: Likewise; both or neither.
        depth_window: Depth of a network's windows, in tokens; as high as they are by default. On a
            grid that is less deep they are clipped.
        merge_depth: Merge tokens over depth too where stages follow one another; in the plane alone
            by default.
        patch_size: In-plane patch (height, width) in pixels that the stem is resized to, by the
            pseudo-inverse of resizing images; the source's by default. Tables stay on their grid of
            tokens, so the network's own image size changes with it.
        revision: Branch, tag or commit of a Hub repo.
        dtype: `float32`, `float16` or `bfloat16` for all tensors; `None` keeps the source's, and
            writes the stem in float32.
        family: Family, where it cannot be told from the source.
        arch: timm architecture of a bare file.
        weights: Which of several complete copies in a training file: the name of a wrapper, e.g.
            `teacher`, `student` or `ema`.
        verify: Compare the written network with the 2D original.
        force: Replace our own files in a folder that holds something.

    Returns:
        The output folder.

    Raises:
        UsageError: The arguments or the source cannot be used.
        HubError: The Hub could not be reached, or refused.
        WriteError: The output could not be written.
        VerificationError: The 3D network does not reproduce the 2D one; nothing is left behind.
    """
    options = checked_options(
        scheme, patch_depth, volume, channels, dtype,
        fold_normalization=fold_normalization, mean=mean, std=std,
        depth_window=depth_window, merge_depth=merge_depth, patch_size=patch_size,
    )  # fmt: skip
    request = Request(options, family, arch, weights, verify=verify, force=force)
    return convert_source(source, out, request, revision=revision)


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of a conversion, source and folder aside; the fields are those of `convert`.

    Attributes:
        options: How the source is converted, checked.
        family: Family.
        arch: timm architecture of a bare file.
        weights: Which of several complete copies.
        verify: Whether it is proven.
        force: Whether our own files are replaced.
        required: SHA-256 that model.safetensors must have: with another one nothing is left.
        license: License fields of the new card, where they are not to be the source's.
    """

    options: Options
    family: str | None = None
    arch: str | None = None
    weights: str | None = None
    verify: bool = True
    force: bool = False
    required: str | None = None
    license: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """A source that was found and understood: what is handed on is not looked for again."""

    source: Source
    checkpoint: Checkpoint
    understood: Understood
    digests: Callable[[], Mapping[str, str]]
    """SHA-256 of the source's files by name."""


def plan_source(
    found: Source,
    family: str | None,
    arch: str | None,
    weights: str | None,
    digests: Callable[[], Mapping[str, str]] | None = None,
) -> Planned:
    """Understand a source; its files are hashed meanwhile where their digests are not known.

    Raises:
        UsageError: See `understand`.
    """
    known = digests or Digests(found.files()).result
    checkpoint = open_checkpoint(found.weights, found.folder)
    understood = understand(checkpoint.header, found.config, family, arch, weights, found.open_clip)
    return Planned(found, checkpoint, understood, known)


def convert_source(
    source: str | Path | Planned,
    out: str | Path | None,
    request: Request,
    *,
    revision: str | None = None,
    progress: ByteProgress | None = None,
) -> Path:
    """`convert` with checked options; `progress` is told bytes written and bytes in all.

    A source that is planned already is taken as it is, whatever the request says of its names.
    """
    if out is not None:
        check_target(Path(out), force=request.force)
    planned = source if isinstance(source, Planned) else None
    found = find_source(str(source), revision) if planned is None else planned.source
    if out is not None and found.repo is None and Path(out).resolve() == found.folder.resolve():
        raise OutputExistsError(
            f"'{Path(out).name}' is the source's own folder", hint="choose another with --out"
        )
    if planned is None:
        planned = plan_source(found, request.family, request.arch, request.weights)
    job = _prepare(planned, request.options, request.license)
    ending = "-".join(filter(None, ("3d", job.recipe.scheme)))
    target = Path(out) if out is not None else Path(f"{found.name}-{ending}")
    check_target(target, force=request.force)
    if not job.license:
        warnings.warn(
            "the source states no license; the card says 'unknown'. Find out before you pass "
            "the weights on",
            stacklevel=3,
        )
    with staged(target, FILES, force=request.force) as stage:
        name = target.resolve().name
        made = _write(stage, name, job, planned, verify=request.verify, progress=progress)
        if request.required not in (None, made):
            raise _unexpected(found, made, request.required)
    return target


def _prepare(
    planned: Planned,
    options: Options,
    license: Mapping[str, str] | None = None,  # noqa: A002 - the card's name for it
) -> Conversion:
    source, understood = planned.source, planned.understood
    recipe, fed = make_recipe(options, understood, source.config, source.preprocessor)
    shown = source.license if license is None else license
    return Conversion(source, planned.checkpoint, understood, recipe, fed, shown)


def _write(
    stage: Path,
    name: str,
    job: Conversion,
    planned: Planned,
    *,
    verify: bool,
    progress: ByteProgress | None,
) -> str:
    """Write all files, the weights proven where asked for; returns the weights' SHA-256."""
    config = backbone_config(job.plan, job.recipe)
    made = outputs(job.plan, job.recipe)
    entries = [(output.name, output.dtype, output.shape) for output in made]
    total = sum(_bytes(output) for output in made)
    files = {
        "model.safetensors": write_safetensors(
            stage / "model.safetensors",
            entries,
            _computed(made, job),
            (lambda done: progress(done, total)) if progress else lambda _: None,
        ),
        "config.json": write_text(stage / "config.json", json_text(fields_to_write(config))),
    }
    verification = None
    if verify:
        from inflate_zoo.conversion.proof import prove, require_passed

        verification = prove(stage, job.understood, job.checkpoint, job.recipe, job.fed)
        require_passed(verification)
    card = card_text(name, job, verification)
    files["README.md"] = write_text(stage / "README.md", card)
    record = record_of(job, planned.digests(), files, verification)
    write_text(stage / "conversion.json", record.text())
    return files["model.safetensors"]


def _unexpected(source: Source, made: str, required: str | None) -> VerificationError:
    origin = source.repo or source.name
    return VerificationError(
        f"the model.safetensors made from '{origin}' is not the expected one; nothing was kept",
        details=[f"made:     SHA-256 {made}", f"expected: SHA-256 {required}"],
        hint="the source has changed, or this version converts it otherwise: "
        f"'inflate-zoo convert {origin}' takes it as it is",
    )


def _bytes(output: InflatedTensor) -> int:
    return prod(output.shape) * ITEM_BYTES[output.dtype]


def _computed(made: Sequence[InflatedTensor], job: Conversion) -> Iterator[Tensor]:
    def read(kept: TensorPlan) -> Tensor:
        joined = stacked(kept, [job.checkpoint.read(source) for source in kept.sources])
        _require_finite(joined, " + ".join(kept.sources))
        return joined

    for output in made:
        tensor = compute(output, job.recipe, read).to(torch_dtype_of(output.dtype))
        if output.dtype == "F16":  # narrowing may overflow
            _require_finite(tensor, output.name, f" after rounding to {job.recipe.dtype}")
        yield tensor


def _require_finite(tensor: Tensor, name: str, when: str = "") -> None:
    """Raise where a tensor holds NaN or infinity.

    Raises:
        CheckpointError: Names the tensor and counts.
    """
    import torch

    # A sum is cheaper than a mask and finite for every healthy tensor.
    if torch.isfinite(tensor.sum(dtype=torch.float32)):
        return
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise CheckpointError(
            f"tensor '{name}' holds {bad} values{when} that are NaN or infinite",
            hint="use another --dtype" if when else "the checkpoint is damaged; take another one",
        )


def verify(
    converted: str | Path, source: str | Path | None = None, *, revision: str | None = None
) -> Verification:
    """Prove a written conversion again.

    Args:
        converted: Folder that `convert` wrote.
        source: The 2D source; needed where it was local. By default the recorded repo and commit.
        revision: Revision of `source`, where it is a repo.

    Returns:
        What was measured; look at `passed`.

    Raises:
        UsageError: The folder is no conversion, a file differs from its recorded digest, or the
            source is not the one it was made from.
        HubError: The Hub could not be reached, or refused.
    """
    folder = Path(converted)
    record = read_record(folder)
    origin, wanted = record.source, record.recipe
    if source is None and revision is not None:
        raise UsageError(
            "the recorded commit is verified; a revision needs its repo",
            hint="add --source org/name, or leave out --revision",
        )
    if source is None:
        revision = origin.commit
        source = origin.address or builtin_of(origin.name)
    if source is None:
        raise UsageError(
            f"'{called(folder)}' was made from a local source, '{origin.name}'",
            hint=f"name it: inflate-zoo verify {quote(called(folder))} --source PATH",
        )
    found = find_source(str(source), revision)
    if OPEN_CLIP_CONFIG not in origin.sha256:  # an earlier version did not read it
        found = replace(found, open_clip=None)
    options = _recorded_options(wanted)
    is_timm_file = origin.arch and not (found.config or {}).get("architecture")
    family = None if origin.arch else origin.family
    arch, taken = origin.arch if is_timm_file else None, origin.taken
    planned = plan_source(found, family, arch, f"{taken}*" if taken is not None else None)
    job, digests = _prepare(planned, options), planned.digests()
    differing = [n for n, d in digests.items() if origin.sha256.get(n, d) != d]
    known = set(origin.sha256.values())
    if differing or not known & set(digests.values()):
        raise UsageError(
            f"'{found.name}' is not the source '{called(folder)}' was made from",
            details=[f"differs: {name}" for name in differing],
            hint="name the same files and revision the conversion records",
        )
    from inflate_zoo.conversion.proof import prove

    return prove(folder, job.understood, job.checkpoint, job.recipe, job.fed)


def _recorded_options(recipe: RecordedRecipe) -> Options:
    """What was asked for; of a source that was 3D already nothing of how to inflate."""
    inflated = recipe.scheme is not None
    return checked_options(
        recipe.scheme,
        recipe.patch_depth if inflated else None,
        recipe.volume,
        recipe.channels if inflated else None,
        recipe.dtype,
        fold_normalization=recipe.fold_normalization,
        mean=recipe.given.mean if recipe.given else None,
        std=recipe.given.std if recipe.given else None,
        depth_window=recipe.depth_window if inflated else None,
        merge_depth=recipe.merge_depth,
        patch_size=recipe.patch_size,
    )
