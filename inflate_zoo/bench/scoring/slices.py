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
    """Put the slices of the best, the median and the worst case into `overlays.safetensors`."""
    from safetensors.torch import load_file

    ranked = sorted(
        (case.mean_dice, index) for index, case in enumerate(cases) if case.mean_dice is not None
    )
    if not ranked:
        return
    chosen = {"best": ranked[-1], "median": ranked[len(ranked) // 2], "worst": ranked[0]}
    tensors: dict[str, Tensor] = {}
    state = {}
    for kind, (dice, index) in chosen.items():
        path = folder / "cases" / f"{index:04d}.safetensors"
        with reading(path), parsing(partial(spoilt, path.name)):
            tensors |= {f"{kind}.{name}": tensor for name, tensor in load_file(path).items()}
        said = Overlay(case=cases[index].case, dice=dice, slice=cases[index].slice)
        state[kind] = said.model_dump(mode="json")
    path = folder / "overlays.safetensors"
    replace_tensors(path, tensors, json.dumps(state, sort_keys=True), durable=True)
