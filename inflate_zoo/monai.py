"""The steps of `inflate-zoo predict` as MONAI's transforms and inferer.

The bundles that `inflate-zoo export --to monai-bundle` writes name them in their configs, so their
names and arguments stay. Volumes are [channels, depth, height, width] here.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import Inferer
from monai.transforms.transform import MapTransform
from torch import Tensor

from inflate_zoo.bench.data.dicom import read_series
from inflate_zoo.bench.data.grids import Grid, to_file_grid, to_our_axes
from inflate_zoo.bench.data.preprocessing import network_input
from inflate_zoo.bench.data.resampling import restore
from inflate_zoo.bench.data.volumes import read_grid, write_like
from inflate_zoo.bench.definitions.protocols import Evaluation
from inflate_zoo.bench.definitions.tasks import Intensity, Slices, Task
from inflate_zoo.bench.prediction.images import CaseImages, check_images, find_jobs
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.errors import UsageError
from inflate_zoo.files.writing.whole_files import writing

__all__ = ["CentreSliceInferer", "PrepareImaged", "RestoreLabelsd", "SaveLabelsd", "find_images"]

_FILE = "filename_or_obj"  # MONAI's name for it
_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


def find_images(folder: str | PathLike[str], channels: int) -> list[dict[str, Any]]:
    """The cases of a folder, as a MONAI data set takes them, grouped as `predict` groups them.

    Args:
        folder: NIfTI files, `_0000`, `_0001` for channels; a DICOM series, or folders of such.
        channels: How many a case has.

    Returns:
        For each case `image`, its files in channel order, and `case`, its name.

    Raises:
        UsageError: No images, or channels missing.
    """
    jobs = find_jobs([Path(folder)], None, _task(channels=channels))
    return [{"image": [str(path) for path in job.images], "case": job.case} for job in jobs]


class PrepareImaged(MapTransform):  # type: ignore[misc]  # MONAI has no types
    """Read an image and bring it to what the network sees, as in training.

    Args:
        keys: Of the images: one file, or one for each channel.
        channels: How many a case has.
        spacing: Target (depth, height, width) in mm.
        intensity: `rule` (`window` or `percentiles`), `low` and `high`: what becomes 0 and 1.
        slices: Plane of a slice: `axial`, `coronal` or `sagittal`.
        slice_size: Side in pixels that every slice is resized to, in place of the spacing.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        channels: int,
        spacing: Sequence[float],
        intensity: Mapping[str, Any],
        slices: Slices = "axial",
        slice_size: int | None = None,
    ) -> None:
        super().__init__(keys)
        self.task = _task(channels, spacing, intensity, slices, slice_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each image by float32 [channels, depth, height, width] in [0, 1].

        Raises:
            UsageError: An image is one that `predict` refuses.
        """
        found = dict(data)
        for key in self.key_iterator(found):
            job = _job(found[key])
            _require_usable(job, self.task)
            seen = network_input(self.task, job.channels(self.task.slices), job.case)
            image = torch.from_numpy(seen.image.astype(np.float32))
            found[key] = MetaTensor(image, meta={_FILE: str(job.images[0])})
        return found


class RestoreLabelsd(MapTransform):  # type: ignore[misc]  # MONAI has no types
    """Bring class probabilities back onto the image's own grid, as label values.

    Args:
        keys: Of the probabilities, [classes, depth, height, width].
        image_key: Of the image that `PrepareImaged` made.
        values: Label value of each class.
        slices: Plane of a slice that the image was read with.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        image_key: str,
        values: Sequence[int],
        slices: Slices = "axial",
    ) -> None:
        super().__init__(keys)
        self.image_key, self.slices = image_key, slices
        self.values = np.asarray(values, np.uint8)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace probabilities by uint8 [1, x, y, z] with the image's affine."""
        found = dict(data)
        path = Path(found[self.image_key].meta[_FILE])
        grid = _grid(path, self.slices)
        for key in self.key_iterator(found):
            probabilities = torch.as_tensor(found[key]).cpu()
            classes = restore(probabilities, grid.voxels(self.slices))
            labels = np.ascontiguousarray(
                to_file_grid(self.values[classes], grid, self.slices)[None]
            )
            affine = torch.from_numpy(grid.affine)
            found[key] = MetaTensor(torch.from_numpy(labels), affine, meta={_FILE: str(path)})
        return found


class SaveLabelsd(MapTransform):  # type: ignore[misc]  # MONAI has no types
    """Write what `RestoreLabelsd` made as `predict` writes it, `<case>.nii.gz`.

    MONAI's own `SaveImaged` cannot write volumes whose axes are permuted.

    Args:
        keys: Of the labels.
        image_key: Of the image that they belong to.
        output_dir: Folder; made if need be.
        case_key: Of the case's name; without it, the name of the image's file.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        image_key: str,
        output_dir: str | PathLike[str],
        case_key: str = "case",
    ) -> None:
        super().__init__(keys)
        self.image_key, self.case_key, self.folder = image_key, case_key, Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the labels; gives the data as they were.

        Raises:
            WriteError: Disk full, read-only folder.
        """
        path = Path(data[self.image_key].meta[_FILE])
        name = str(data.get(self.case_key) or _ENDING.sub("", path.name))
        grid = _grid(path, "axial")
        for key in self.key_iterator(data):
            labels = to_our_axes(np.asarray(data[key])[0][..., None], grid, "axial")[0]
            with writing(self.folder.name):
                self.folder.mkdir(parents=True, exist_ok=True)
            write_like(self.folder / f"{name}.nii.gz", labels, grid, "axial")
        return dict(data)


class CentreSliceInferer(Inferer):  # type: ignore[misc]  # MONAI has no types
    """Run a network that tells the centre slice of each window, over all slices of a volume.

    Args:
        roi_size: The window (depth, height, width) in voxels; a slice is no larger.
        sw_batch_size: Windows at a time.
    """

    def __init__(self, roi_size: Sequence[int], sw_batch_size: int = 1) -> None:
        super().__init__()
        depth, height, width = roi_size
        self.window = depth, height, width
        self.settings = Evaluation(overlap=0.0, batch=sw_batch_size)

    def __call__(self, inputs: Tensor, network: Any, *_: Any, **__: Any) -> Tensor:
        """Logits of volumes [batch, channels, depth, height, width], on the CPU.

        Raises:
            UsageError: Slices are larger than the window.
        """
        device = next(network.parameters()).device
        see = SlidingWindowPredictor(network, self.window, self.settings, device, nullcontext)
        return torch.stack([see.logits(volume.cpu().numpy()) for volume in inputs])


def _task(
    channels: int,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    intensity: Mapping[str, Any] | None = None,
    slices: Slices = "axial",
    slice_size: int | None = None,
) -> Task:
    """What reading needs of a task; its names stand for nothing."""
    depth, height, width = spacing
    return Task(
        name="bundle",
        title="",
        modality="",
        channels=tuple(map(str, range(channels))),
        labels={"background": 0, "other": 1},
        regions={"other": (1,)},
        intensity=Intensity.model_validate(intensity or {"rule": "window", "low": 0, "high": 1}),
        spacing=(depth, height, width),
        slices=slices,
        whole_slices=slice_size is not None,
        slice_size=slice_size or 1,
    )


def _job(images: str | PathLike[str] | Sequence[str | PathLike[str]]) -> CaseImages:
    paths = [images] if isinstance(images, str | PathLike) else images
    return CaseImages(Path(paths[0]).name, tuple(map(Path, paths)), None)


def _require_usable(job: CaseImages, task: Task) -> None:
    try:
        check_images(job, task)
    except UsageError as error:
        raise UsageError(
            f"{job.case}: {error.message}", hint=error.hint or "correct it, or leave the case out"
        ) from error


def _grid(path: Path, slices: Slices) -> Grid:
    return read_series(path, slices).grid if path.is_dir() else read_grid(path)
