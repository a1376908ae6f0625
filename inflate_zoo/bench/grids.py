"""Where a NIfTI file's voxels lie: checked geometry, and the way to and from our axes.

A file's own axes are (x, y, z) in any order and direction. They are turned to RAS by flips and
permutations alone, then put in (depth, height, width) order as the plane of the slices wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from numpy.typing import NDArray

from inflate_zoo.bench.tasks import Millimetres, Slices
from inflate_zoo.errors import UsageError
from inflate_zoo.foreign import parsing, reason_of

MOST_VOXELS = 2**33
_SPACINGS = (1e-3, 1e3)  # mm
# RAS axes in (depth, height, width) order.
PLANES: dict[Slices, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}


@dataclass(frozen=True, eq=False)
class Grid:
    """A file without its voxels.

    Attributes:
        name: Folder and file name, for messages.
        header: nibabel's header.
        affine: Voxel to world (RAS, mm), float64 [4, 4].
        shape: Voxels along the file's own axes.
        channels: 1, or the length of the fourth dimension.
    """

    name: str
    header: Any
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    channels: int

    @property
    def spacing_ras(self) -> Millimetres:
        """Voxel size in mm along right, anterior, superior."""
        sizes = np.linalg.norm(self.affine[:3, :3], axis=0)
        x, y, z = (float(sizes[axis]) for axis in np.argsort(io_orientation(self.affine)[:, 0]))
        return x, y, z

    def spacing(self, slices: Slices) -> Millimetres:
        """Voxel size in mm in (depth, height, width) order."""
        ras = self.spacing_ras
        depth, height, width = PLANES[slices]
        return ras[depth], ras[height], ras[width]


def short_name(path: Path) -> str:
    """Folder and file name: an image and its label often share the latter."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def damaged(path: Path, what: str, hint: str = "download or copy the file again") -> UsageError:
    """An error that names the file, what is wrong with it and what to do."""
    return UsageError(f"'{short_name(path)}' {what}", hint=hint)


def checked_grid(path: Path, header: Any) -> Grid:
    """Refuse a header that no honest file has."""
    ndim = int(header["dim"][0])
    dims = [int(size) for size in header["dim"][1 : ndim + 1]] if 1 <= ndim <= 7 else []
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) not in (3, 4) or min(dims) < 1:
        raise damaged(path, f"has the shape {tuple(dims)}", "3-D, or 4-D with channels, is needed")
    if prod(dims) > MOST_VOXELS:
        raise damaged(path, f"claims {prod(dims):,} voxels: its header is damaged")
    with parsing(lambda error: damaged(path, f"has a damaged header: {reason_of(error)}")):
        dtype = header.get_data_dtype()
        header.get_slope_inter()
        affine = np.asarray(header.get_best_affine(), np.float64)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise damaged(path, f"holds {dtype} voxels", "real numbers of up to 64 bits are needed")
    _check_spacing(path, header, affine)
    return Grid(
        name=short_name(path),
        header=header,
        affine=affine,
        shape=(dims[0], dims[1], dims[2]),
        channels=dims[3] if len(dims) == 4 else 1,
    )


def _check_spacing(path: Path, header: Any, affine: NDArray[np.float64]) -> None:
    hint = "write the file again with its true geometry"
    low, high = _SPACINGS
    axes = affine[:3, :3]
    for where, sizes in (
        ("header", np.abs(header["pixdim"][1:4])),
        ("affine", np.linalg.norm(axes, axis=0)),
    ):
        if not np.all((sizes >= low) & (sizes <= high)):
            shown = " x ".join(f"{size:g}" for size in sizes)
            raise damaged(path, f"has a spacing of {shown} mm in its {where}", hint)
    volume = float(np.prod(np.linalg.norm(axes, axis=0)))
    if not np.isfinite(affine).all() or abs(np.linalg.det(axes)) < 1e-3 * volume:
        raise damaged(path, "has an affine that cannot be inverted", hint)


def grid_difference(label: Grid, image: Grid) -> str | None:
    """How a label's grid differs from its image's: shape, spacing or place; `None` if it does not.

    Corners of the volume may lie up to a tenth of a voxel apart: headers round.
    """
    if label.shape != image.shape:
        return f"is {_times(label.shape)} voxels, its image {_times(image.shape)}"
    ours, theirs = (np.array(grid.spacing_ras) for grid in (label, image))
    if np.any(np.abs(ours - theirs) > 0.01 * theirs):
        return f"has a spacing of {_times(ours)} mm, its image {_times(theirs)}"
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)], np.float64)
    corners[:, :3] *= np.array(image.shape) - 1
    apart = np.linalg.norm(corners @ (label.affine - image.affine).T, axis=1).max()
    if apart > 0.1 * theirs.min():
        return f"lies elsewhere than its image: {apart:.3g} mm apart by their affines"
    return None


def require_same_grid(label: Grid, image: Grid) -> None:
    """Refuse a label on another grid than its image's.

    Raises:
        UsageError: Says how they differ.
    """
    if different := grid_difference(label, image):
        raise UsageError(
            f"the label '{label.name}' {different}",
            hint="run 'inflate-zoo data check' on the data set's folder",
        )


def _times(values: Sequence[float] | NDArray[Any]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def to_our_axes(array: NDArray[Any], own: Grid, slices: Slices) -> NDArray[Any]:
    """Put voxels of a file into (depth, height, width) order.

    Args:
        array: [x, y, z, channels] in the file's own order and directions.
        own: The file's grid.
        slices: Plane of a slice, which decides the order of the axes.

    Returns:
        [channels, depth, height, width], a view.
    """
    turned = apply_orientation(array, io_orientation(own.affine))
    return np.asarray(turned.transpose((3, *PLANES[slices])))


def to_file_grid(array: NDArray[Any], like: Grid, slices: Slices) -> NDArray[Any]:
    """Put an array in (depth, height, width) order back onto the file's own axes.

    Args:
        array: [depth, height, width], of the same voxels as the file.
        like: The file's grid.
        slices: Plane of a slice the array was read with.

    Returns:
        [x, y, z] in the file's own order and directions.
    """
    ras = array.transpose(np.argsort(PLANES[slices]))
    back = ornt_transform(io_orientation(np.eye(4)), io_orientation(like.affine))
    return np.asarray(apply_orientation(ras, back))
