"""The slice of every test case that a report shows, with its reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inflate_zoo.bench.data.cases import CachedCase
from inflate_zoo.bench.definitions.results import CaseScores, Overlay
from inflate_zoo.errors import UsageError
from inflate_zoo.files.foreign import parsing, reason_of
from inflate_zoo.files.reading import reading
from inflate_zoo.files.writing.contents import replace_tensors

_MOST_PIXELS = 256  # of a side of a slice in `overlays.safetensors`
AGAIN = "remove the trial's folder 'cases', then run the same command again"


def spoilt(name: str, error: Exception) -> UsageError:
    """The error of a case's file that cannot be read back."""
    return UsageError(f"cases/{name} is damaged: {reason_of(error)}", hint=AGAIN)


def keep_slice(case: CachedCase, reference: np.ndarray, found: np.ndarray, path: Path) -> int:
    """Keep the slice with the largest reference for the report, in square pixels.

    Returns:
        Its number.
    """
    chosen = int((reference > 0).sum(axis=(1, 2)).argmax())
    # The image is kept at the target spacing alone: the slice at the same height of the volume.
    depth = case.image.shape[1]
    near = min(depth - 1, int((chosen + 0.5) * depth / reference.shape[0]))
    finest = min(case.spacing[1:])
    square = [
        max(1, round(extent * mm / finest))
        for extent, mm in zip(reference.shape[1:], case.spacing[1:], strict=True)
    ]

    def stretched(plane: np.ndarray, mode: str) -> Tensor:
        values = torch.from_numpy(np.asarray(plane, dtype=np.float32))[None, None]
        return torch.nn.functional.interpolate(values, square, mode=mode)[0, 0]

    tensors = {
        "image": (stretched(case.image[0, near], "bilinear").clamp(0, 1) * 255).to(torch.uint8),
        "reference": stretched(reference[chosen], "nearest-exact").to(torch.uint8),
        "prediction": stretched(found[chosen], "nearest-exact").to(torch.uint8),
    }
    replace_tensors(path, tensors, "{}")
    return chosen


def keep_overlays(folder: Path, cases: Sequence[CaseScores]) -> None:
    """Put the slices of all cases that have a Dice into `overlays.safetensors`.

    All of them, as only a report that knows every arm can choose the cases to show.
    """
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    state = {}
    for index, case in enumerate(cases):
        if case.mean_dice is None:
            continue
        path = folder / "cases" / f"{index:04d}.safetensors"
        with reading(path), parsing(partial(spoilt, path.name)):
            kept = load_file(path)
        tensors |= {f"{index:04d}.{name}": _thinned(plane) for name, plane in kept.items()}
        said = Overlay(case=case.case, dice=case.mean_dice, slice=case.slice)
        state[f"{index:04d}"] = said.model_dump(mode="json")
    if not state:
        return
    path = folder / "overlays.safetensors"
    replace_tensors(path, tensors, json.dumps(state, sort_keys=True), durable=True)


def _thinned(plane: Tensor) -> Tensor:
    """At most so many pixels of a side as a report shows."""
    step = -(-max(plane.shape) // _MOST_PIXELS)
    return plane[::step, ::step].contiguous()
