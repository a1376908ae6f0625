"""A DICOM series is the volume that the same voxels are as NIfTI, or is refused by name."""

import shutil

import numpy as np
import pytest
import SimpleITK

from inflate_zoo.bench.data import dicom
from inflate_zoo.bench.data.dicom import dicom_files, holds_dicom, is_dicom, read_series
from inflate_zoo.bench.data.grids import PLANES, grid_difference
from inflate_zoo.bench.data.volumes import read_volume
from inflate_zoo.errors import UsageError
from tests.support.datasets import write_nifti
from tests.support.dicom import texts, write_series

SHAPE = (7, 5, 4)  # columns, rows, slices


def turned(*angles):
    """A rotation about the three axes, in degrees."""
    result = np.eye(3)
    for axis, angle in enumerate(np.radians(angles)):
        one, two = (each for each in range(3) if each != axis)
        turn = np.eye(3)
        turn[[one, two], [one, two]] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def affine_of(directions, spacing=(0.8, 1.1, 2.5), origin=(-31.5, 12.25, 100.0)):
    """Voxel to world, RAS, the third axis perpendicular to the others and right-handed in LPS."""
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing)
    affine[:3, 3] = origin
    return affine


# Directions of columns, rows and slices in RAS.
PLACES = {
    "axial": affine_of(np.diag([-1.0, -1.0, 1.0])),
    "coronal": affine_of(np.array([[-1.0, 0, 0], [0, 0, -1.0], [0, -1.0, 0]])),
    "sagittal": affine_of(np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]])),
    "oblique": affine_of(turned(20, -9, 33) @ np.diag([-1.0, -1.0, 1.0])),
}


def stored(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(-1000, 3000, shape).astype(np.int16)


@pytest.mark.parametrize("slices", PLANES)
@pytest.mark.parametrize("place", PLACES)
def test_it_is_the_volume_of_the_same_voxels_as_nifti(place, slices, tmp_path):
    voxels, affine = stored(), PLACES[place]
    write_series(tmp_path / "series", voxels, affine, slopes=[2] * 4, intercept=-1024)
    path = write_nifti(tmp_path / "same.nii.gz", voxels.astype(np.int32) * 2 - 1024, affine)
    ours, theirs = read_series(tmp_path / "series", slices), read_volume(path, slices)
    assert ours.array.dtype.kind == "i"
    np.testing.assert_array_equal(ours.array, theirs.array)
    np.testing.assert_allclose(ours.grid.spacing(slices), theirs.grid.spacing(slices), rtol=1e-6)
    np.testing.assert_allclose(ours.grid.affine, affine, atol=1e-4)
    assert grid_difference(ours.grid, theirs.grid) is None
    assert ours.grid.unit == "mm"
    assert ours.grid.shape == SHAPE


def test_slices_that_run_the_other_way_are_the_same_volume(tmp_path):
    voxels, affine = stored(), PLACES["axial"]
    affine = affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    write_series(tmp_path / "series", voxels, affine)
    path = write_nifti(tmp_path / "same.nii.gz", voxels, affine)
    ours, theirs = read_series(tmp_path / "series", "axial"), read_volume(path, "axial")
    np.testing.assert_array_equal(ours.array, theirs.array)
    np.testing.assert_allclose(ours.grid.affine[:, 2], -theirs.grid.affine[:, 2], atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_it_is_what_the_library_writes_of_the_series_as_nifti(place, tmp_path):
    """Another reader of ours, another writer of theirs: two ways to one volume."""
    write_series(tmp_path / "series", stored(1), PLACES[place])
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    SimpleITK.WriteImage(reader.Execute(), str(tmp_path / "theirs.nii.gz"))
    ours = read_series(tmp_path / "series", "axial")
    theirs = read_volume(tmp_path / "theirs.nii.gz", "axial")
    np.testing.assert_array_equal(ours.array, theirs.array)
    np.testing.assert_allclose(ours.grid.affine, theirs.grid.affine, atol=1e-4)


def test_each_slice_has_its_own_slope(tmp_path):
    """As PET has: the first slice's type would cut the fractions of the others off."""
    voxels, slopes = stored(), np.array([1, 0.37, 2.5, 1e-3])
    write_series(tmp_path, voxels, PLACES["oblique"], slopes=slopes, intercept=0)
    found = read_series(tmp_path, "axial")
    assert found.array.dtype == np.float32
    path = write_nifti(tmp_path / "same.nii", (voxels * slopes).astype(np.float32),
                       PLACES["oblique"])  # fmt: skip
    expected = read_volume(path, "axial").array
    np.testing.assert_allclose(found.array, expected, rtol=1e-6)


def test_compressed_pixels_are_read(tmp_path):
    voxels = stored(0, (16, 16, 3))  # of fewer pixels the library takes no RLE
    write_series(tmp_path / "plain", voxels, PLACES["axial"])
    write_series(tmp_path / "packed", voxels, PLACES["axial"], packed=True)
    plain, packed = (read_series(tmp_path / name, "axial") for name in ("plain", "packed"))
    np.testing.assert_array_equal(plain.array, packed.array)


def test_what_lies_beside_the_slices_is_no_slice(tmp_path):
    write_series(tmp_path / "a", stored(), PLACES["axial"])
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "deep").mkdir()
    some = dicom_files(tmp_path / "a")[0]
    shutil.copy(some, tmp_path / "a" / "._left-by-macos")
    shutil.copy(some, tmp_path / "a" / "DICOMDIR")
    assert len(dicom_files(tmp_path / "a")) == 4
    assert holds_dicom(tmp_path / "a")
    assert not holds_dicom(tmp_path)
    assert not is_dicom(tmp_path / "absent")
    assert read_series(tmp_path / "a", "axial").grid.shape == SHAPE


def without(number):
    return lambda data, own: (
        setattr(data, "SOPInstanceUID", f"1.2.{own}") if own == number else None
    )


def moved(by, only=None):
    def change(data, number):
        if only in (None, number):
            place = np.array(data.ImagePositionPatient, float) + np.array(by, float) * number
            data.ImagePositionPatient = texts(place)

    return change


def on_one(number, **fields):
    def change(data, own):
        for name, value in fields.items() if own == number else ():
            setattr(data, name, value)

    return change


def lacking(name):
    return lambda data, _: delattr(data, name)


def coloured(data, _):
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = bytes(data.Rows * data.Columns * 3 + data.Rows * data.Columns % 2)


def of_two_frames(data, _):
    data.NumberOfFrames = 2
    data.PixelData = bytes(2 * len(data.PixelData))


def smaller(data, number):
    if number == 1:
        data.Rows -= 1
        data.PixelData = data.PixelData[: -2 * data.Columns]


FAULTS = {
    "a shift of one slice": (moved((0, 0, 1.5), only=2), "lacks slices, or they are not evenly"),
    "one place twice": (on_one(1, ImagePositionPatient=[31.5, -12.25, 100]), "at one place"),
    "one place for all": (lambda d, n: setattr(d, "ImagePositionPatient", [0, 0, 0]), "one place"),
    "a tilted gantry": (moved((0, 0.9, 0)), "its gantry was tilted"),
    "two series": (on_one(0, SeriesInstanceUID="1.2.3"), "holds 2 DICOM series"),
    "other sizes": (smaller, "holds slices of 7 x "),
    "other spacings": (on_one(2, PixelSpacing=[0.5, 0.5]), "other spacings or directions"),
    "other directions": (
        on_one(2, ImageOrientationPatient=[0, 1, 0, 1, 0, 0]),
        "other spacings or directions",
    ),
    "colours": (coloured, "holds colours, or is inverted (RGB)"),
    "inverted": (on_one(0, PhotometricInterpretation="MONOCHROME1"), "(MONOCHROME1)"),
    "frames": (of_two_frames, "holds 2 slices in one file"),
    "no place": (lacking("ImagePositionPatient"), "does not say where its slices lie"),
    "no direction": (lacking("ImageOrientationPatient"), "does not say how its slices are turned"),
    "no size": (lacking("PixelSpacing"), "does not say the size of its pixels"),
    "no pixels": (lacking("PixelData"), "is damaged, or no image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_series_that_is_no_volume_is_refused_by_name(fault, tmp_path, capfd):
    change, told = FAULTS[fault]
    folder = write_series(tmp_path / "scan", stored(), PLACES["axial"], change=change)
    with pytest.raises(UsageError) as caught:
        read_series(folder, "axial")
    assert told in str(caught.value)
    assert "scan" in caught.value.message
    assert str(tmp_path) not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # what the library would print


def test_a_missing_slice_is_told_wherever_it_was(tmp_path):
    for missing in (1, 2, 6):
        folder = write_series(tmp_path / str(missing), stored(0, (4, 3, 8)), PLACES["oblique"])
        next(path for path in folder.iterdir() if path.name.endswith(f"-{missing}")).unlink()
        with pytest.raises(UsageError, match="lacks slices"):
            read_series(folder, "axial")


def test_a_cut_file_a_lone_slice_and_an_empty_folder(tmp_path):
    folder = write_series(tmp_path / "scan", stored(), PLACES["axial"])
    path = dicom_files(folder)[1]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UsageError, match="is damaged, or no image"):
        read_series(folder, "axial")
    path.write_bytes(path.read_bytes()[:140])
    with pytest.raises(UsageError, match="is damaged, or no image"):
        read_series(folder, "axial")
    for other in dicom_files(folder)[1:]:
        other.unlink()
    with pytest.raises(UsageError, match="is a DICOM series of one slice"):
        read_series(folder, "axial")
    dicom_files(folder)[0].unlink()
    with pytest.raises(UsageError, match="holds no DICOM file"):
        read_series(folder, "axial")


@pytest.mark.parametrize("names", ["{}", "{}.dcm", "{}.DCM", "1.2.840.{}", "{}.ima"])
@pytest.mark.parametrize("content", [b"", bytes(131), bytes(500)])
def test_a_copy_that_broke_off_at_the_end_of_the_stack_is_refused(tmp_path, names, content):
    folder = write_series(tmp_path / "scan", stored(), PLACES["axial"])
    for number, path in enumerate(dicom_files(folder)):
        path.rename(folder / names.format(number))
    last = max(dicom_files(folder), key=lambda path: float(dicom._header(path).position[2]))
    last.write_bytes(content)
    (folder / "gone.dcm").symlink_to(folder / "nowhere")
    with pytest.raises(UsageError, match=r"as a DICOM file and is none.*and 1 more") as caught:
        read_series(folder, "axial")
    assert "'scan/" in caught.value.message
    assert "copy the series again" in caught.value.hint
    (folder / "gone.dcm").unlink()
    with pytest.raises(UsageError, match=f"'scan/{last.name}' is called as a DICOM file"):
        read_series(folder, "axial")
    last.unlink()
    for name in ("notes.txt", "DICOMDIR", ".hidden.dcm", "x.json"):
        (folder / name).write_text("no image")
    assert read_series(folder, "axial").grid.shape == (7, 5, 3)


def test_a_slice_larger_than_any_is_refused_before_its_pixels_are_read(tmp_path):
    folder = write_series(
        tmp_path / "scan", stored(), PLACES["axial"], change=on_one(3, Rows=60_000, Columns=60_000)
    )
    with pytest.raises(UsageError, match="is damaged, or no image"):
        read_series(folder, "axial")


def test_headers_that_round_are_no_fault(tmp_path):
    """Cosines of three digits, places of one: a tilt and a gap of less than a voxel."""

    def rounded(data, _):
        data.ImageOrientationPatient = [round(float(v), 3) for v in data.ImageOrientationPatient]
        data.ImagePositionPatient = [round(float(v), 1) for v in data.ImagePositionPatient]

    write_series(tmp_path, stored(), PLACES["oblique"], change=rounded)
    np.testing.assert_allclose(
        read_series(tmp_path, "axial").grid.affine, PLACES["oblique"], atol=0.06
    )


def test_without_the_library_it_says_how_to_get_it(tmp_path, monkeypatch):
    write_series(tmp_path, stored(), PLACES["axial"])
    monkeypatch.setattr(dicom, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="extra 'dicom'") as caught:
        read_series(tmp_path, "axial")
    assert "SimpleITK" in caught.value.hint
