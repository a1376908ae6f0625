"""Stand-ins for published data sets: random volumes with their channels, labels and spacings.

Every label is an ellipsoid with an intensity of its own. They have no anatomy, so no score on them
says anything about the real data.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.files.locations import data_folder

CASES = 10
# Voxels (x, y, z) of the stand-in; spacing of a typical file (x, y, z) in mm; x, y, z of one.
GEOMETRY = {
    "msd-task01": ((64, 64, 48), (1.0, 1.0, 1.0), (240, 240, 155)),
    "msd-task02": ((64, 64, 40), (1.25, 1.25, 1.37), (320, 320, 115)),
    "msd-task03": ((64, 64, 48), (0.77, 0.77, 1.0), (512, 512, 432)),
    "msd-task04": ((35, 50, 36), (1.0, 1.0, 1.0), (35, 50, 36)),
    "msd-task05": ((64, 64, 20), (0.62, 0.62, 3.6), (320, 320, 20)),
    "msd-task06": ((64, 64, 40), (0.79, 0.79, 1.24), (512, 512, 252)),
    "msd-task07": ((64, 64, 32), (0.8, 0.8, 2.5), (512, 512, 93)),
    "msd-task08": ((64, 64, 24), (0.8, 0.8, 5.0), (512, 512, 49)),
    "msd-task09": ((64, 64, 24), (0.79, 0.79, 5.0), (512, 512, 90)),
    "msd-task10": ((64, 64, 24), (0.78, 0.78, 5.0), (512, 512, 95)),
    "btcv": ((64, 64, 40), (0.76, 0.76, 3.0), (512, 512, 148)),
    "acdc": ((64, 64, 10), (1.5, 1.5, 10.0), (216, 256, 10)),
}


@dataclass(frozen=True)
class StandIn:
    """A data set on disk and the task it stands in for, as a file.

    Attributes:
        folder: The data set.
        task: The bundled definition without what only the real cases fulfil.
    """

    folder: Path
    task: Path


def write_standin(
    folder: Path,
    name: str,
    *,
    cases: int = CASES,
    true_shape: bool = False,
    slice_size: int | None = None,
) -> StandIn:
    """Write a stand-in.

    Args:
        folder: Made; gets `data` and `<name>.toml`.
        name: A bundled task.
        cases: How many.
        true_shape: Volumes as large as the real ones.
        slice_size: Side of whole slices; the task's own by default.

    Returns:
        Where it is.
    """
    task = load_task(name)
    small, spacing, large = GEOMETRY[name]
    data = folder / "data"
    written = {"acdc": _acdc, "btcv": _btcv}.get(name, _decathlon)
    written(data, task, cases, large if true_shape else small, spacing)
    text = (data_folder("benchmarks/tasks") / f"{name}.toml").read_text(encoding="utf-8")
    real = ("cases =", "digest =", "first =")
    own = folder / f"{name}.toml"
    lines = [line for line in text.splitlines() if not line.startswith(real)]
    if slice_size is not None:
        lines = [
            f"slice_size = {slice_size}" if line.startswith("slice_size") else line
            for line in lines
        ]
    own.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return StandIn(data, own)


def volume(task: Task, shape, seed):
    """Label [x, y, z] in uint8 and image [x, y, z, channels] in float32."""
    random = np.random.default_rng(seed)
    axes = np.ogrid[tuple(slice(extent) for extent in shape)]
    label = np.zeros(shape, np.uint8)
    for value in task.values[1:]:
        middle = [random.uniform(0.3, 0.7) * extent for extent in shape]
        radius = [random.uniform(0.1, 0.2) * extent + 1 for extent in shape]
        terms = zip(axes, middle, radius, strict=True)
        inside = sum(((axis - at) / r) ** 2 for axis, at, r in terms) < 1
        label[inside] = value
    levels = random.uniform(-150, 200, (len(task.channels), len(task.values)))
    if task.modality != "CT":
        levels = levels + 200
    places = np.zeros(256, int)
    places[list(task.values)] = range(len(task.values))
    noise = random.standard_normal((*shape, len(task.channels)), dtype=np.float32)
    return label, (levels.T[places[label]] + 20 * noise).astype(np.float32)


def _save(path: Path, array, spacing):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    whole = np.round(array).astype(np.int16) if array.dtype.kind == "f" else array
    nibabel.save(nibabel.Nifti1Image(whole, affine), path)


def _decathlon(data: Path, task: Task, cases, shape, spacing):
    entries = []
    for number in range(cases):
        label, image = volume(task, shape, number)
        name = f"case_{number:03d}.nii.gz"
        _save(data / "imagesTr" / name, image if image.shape[3] > 1 else image[..., 0], spacing)
        _save(data / "labelsTr" / name, label, spacing)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    table = {
        "name": f"stand-in for {task.title}",
        "modality": {str(place): channel for place, channel in enumerate(task.channels)},
        "labels": {str(value): name for name, value in task.labels.items()},
        "numTraining": cases,
        "training": entries,
    }
    (data / "dataset.json").write_text(json.dumps(table))


def _btcv(data: Path, task: Task, cases, shape, spacing):
    for number in [*range(1, 11), *range(21, 41)][:cases]:
        label, image = volume(task, shape, number)
        _save(data / "RawData/Training/img" / f"img{number:04d}.nii.gz", image[..., 0], spacing)
        _save(data / "RawData/Training/label" / f"label{number:04d}.nii.gz", label, spacing)


def _acdc(data: Path, task: Task, cases, shape, spacing):
    for patient in range(1, cases + 1):
        for frame in (1, 9):
            label, image = volume(task, shape, 100 * patient + frame)
            name = f"patient{patient:03d}_frame{frame:02d}"
            home = data / "database" / "training" / f"patient{patient:03d}"
            _save(home / f"{name}.nii.gz", image[..., 0], spacing)
            _save(home / f"{name}_gt.nii.gz", label, spacing)
