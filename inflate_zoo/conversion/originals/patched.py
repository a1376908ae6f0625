"""The 2D original behind a stem of another patch, which timm resizes, for the proof."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from math import prod
from typing import TYPE_CHECKING, Any

from inflate_zoo.conversion.originals.original import original_of
from inflate_zoo.files.header import Header, TensorInfo
from inflate_zoo.inflation.tensors import stacked

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.conversion.originals.references import Reference
    from inflate_zoo.files.checkpoints import Checkpoint
    from inflate_zoo.naming.plan import TensorPlan
    from inflate_zoo.naming.understanding import Understood


def original_with_patch(
    understood: Understood, checkpoint: Checkpoint, patch: tuple[int, int], grid: tuple[int, int]
) -> Reference:
    """`original_of` a source as it were had its stem another patch.

    Args:
        understood: The source, understood.
        checkpoint: The source's tensors.
        patch: Height and width, in pixels.
        grid: Token grid (height, width).
    """
    (stem,) = (kept for kept in understood.plan.kept if kept.role == "stem_kernel")
    held = _Patched(checkpoint, stem, patch)
    original = original_of(_told(understood, stem, patch), held, grid)
    by = f"{original.built_by}, its stem resized by timm {version('timm')} resample_patch_embed"
    return replace(original, built_by=by)


class _Patched:
    """A checkpoint, the kernel of its stem resized by timm."""

    def __init__(self, checkpoint: Checkpoint, stem: TensorPlan, patch: tuple[int, int]) -> None:
        self._checkpoint, self._stem, self._patch = checkpoint, stem, patch
        (self._name,) = stem.sources
        shape = (*stem.shape[:2], *patch)
        self._matrix = len(checkpoint.header[self._name].shape) == 2
        info = TensorInfo("F32", (shape[0], prod(shape[1:])) if self._matrix else shape)
        self.header: Header = {**checkpoint.header, self._name: info}

    def read(self, name: str) -> Tensor:
        """One tensor: the stem's kernel resized by timm, all others as stored."""
        from timm.layers import resample_patch_embed

        found = self._checkpoint.read(name)
        if name != self._name:
            return found
        kernel = stacked(self._stem, [found.float()])
        resized: Tensor = resample_patch_embed(kernel, list(self._patch))
        if self._stem.channels_last:
            resized = resized.permute(0, 2, 3, 1)
        return resized.flatten(1) if self._matrix else resized


def _told(understood: Understood, stem: TensorPlan, patch: tuple[int, int]) -> Understood:
    """The source with the patch in its plan and in what its library is told."""
    plan = understood.plan
    resized = replace(stem, shape=(*stem.shape[:2], *patch), dtype="F32")
    kept = tuple(resized if each is stem else each for each in plan.kept)
    changed = replace(plan, architecture=plan.architecture.with_patch(patch), kept=kept)
    raw, arguments = dict(understood.raw), dict(understood.arguments)
    if plan.family.library == "transformers":
        own = plan.architecture.patch_size
        for field in ("patch_size", "image_size", "table_size"):  # in pixels
            entry = plan.family.config.get(field)
            if entry is None or entry.path is None:
                continue
            if (size := raw.get(entry.path, entry.default)) is not None:
                raw[entry.path] = _resized(size, own, patch)
    if plan.family.library == "timm":
        arguments["patch_size"] = patch
    return replace(understood, plan=changed, raw=raw, arguments=arguments)


def _resized(size: Any, old: tuple[int, int], new: tuple[int, int]) -> int | list[int]:
    """A size of a config, one number or two, of as many patches as it was."""
    sides = size if isinstance(size, list | tuple) else (size, size)
    height, width = (n // p * q for n, p, q in zip(sides, old, new, strict=True))
    return height if height == width else [height, width]
