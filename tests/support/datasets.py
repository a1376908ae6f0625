"""Small random data sets on disk, in the Decathlon's layout and in nnU-Net's raw one."""

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

TASK04 = Path(__file__).parents[2].parent / "shared" / "data" / "Task04_Hippocampus"
ABSENT = "the Decathlon's Task04 is not beside the checkout"

LABELS = {"background": 0, "front": 1, "back": 2}
ISOTROPIC = np.diag([1.0, 1.0, 1.0, 1.0])


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray = ISOTROPIC) -> Path:
    """Write an array as it is, [x, y, z] or [x, y, z, channels]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def near_45(by: float, sizes: Sequence[float] = (1, 1, 1)) -> np.ndarray:
    """A grid turned by 45 degrees about the last axis, and by `by` radians more.

    Which of its first two axes is the nearest of right and of anterior hangs on the sign of `by`.
    """
    angle, affine = np.pi / 4 + by, np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= sizes
    affine[:3, 3] = 5, -7, 11
    return affine


def in_unit(path: Path, per_mm: float, code: int) -> Path:
    """Write a file's geometry in another unit, NIfTI's `code`, of which `per_mm` make one mm."""
    image = nib.load(path)
    affine = image.affine.copy()
    affine[:3] *= per_mm
    changed = nib.Nifti1Image(np.asarray(image.dataobj), affine)
    changed.header["xyzt_units"] = code
    nib.save(changed, path)
    return path


def random_volume(seed: int, shape: Sequence[int], channels: int) -> tuple[np.ndarray, np.ndarray]:
    """A float32 image [x, y, z, channels] and a uint8 label [x, y, z] of two touching boxes.

    The boxes are brighter than the noise around them, so that even a tiny network can learn them.
    """
    random = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    start = [int(random.integers(1, max(2, size // 4))) for size in shape]
    middle = shape[0] // 2
    stop = [max(low + 1, size - 1) for low, size in zip(start, shape, strict=True)]
    label[start[0] : middle, start[1] : stop[1], start[2] : stop[2]] = 1
    label[middle : stop[0], start[1] : stop[1], start[2] : stop[2]] = 2
    image = random.normal(100, 20, (*shape, channels)).astype(np.float32)
    image += 150 * label[..., None]
    return image, label


def write_decathlon(
    folder: Path,
    cases: int = 10,
    shape: Sequence[int] = (12, 10, 8),
    channels: Sequence[str] = ("MRI",),
    affine: np.ndarray = ISOTROPIC,
) -> Path:
    """A data set with a dataset.json; several channels make 4-D images."""
    names = [f"case_{number:02d}" for number in range(cases)]
    for number, name in enumerate(names):
        image, label = random_volume(number, shape, len(channels))
        image = image[..., 0] if len(channels) == 1 else image
        write_nifti(folder / "imagesTr" / f"{name}.nii.gz", image, affine)
        write_nifti(folder / "labelsTr" / f"{name}.nii.gz", label, affine)
    table = {
        "name": "Boxes",
        "licence": "CC0-1.0",
        "reference": "nobody",
        "modality": {str(place): name for place, name in enumerate(channels)},
        "labels": {str(value): name for name, value in LABELS.items()},
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in names
        ],
    }
    return write_table(folder, table)


def write_nnunet(
    folder: Path,
    cases: int = 10,
    shape: Sequence[int] = (12, 10, 8),
    channels: Sequence[str] = ("MRI",),
    affine: np.ndarray = ISOTROPIC,
    ending: str = ".nii.gz",
) -> Path:
    """The same volumes with one file per channel."""
    for number in range(cases):
        image, label = random_volume(number, shape, len(channels))
        name = f"case_{number:02d}"
        for channel in range(len(channels)):
            file = folder / "imagesTr" / f"{name}_{channel:04d}{ending}"
            write_nifti(file, image[..., channel], affine)
        write_nifti(folder / "labelsTr" / f"{name}{ending}", label, affine)
    table = {
        "channel_names": {str(place): name for place, name in enumerate(channels)},
        "labels": LABELS,
        "numTraining": cases,
        "file_ending": ending,
    }
    return write_table(folder, table)


def write_table(folder: Path, table: dict) -> Path:
    """Write dataset.json; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(table))
    return folder


def change_table(folder: Path, **changes: object) -> Path:
    """Replace fields of dataset.json; `None` removes one."""
    table = json.loads((folder / "dataset.json").read_text()) | changes
    return write_table(folder, {key: value for key, value in table.items() if value is not None})
