"""Grids of files: how two differ, and what a header says twice."""

import re

import nibabel as nib
import numpy as np
import pytest

from inflate_zoo.bench.data.grids import (
    form_difference,
    grid_difference,
    require_same_grid,
    shear,
)
from inflate_zoo.bench.data.volumes import read_grid
from inflate_zoo.errors import UsageError
from tests.support.datasets import near_45, write_nifti
from tests.support.nifti import ARRAY, SPACED, pixdim, setting, with_header, write_in

MICRON, METRE, SECONDS = 3, 1, 8


def test_a_label_that_lost_its_unit_is_told_as_that(tmp_path):
    image = read_grid(write_in(tmp_path / "a.nii", METRE, 1e-3))
    label = read_grid(write_in(tmp_path / "b.nii", 0, 1e-3))
    assert grid_difference(label, image) == (
        "has a spacing of 0.0005 x 0.0007 x 0.003 mm, its image 0.5 x 0.7 x 3; "
        "its header states no unit, its image's metre"
    )
    with pytest.raises(UsageError, match="spacing of 500 x 700 x 3000 mm") as caught:
        read_grid(write_in(tmp_path / "c.nii", 0, 1e3))
    assert "states no unit (xyzt_units)" in caught.value.hint


def with_forms(path, qform, sform, codes=(1, 1)):
    image = nib.Nifti1Image(ARRAY, SPACED)
    image.set_qform(qform, codes[0])
    image.set_sform(sform, codes[1])
    nib.save(image, path)
    return read_grid(path)


def test_a_qform_unlike_its_sform_is_named_and_the_sform_counts(tmp_path):
    moved = SPACED.copy()
    moved[0, 3] = 4
    turned = SPACED @ np.diag([-1, -1, 1, 1])
    odd = with_forms(tmp_path / "a.nii", moved, SPACED)
    assert np.array_equal(odd.affine, nib.load(tmp_path / "a.nii").affine)
    same = "; the sform counts, as in nibabel"
    assert form_difference(odd) == f"has a qform unlike its sform: 4 mm apart{same}"
    flipped = form_difference(with_forms(tmp_path / "b.nii", turned, SPACED))
    assert "has a qform unlike its sform" in flipped
    wide = form_difference(with_forms(tmp_path / "c.nii", np.diag([1, 1, 3, 1.0]), SPACED))
    assert wide.startswith("has a qform unlike its sform: a spacing of 1 x 1 x 3 mm in its header")
    for codes in ((0, 1), (1, 0)):
        assert form_difference(with_forms(tmp_path / "d.nii", moved, SPACED, codes)) is None
    label = with_forms(tmp_path / "e.nii", moved, moved)
    assert "; by their qforms they agree, but the sform counts" in grid_difference(label, odd)


def test_without_a_qform_the_spacing_of_the_header_is_what_differs(tmp_path):
    (tmp_path / "a.nii").write_bytes(with_header(pixdim(1, 1, 3)))
    told = form_difference(read_grid(tmp_path / "a.nii"))
    assert told.startswith("has a spacing of 1 x 1 x 3 mm in its header, 0.5 x 0.7 x 3 in its aff")


@pytest.mark.parametrize(
    "fields",
    [
        {"quatern_b": 1, "quatern_c": 1, "quatern_d": 1},
        {"qoffset_x": np.nan},
        {"qoffset_z": np.inf},
    ],
)
def test_a_qform_that_cannot_be_read_is_passed_over(tmp_path, fields):
    (tmp_path / "a.nii").write_bytes(with_header(setting(qform_code=1, **fields)))
    odd = read_grid(tmp_path / "a.nii")
    assert form_difference(odd) is None
    assert "elsewhere" in grid_difference(read_grid(write_in(tmp_path / "b.nii", 2, 1)), odd)


def test_grids_differ_by_shape_spacing_or_place(tmp_path):
    def grid(name, array=ARRAY, affine=SPACED):
        return read_grid(write_nifti(tmp_path / f"{name}.nii", array, affine))

    moved, nudged, wide = SPACED.copy(), SPACED.copy(), SPACED.copy()
    moved[0, 3], nudged[0, 3], wide[2, 2] = 0.2, 0.01, 3.2
    image = grid("image")
    assert grid_difference(grid("same"), image) is None
    assert grid_difference(grid("nudged", affine=nudged), image) is None
    assert "0.2 mm apart" in grid_difference(grid("moved", affine=moved), image)
    assert "spacing of 0.5 x 0.7 x 3.2" in grid_difference(grid("wide", affine=wide), image)
    assert "5 x 5 x 4 voxels, its image 6" in grid_difference(grid("less", ARRAY[1:]), image)
    flipped = SPACED @ np.diag([-1.0, 1, 1, 1])
    with pytest.raises(UsageError, match=r"flip.nii' lies elsewhere"):
        require_same_grid(grid("flip", affine=flipped), image)


def test_grids_near_45_degrees_are_compared_axis_by_axis(tmp_path):
    sizes = (1.0, 2.0, 3.0)
    one, two = (
        read_grid(write_nifti(tmp_path / f"{by}.nii", ARRAY, near_45(by, sizes)))
        for by in (1e-6, -1e-6)
    )
    assert one.spacing_ras != two.spacing_ras
    assert grid_difference(one, two) is None


@pytest.mark.parametrize("degrees, told", [(0, None), (5, None), (20, "is sheared.* 94.0% of")])
def test_a_tilted_gantry_makes_voxels_smaller_than_their_edges_span(tmp_path, degrees, told):
    affine = np.diag([0.5, -0.5, 2, 1])
    affine[1, 2] = 2 * np.tan(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = np.array([[3, -4], [4, 3]]) / 5  # which is no shear
    grid = read_grid(write_nifti(tmp_path / "a.nii", ARRAY, turn @ affine))
    assert grid.voxel_mm3 == pytest.approx(0.5)
    found = shear(grid)
    assert found is None if told is None else re.match(told, found)
