"""Scoring a trained network: sliding windows, the original grid, every case kept as it is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from inflate_zoo.bench.atomic import replace_tensors
from inflate_zoo.bench.augmentation import crop
from inflate_zoo.bench.cache import CachedCase, open_case
from inflate_zoo.bench.metrics import case_scores
from inflate_zoo.bench.preprocessing import restore
from inflate_zoo.bench.protocols import Evaluation, Voxels
from inflate_zoo.bench.tasks import Task
from inflate_zoo.budgets import JSON_BYTES
from inflate_zoo.errors import UsageError
from inflate_zoo.files import read_bytes, read_json, reading
from inflate_zoo.foreign import json_form, parsing, reason_of
from inflate_zoo.safetensors_header import read_header
from inflate_zoo.segmentation import Segmenter
from inflate_zoo.trial_records import CaseScores
from inflate_zoo.whole_files import replace_text
from inflate_zoo.writing import json_text

_SLAB = 2**20  # voxels; a multiple of any vector width, or slabs would round unlike the whole

_AGAIN = "remove the trial's folder 'cases', then run the same command again"


@dataclass(frozen=True, slots=True)
class Seer:
    """A network with all that turns a volume into probabilities.

    Attributes:
        network: The segmenter, on `device`.
        window: Voxels (depth, height, width).
        settings: Overlap and windows at a time.
        device: Where the network is.
        autocast: Context of the precision it was trained in.
    """

    network: Segmenter
    window: Voxels
    settings: Evaluation
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]

    def probabilities(self, image: np.ndarray) -> Tensor:
        """Class probabilities of a volume, by sliding windows with Gaussian weights.

        Where a window tells its centre slice alone, each slice is the centre of one.

        The device holds a batch of windows and nothing that grows with the volume. Where it has no
        room for the batch, half as many windows are taken at a time.

        Args:
            image: Shape [channels, depth, height, width], in [0, 1].

        Returns:
            Shape [classes, depth, height, width], float32, on the CPU.

        Raises:
            torch.OutOfMemoryError: Not even one window fits on the device.
        """
        self.network.eval()
        volume = torch.from_numpy(np.asarray(image, dtype=np.float32)).unsqueeze(0)
        at_once = self.settings.batch
        while (logits := self._attempt(volume, at_once)) is None:
            # Not where the error is caught: until then it holds what did not fit.
            at_once //= 2
            torch.cuda.empty_cache()
        return _softmax(logits)

    def _attempt(self, volume: Tensor, at_once: int) -> Tensor | None:
        """Logits on the CPU, or `None` where the device does not hold so many windows at once."""
        from monai.inferers import sliding_window_inference

        try:
            with torch.inference_mode(), self.autocast():
                if self.network.centre_slice:
                    return self._by_slices(volume[0], at_once)
                logits = sliding_window_inference(
                    volume,
                    self.window,
                    at_once,
                    lambda windows: self.network(windows).float(),
                    overlap=self.settings.overlap,
                    mode="gaussian",
                    sw_device=self.device,
                    device="cpu",
                )
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
            return None
        return cast("Tensor", logits)[0]

    def _by_slices(self, volume: Tensor, at_once: int) -> Tensor:
        """Logits of whole slices [channels, depth, height, width], outer slices repeated."""
        depth, image = volume.shape[1], volume.numpy()
        size = self.window
        # Patches may reach beyond the slice; what they say of there is cut off.
        top, left = ((own - wide) // 2 for own, wide in zip(image.shape[2:], size[1:], strict=True))
        inner = [slice(-at, own - at) for at, own in zip((top, left), image.shape[2:], strict=True)]
        found: Tensor | None = None
        for first in range(0, depth, at_once):
            corners = [(z - size[0] // 2, top, left) for z in range(first, depth)[:at_once]]
            windows = np.stack([crop(image, corner, size, repeat=True) for corner in corners])
            logits = self.network(torch.from_numpy(windows).to(self.device)).float()
            part = logits[:, :, 0, *inner].cpu()
            if found is None:
                found = part.new_empty(part.shape[1], depth, *part.shape[2:])
            found[:, first : first + len(corners)] = part.transpose(0, 1)
        if found is None:
            raise ValueError("a volume without slices")
        return found


def _softmax(logits: Tensor) -> Tensor:
    """Class probabilities in the memory of the logits: of a whole CT these are gigabytes.

    Args:
        logits: Shape [classes, depth, height, width]; overwritten.
    """
    with torch.inference_mode():
        flat = logits.flatten(1)  # a copy where windows reached beyond the volume
        for part in torch.split(flat, _SLAB, dim=1):
            part.copy_(torch.softmax(part, dim=0))
        return flat.view(logits.shape)


def class_regions(task: Task) -> dict[str, tuple[int, ...]]:
    """Regions in class indices instead of label values."""
    place = {value: index for index, value in enumerate(task.values)}
    return {
        name: tuple(place[value] for value in members) for name, members in task.regions.items()
    }


def validation_dice(seer: Seer, cases: list[CachedCase], task: Task) -> float | None:
    """Mean Dice over cases and regions on the target grid; `None` if no region occurs."""
    values = []
    for case in cases:
        found = restore(seer.probabilities(case.image), case.label.shape)
        for members in class_regions(task).values():
            wanted, got = np.isin(case.label, members), np.isin(found, members)
            if wanted.any():
                values.append(2 * int((wanted & got).sum()) / int(wanted.sum() + got.sum()))
    return float(np.mean(values)) if values else None


def score_case(
    seer: Seer, case: CachedCase, task: Task, folder: Path, index: int
) -> dict[str, Any]:
    """Score one case on its original grid, or read what an earlier attempt found.

    Args:
        seer: The network.
        case: The case.
        task: The task.
        folder: The trial's folder; `cases/<index>.json` and `.safetensors` are kept there.
        index: The case's number.

    Returns:
        `{"case": name, "regions": {region: {metric: value}}}`.
    """
    path = folder / "cases" / f"{index:04d}.json"
    if (kept := _kept(path, case.name)) is not None:
        return kept
    path.parent.mkdir(exist_ok=True)
    reference = np.asarray(case.reference)
    found = restore(seer.probabilities(case.image), reference.shape)
    regions = case_scores(
        found, reference, case.spacing, class_regions(task), task.surface_tolerance_mm
    )
    scored = {"case": case.name, "regions": regions}
    state = _overlay(case, reference, found, path.with_suffix(".safetensors"))
    dice = [values["dice"] for values in regions.values() if values["dice"] is not None]
    replace_text(
        path,
        json_text({**scored, "mean_dice": float(np.mean(dice)) if dice else None, "slice": state}),
    )
    return dict(read_json(path, "record"))


def _kept(path: Path, case: str) -> dict[str, Any] | None:
    """What an earlier attempt found, where both of its files are whole and of this case."""
    with suppress(UsageError):
        content = read_bytes(path, JSON_BYTES["record"], _AGAIN)
        scored = json_form(CaseScores, content, partial(_spoilt, path.name))
        read_header(path.with_suffix(".safetensors"))
        return scored.model_dump(mode="json") if scored.case == case else None
    return None


def _spoilt(name: str, error: Exception) -> UsageError:
    return UsageError(f"cases/{name} is damaged: {reason_of(error)}", hint=_AGAIN)


def _overlay(case: CachedCase, reference: np.ndarray, found: np.ndarray, path: Path) -> int:
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


def keep_overlays(folder: Path, cases: list[dict[str, Any]]) -> None:
    """Put the slices of the best, the median and the worst case into `overlays.safetensors`."""
    from safetensors.torch import load_file

    ranked = sorted(
        (case["mean_dice"], index)
        for index, case in enumerate(cases)
        if case["mean_dice"] is not None
    )
    if not ranked:
        return
    chosen = {"best": ranked[-1], "median": ranked[len(ranked) // 2], "worst": ranked[0]}
    tensors: dict[str, Tensor] = {}
    state = {}
    for kind, (dice, index) in chosen.items():
        path = folder / "cases" / f"{index:04d}.safetensors"
        with reading(path), parsing(partial(_spoilt, path.name)):
            tensors |= {f"{kind}.{name}": tensor for name, tensor in load_file(path).items()}
        case = cases[index]
        state[kind] = {"case": case["case"], "dice": dice, "slice": case["slice"]}
    path = folder / "overlays.safetensors"
    replace_tensors(path, tensors, json.dumps(state, sort_keys=True), durable=True)


def evaluate(
    seer: Seer,
    task: Task,
    cases: list[tuple[str, str]],
    cache: Path,
    folder: Path,
    progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """Score every test case.

    Args:
        seer: The network.
        task: The task.
        cases: Name and cache key of each.
        cache: Cache folder.
        folder: The trial's folder.
        progress: Told cases done and cases in all.

    Returns:
        What `score_case` gives, in the order of `cases`.
    """
    scored = []
    for index, (_, key) in enumerate(cases):
        scored.append(score_case(seer, open_case(cache, key), task, folder, index))
        progress(index + 1, len(cases))
    keep_overlays(folder, scored)
    return scored
