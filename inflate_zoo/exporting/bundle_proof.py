"""A written MONAI bundle beside `predict`: the same image, the same labels."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from inflate_zoo.bench.data.grids import PLANES, to_file_grid
from inflate_zoo.bench.data.resampling import restore
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.definitions.trials import window_of
from inflate_zoo.bench.prediction.ensemble import Ensemble
from inflate_zoo.bench.prediction.images import CaseImages
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.errors import VerificationError
from inflate_zoo.exporting.bundle_files import INFERENCE, METADATA
from inflate_zoo.exporting.proving import apart
from inflate_zoo.exporting.record import TOLERANCE
from inflate_zoo.files.foreign import parsing, quiet, reason_of

# Of the file's own axes (x, y, z) in RAS: swapped and mirrored.
_TURN = np.array([[0, -1.0, 0], [0, 0, 1.0], [-1.0, 0, 0]])
_OTHER_SPACING = 0.9  # of the task's


def compare(folder: Path, trial: TrialFolder) -> float:
    """Segment a random image by a bundle's configs and by `predict`.

    Args:
        folder: The bundle.
        trial: It was made of.

    Returns:
        Greatest difference of the class probabilities over their root mean square.

    Raises:
        VerificationError: A voxel gets another label, though they are within the tolerance.
    """
    task = trial.spec.task
    # MONAI warns that configs run as code: these were written a moment before.
    with tempfile.TemporaryDirectory() as scratch, quiet():
        image = random_image(task, window_of(trial.spec), Path(scratch) / "images")
        ours = Ensemble([trial], Resources("cpu"), mirror=False)
        expected, grid = ours.probabilities(CaseImages("image", tuple(image), None))
        got, labels = run_bundle(folder, image, Path(scratch) / "labels")
    if (error := apart(got, expected)) > TOLERANCE:
        return error
    classes = restore(expected, grid.voxels(task.slices))
    own = to_file_grid(np.asarray(task.values, np.uint8)[classes], grid, task.slices)
    differing = int((labels != own).sum()) if labels.shape == own.shape else own.size
    if differing:
        raise VerificationError(
            f"the written bundle gives {differing} of {own.size} voxels another label than "
            "'predict'",
            hint="nothing was kept; please report the network and versions of the libraries",
        )
    return error


def run_bundle(folder: Path, image: Sequence[Path], out: Path) -> tuple[torch.Tensor, NDArray[Any]]:
    """Segment one image by a bundle's own config, on the CPU.

    Returns:
        Class probabilities [classes, depth, height, width] as the network sees the image, and the
        labels [x, y, z] that the bundle wrote.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(folder / INFERENCE))
    parser.read_meta(str(folder / METADATA))
    changes = {"bundle_root": str(folder), "output_dir": str(out), "device": "cpu"}
    parser.update(changes)
    network = parser.get_parsed_content("network").eval()
    inferer, before, after = (
        parser.get_parsed_content(name) for name in ("inferer", "preprocessing", "postprocessing")
    )
    item = before({"image": [str(path) for path in image]})
    with torch.inference_mode():
        logits = inferer(item["image"].unsqueeze(0), network)[0]
        after({**item, "pred": logits})
    (written,) = out.iterdir()
    with parsing(_unread):
        labels = np.asarray(nib.load(written).dataobj)
    return torch.softmax(torch.as_tensor(logits), 0), labels


def _unread(error: Exception) -> VerificationError:
    return VerificationError(
        f"what the bundle wrote cannot be read: {reason_of(error)}",
        hint="nothing was kept; please report it with the versions of the libraries",
    )


def random_image(task: Task, window: tuple[int, int, int], folder: Path) -> list[Path]:
    """Files of a random image, one for each channel, somewhat deeper than the window.

    Its axes are swapped and mirrored, and its spacing is another than the task's.
    """
    depth, height, width = window
    wanted = (3 if task.whole_slices else depth + max(1, depth // 4), height, width)
    shape = [round(size / _OTHER_SPACING) + 1 for size in wanted]
    affine = np.eye(4)
    spacing, voxels = [0.0] * 3, [0] * 3
    for place, size, own in zip(PLANES[task.slices], shape, task.spacing, strict=True):
        spacing[place], voxels[place] = own * _OTHER_SPACING, size
    order = np.abs(_TURN).argmax(axis=0)
    affine[:3, :3] = _TURN * np.array([spacing[axis] for axis in order])
    affine[:3, 3] = (5, -7, 3)
    rng = np.random.default_rng(0)
    low, high = (task.intensity.low, task.intensity.high)
    if task.intensity.rule == "percentiles":
        low, high = 0.0, 1000.0
    folder.mkdir()
    paths = []
    for channel in range(len(task.channels)):
        array = rng.uniform(low, high, [voxels[axis] for axis in order]).astype(np.float32)
        paths.append(folder / f"image_{channel:04d}.nii.gz")
        nib.save(nib.Nifti1Image(array, affine), paths[-1])
    return paths
