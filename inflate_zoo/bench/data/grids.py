"""Where a NIfTI file's voxels lie: checked geometry, and the way to and from our axes.

A file's own axes are (x, y, z) in any order and direction. They are turned to RAS by flips and
permutations alone, then put in (depth, height, width) order as the plane of the slices wants it.
Lengths are in mm from here on, whatever unit a header states; where it states none, they are mm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from numpy.typing import NDArray

from inflate_zoo.bench.definitions.tasks import Millimetres, Slices
from inflate_zoo.errors import UsageError
from inflate_zoo.files.foreign import parsing, reason_of

MOST_VOXELS = 2**33
_SPACINGS = (1e-6, 1e3)  # mm
_SAME_PLACE = 0.1  # voxels
_UPRIGHT = 0.99  # of the product of its edges: a voxel with nearly right angles
# NIfTI's codes of units of length (bits 0 to 2 of xyzt_units): name, mm in one.
_UNITS = MappingProxyType({1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micron", 1e-3)})
_NO_UNIT = ("no unit", 1.0)
_THICK = 1.5  # times the next wider edge of a voxel: slices lie across that axis
_NAMED = 3  # cases of each plane
# RAS axes in (depth, height, width) order.
PLANES: dict[Slices, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}
_AXES = ("right", "anterior", "superior")


@dataclass(frozen=True, eq=False)
class Grid:
    """A file without its voxels.

    Attributes:
        name: Folder and file name, for messages.
        header: nibabel's header, in the file's own unit.
        affine: Voxel to world (RAS, mm), float64 [4, 4]: of the sform, else of the qform.
        shape: Voxels along the file's own axes.
        channels: 1, or the length of the fourth dimension.
        had_negative_sizes: Whether its header stated voxels of sizes below 0, which is put right.
    """

    name: str
    header: Any
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    channels: int
    had_negative_sizes: bool = False

    @property
    def unit(self) -> str:
        """The header's unit of length, `no unit` where it states none."""
        return _unit(self.header)[0]

    @property
    def millimetres(self) -> float:
        """Millimetres in one of the header's unit."""
        return _unit(self.header)[1]

    @property
    def orientation(self) -> NDArray[np.float64]:
        """Of the file's own axes the nearest of RAS and the direction, as nibabel writes it."""
        return np.asarray(io_orientation(self.affine))

    @property
    def spacing_own(self) -> NDArray[np.float64]:
        """Voxel size in mm along the file's own axes."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def spacing_ras(self) -> Millimetres:
        """Voxel size in mm along right, anterior, superior."""
        sizes = self.spacing_own
        x, y, z = (float(sizes[axis]) for axis in np.argsort(self.orientation[:, 0]))
        return x, y, z

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel: less than the product of its edges where the affine shears."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def spacing(self, slices: Slices) -> Millimetres:
        """Voxel size in mm in (depth, height, width) order."""
        ras = self.spacing_ras
        depth, height, width = PLANES[slices]
        return ras[depth], ras[height], ras[width]

    def voxels(self, slices: Slices) -> tuple[int, int, int]:
        """The shape in (depth, height, width) order."""
        own = np.argsort(self.orientation[:, 0])
        depth, height, width = (self.shape[own[axis]] for axis in PLANES[slices])
        return depth, height, width


def _unit(header: Any) -> tuple[str, float]:
    return _UNITS.get(int(header["xyzt_units"]) & 7, _NO_UNIT)


def _quiet() -> np.errstate:
    """What is no number is refused here, not warned of by numpy."""
    return np.errstate(invalid="ignore", over="ignore")


def _scaled(affine: NDArray[Any], by: float) -> NDArray[np.float64]:
    result = np.array(affine, np.float64)
    result[:3] *= by
    return result


def short_name(path: Path) -> str:
    """Folder and file name: an image and its label often share the latter."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def damaged(path: Path, what: str, hint: str = "download or copy the file again") -> UsageError:
    """An error that names the file, what is wrong with it and what to do."""
    return UsageError(f"'{short_name(path)}' {what}", hint=hint)


def checked_grid(path: Path, header: Any) -> Grid:
    """Refuse a header that no honest file has; one that nibabel puts right is put right."""
    ndim = int(header["dim"][0])
    dims = [int(size) for size in header["dim"][1 : ndim + 1]] if 1 <= ndim <= 7 else []
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) not in (3, 4) or min(dims) < 1:
        raise damaged(path, f"has the shape {tuple(dims)}", "3-D, or 4-D with channels, is needed")
    if prod(dims) > MOST_VOXELS:
        raise damaged(path, f"claims {prod(dims):,} voxels: its header is damaged")
    had_negative_sizes = _right_sizes(header)
    with parsing(lambda error: damaged(path, f"has a damaged header: {reason_of(error)}")):
        dtype = header.get_data_dtype()
        header.get_slope_inter()
        with _quiet():
            affine = _scaled(header.get_best_affine(), _unit(header)[1])
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise damaged(path, f"holds {dtype} voxels", "real numbers of up to 64 bits are needed")
    with _quiet():
        _check_spacing(path, header, affine)
    return Grid(
        name=short_name(path),
        header=header,
        affine=affine,
        shape=(dims[0], dims[1], dims[2]),
        channels=dims[3] if len(dims) == 4 else 1,
        had_negative_sizes=had_negative_sizes,
    )


def _right_sizes(header: Any) -> bool:
    """Take sizes of voxels and the handedness of a qform as nibabel does when it loads a file.

    Some programs write sizes below 0, and a handedness of 0, which NIfTI takes for 1.

    Returns:
        Whether a size was below 0.
    """
    sizes = header["pixdim"]
    negative = bool((sizes[1:4] < 0).any())
    sizes[1:4] = np.abs(sizes[1:4])
    if sizes[0] not in (-1, 1):
        sizes[0] = 1
    return negative


def _check_spacing(path: Path, header: Any, affine: NDArray[np.float64]) -> None:
    unit = _unit(header)[0]
    hint = f"write the file again with its true geometry; its header states {unit} (xyzt_units)"
    low, high = _SPACINGS
    axes = affine[:3, :3]
    for where, sizes in (
        ("header", header["pixdim"][1:4] * np.float64(_unit(header)[1])),
        ("affine", np.linalg.norm(axes, axis=0)),
    ):
        if not np.all((sizes >= low) & (sizes <= high)):
            shown = " x ".join(f"{size:g}" for size in sizes)
            raise damaged(path, f"has a spacing of {shown} mm in its {where}", hint)
    volume = float(np.prod(np.linalg.norm(axes, axis=0)))
    if not np.isfinite(affine).all() or abs(np.linalg.det(axes)) < 1e-3 * volume:
        raise damaged(path, "has an affine that cannot be inverted", hint)


def grid_difference(label: Grid, image: Grid, called: str = "its image") -> str | None:
    """How a label's grid differs from its image's: shape, spacing or place; `None` if it does not.

    Corners of the volume may lie up to a tenth of a voxel apart: headers round.

    Args:
        label: Or another grid that must be the same.
        image: What it is compared with.
        called: What to call that in the sentence.
    """
    if label.shape != image.shape:
        return f"is {times(label.shape)} voxels, {called} {times(image.shape)}"
    if (different := _geometry_difference(label, image, called)) is None:
        return None
    return different + _cause(label, image, called)


def _geometry_difference(label: Grid, image: Grid, called: str) -> str | None:
    ours, theirs = label.spacing_own, image.spacing_own
    if np.any(np.abs(ours - theirs) > 0.01 * theirs):
        return f"has a spacing of {times(ours)} mm, {called} {times(theirs)}"
    apart = _apart(label.affine, image.affine, image.shape)
    if apart > _SAME_PLACE * theirs.min():
        return f"lies elsewhere than {called}: {apart:.3g} mm apart by their affines"
    return None


def _cause(label: Grid, image: Grid, called: str) -> str:
    """What else the headers tell of two grids that differ, to be put after it."""
    own = [
        replace(grid, affine=_scaled(grid.affine, 1 / grid.millimetres)) for grid in (label, image)
    ]
    if label.unit != image.unit and _geometry_difference(own[0], own[1], called) is None:
        return f"; its header states {label.unit}, {called}'s {image.unit}"
    turned = [replace(grid, affine=_qform(grid, grid.affine)) for grid in (label, image)]
    if _geometry_difference(turned[0], turned[1], called) is None:
        return "; by their qforms they agree, but the sform counts, as in nibabel"
    return ""


def _apart(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], shape: Sequence[int]
) -> float:  # mm, of the corner that lies farthest
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)], np.float64)
    corners[:, :3] *= np.array(shape) - 1
    return float(np.linalg.norm(corners @ (ours - theirs).T, axis=1).max())


class _NoQformError(ValueError):
    """The header states none that can be read."""


def _qform(grid: Grid, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine of the qform in mm, where the header states one that can be read."""
    try:
        with parsing(_NoQformError), _quiet():
            affine = grid.header.get_qform(coded=True)[0]
    except _NoQformError:
        return otherwise
    if affine is None or not np.isfinite(affine).all():
        return otherwise
    return _scaled(affine, grid.millimetres)


def form_difference(grid: Grid) -> str | None:
    """How a header contradicts itself: its qform its sform, or its spacing its affine.

    `None` where it does not; the sform counts, as in nibabel.
    """
    stated = np.asarray(grid.header["pixdim"][1:4], np.float64) * grid.millimetres
    real = grid.spacing_own
    sizes = f"{times(stated)} mm in its header, {times(real)} in its affine"
    differs = bool(np.any(np.abs(stated - real) > 0.01 * real))
    if int(grid.header["sform_code"]) > 0 and int(grid.header["qform_code"]) > 0:
        apart = _apart(_qform(grid, grid.affine), grid.affine, grid.shape)
        if differs or apart > _SAME_PLACE * real.min():
            spacing = f": a spacing of {sizes}" if differs else f": {apart:.3g} mm apart"
            return f"has a qform unlike its sform{spacing}; the sform counts, as in nibabel"
    return f"has a spacing of {sizes}; the affine counts" if differs else None


def shear(grid: Grid) -> str | None:
    """What a grid without right angles is taken for, such as of a tilted gantry; `None` of others.

    Tools keep a shear in the sform, a quaternion has none.
    """
    share = grid.voxel_mm3 / prod(grid.spacing_ras)
    if share >= _UPRIGHT:
        return None
    return (
        f"is sheared by its affine: a voxel is {share:.1%} of what its edges span; networks and "
        "surface distances take its axes for perpendicular, volumes are right"
    )


def plane_of(spacing_ras: Millimetres) -> Slices | None:
    """The plane of the slices, across the axis of far thicker voxels; `None` if there is none."""
    _, second, thick = sorted(range(3), key=lambda axis: spacing_ras[axis])
    if spacing_ras[thick] <= _THICK * spacing_ras[second]:
        return None
    return next(plane for plane, axes in PLANES.items() if axes[0] == thick)


def mixed_planes(grids: Mapping[str, Grid]) -> str | None:
    """How the thick axes of cases differ, most frequent first; `None` where they do not.

    Oblique slices at 45 degrees are near to two axes: some patients' slices lie across the other.

    Args:
        grids: Of the images, by case.
    """
    cases: dict[Slices, list[str]] = {}
    for case, grid in grids.items():
        if plane := plane_of(grid.spacing_ras):
            cases.setdefault(plane, []).append(case)
    if len(cases) < 2:
        return None
    told = []
    for plane, names in sorted(cases.items(), key=lambda item: -len(item[1])):
        some = ", ".join(f"'{name}'" for name in names[:_NAMED])
        some = f"e.g. {some}" if len(names) > _NAMED else some
        axis = _AXES[PLANES[plane][0]]
        told.append(f"along {axis} ({plane} slices) in {len(names)} case(s), {some}")
    return f"voxels are thickest {'; '.join(told)}"


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


def times(values: Sequence[float] | NDArray[Any]) -> str:
    """Sizes along the axes, as people write them: `1 x 1 x 2.5`."""
    return " x ".join(f"{value:g}" for value in values)


def to_our_axes(array: NDArray[Any], own: Grid, slices: Slices) -> NDArray[Any]:
    """Put voxels of a file into (depth, height, width) order.

    Args:
        array: [x, y, z, channels] in the file's own order and directions.
        own: The file's grid, or that of the image it belongs to: near 45 degrees between two axes
            rounding decides which is which, for each file by itself.
        slices: Plane of a slice, which decides the order of the axes.

    Returns:
        [channels, depth, height, width], a view.
    """
    turned = apply_orientation(array, own.orientation)
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
    back = ornt_transform(io_orientation(np.eye(4)), like.orientation)
    return np.asarray(apply_orientation(ras, back))
