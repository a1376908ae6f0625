"""NIfTI files: damaged ones are refused by name, others come back onto their own grid."""

import gzip
import itertools
import os
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

from inflate_zoo.bench.data.grids import PLANES, form_difference, require_same_grid
from inflate_zoo.bench.data.volumes import read_channels, read_grid, read_volume, write_like
from inflate_zoo.errors import UsageError, WriteError
from tests.support.datasets import near_45, write_nifti
from tests.support.nifti import (
    ARRAY,
    SHAPE,
    SPACED,
    content,
    pixdim,
    setting,
    with_header,
    write_in,
)


def dims(*sizes):
    def change(header):
        header["dim"][: len(sizes)] = sizes

    return change


def packed_with_wrong(part):
    whole = bytearray(gzip.compress(content()))
    whole[{"checksum": -8, "length": -4}[part]] ^= 0x55
    return bytes(whole)


NO_AFFINE = setting(srow_x=0, srow_y=0, srow_z=0)
FAULTS = {
    "empty": (b"", "cut off"),
    "seven bytes": (gzip.compress(b"1234567"), "holds 7 bytes"),
    "header only": (gzip.compress(content()[:352]), "cut off: its header promises 240 bytes"),
    "truncated gzip": (gzip.compress(content())[:-20], "cut off: its compressed data ends early"),
    "no trailer": (gzip.compress(content())[:-8], "cut off: its compressed data ends early"),
    "wrong checksum": (packed_with_wrong("checksum"), "checksum is wrong"),
    "wrong length": (packed_with_wrong("length"), "checksum is wrong"),
    "junk after gzip": (gzip.compress(content()) + b"junk", "junk after"),
    "junk that begins like gzip": (gzip.compress(content()) + b"\x1fjunk", "is damaged"),
    "junk after voxels": (gzip.compress(content() + b"x"), "more than it should"),
    "voxels lack": (gzip.compress(content()[:-1]), "it holds 239"),
    "not gzip": (content(), "is no gzip file"),
    "no NIfTI": (gzip.compress(b"x" * 400), "is no NIfTI file"),
    "header of a pair": (gzip.compress(with_header(setting(magic=b"ni1"))), "is no NIfTI file"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
    "page": (b"<!DOCTYPE html><html>", "is an HTML page"),
    "zero spacing": (gzip.compress(with_header(pixdim(1, 0, 1))), "spacing of 1 x 0 x 1 mm"),
    "no number as spacing": (gzip.compress(with_header(pixdim(1, np.nan, 1))), "1 x nan x 1 mm"),
    "zero affine": (gzip.compress(with_header(NO_AFFINE)), "0 x 0 x 0 mm in its affine"),
    "no number in the qform's rotation": (
        gzip.compress(with_header(setting(sform_code=0, qform_code=1, pixdim=[1, np.inf] * 4))),
        "inf x 1 x inf mm in its header",
    ),
    "flat affine": (
        gzip.compress(with_header(setting(srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0]))),
        "cannot be inverted",
    ),
    "no number as origin": (
        gzip.compress(with_header(setting(srow_x=[1, 0, 0, np.nan]))),
        "cannot be inverted",
    ),
    "2-D": (gzip.compress(content(ARRAY[:, :, 0])), r"has the shape \(6, 5\)"),
    "5-D": (gzip.compress(content(ARRAY[..., None, None].repeat(2, 4))), "has the shape"),
    "negative size": (gzip.compress(with_header(dims(3, 6, -5, 4))), "has the shape"),
    "no size": (gzip.compress(with_header(dims(3, 6, 0, 4))), "has the shape"),
    "no dimensions": (gzip.compress(with_header(dims(0, 6, 5, 4))), "has the shape"),
    "9 dimensions": (gzip.compress(with_header(dims(9, 6, 5, 4))), "has the shape"),
    "vast": (gzip.compress(with_header(dims(3, 30000, 30000, 30000))), "claims 27,000,000,000,000"),
    "large": (gzip.compress(with_header(dims(3, 2000, 2000, 2000))), "is too small"),
    "colours": (
        gzip.compress(content(ARRAY.astype([("R", "u1"), ("G", "u1"), ("B", "u1")]))),
        "voxels",
    ),
    "complex": (gzip.compress(content(ARRAY.astype(np.complex64))), "complex64 voxels"),
    "unknown type": (gzip.compress(with_header(setting(datatype=7))), "damaged header"),
    "offset inside the header": (gzip.compress(with_header(setting(vox_offset=8))), "byte 8"),
    "vast offset": (gzip.compress(with_header(setting(vox_offset=3e9))), "byte 3e[+]09"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_refused_by_name(tmp_path, fault):
    data, message = FAULTS[fault]
    path = tmp_path / "imagesTr" / "case.nii.gz"
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message) as caught:
        read_volume(path, "axial")
    assert "'imagesTr/case.nii.gz'" in caught.value.message
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("data, message", [
    (content()[:-1], "it holds 239"),
    (content()[:360], "it holds 8"),
    (with_header(dims(3, 900, 900, 900)), "is too small: its header promises 1,458,000,000"),
    (content() + b"x", "more than it should"),
    (gzip.compress(content()), "is a gzip file"),
    (b"", "holds 0 bytes"),
])  # fmt: skip
def test_plain_files_are_counted_too(tmp_path, data, message):
    (tmp_path / "case.nii").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        read_volume(tmp_path / "case.nii", "axial")


def test_every_flipped_byte_of_the_voxels_is_found(tmp_path):
    whole = gzip.compress(content(), 0)  # stored, so that a flip leaves valid deflate data
    start = whole.index(content()[352:380])
    for place in range(start, start + 240, 17):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        (tmp_path / "a.nii.gz").write_bytes(flipped)
        with pytest.raises(UsageError, match="checksum is wrong"):
            read_volume(tmp_path / "a.nii.gz", "axial")


def test_a_bomb_is_left_before_it_fills_the_memory(tmp_path):
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(content())]
    pieces += [packer.compress(bytes(1 << 20)) for _ in range(300)]
    (tmp_path / "a.nii.gz").write_bytes(b"".join([*pieces, packer.flush()]))
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="more than it should"):
            read_volume(tmp_path / "a.nii.gz", "axial")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_for_a_header_no_more_is_read_and_unpacked_than_it_takes(tmp_path, name):
    """Thousands of headers are read before the first volume is prepared."""
    random = np.random.default_rng(0).integers(0, 99, (128, 128, 64)).astype(np.int16)
    path = write_nifti(tmp_path / name, random)
    read_grid(path)
    tracemalloc.start()
    try:
        read_grid(path)
        assert tracemalloc.get_traced_memory()[1] < 256 << 10
    finally:
        tracemalloc.stop()


def test_what_is_no_file_or_of_another_format_is_refused(tmp_path):
    (tmp_path / "a.mha").write_bytes(b"x")
    (tmp_path / "folder.nii").mkdir()
    os.mkfifo(tmp_path / "pipe.nii.gz")
    for name, message in (
        ("a.mha", "unknown format"),
        ("absent.nii.gz", "is missing"),
        ("folder.nii", "is a folder"),
        ("pipe.nii.gz", "pipe"),
    ):
        with pytest.raises(UsageError, match=message):
            read_grid(tmp_path / name)
    with pytest.raises(UsageError) as caught:
        read_grid(tmp_path / "a.mha")
    assert caught.value.hint == "convert it to NIfTI: .nii or .nii.gz"


def test_many_gzip_members_and_extensions_are_read(tmp_path):
    image = nib.Nifti1Image(ARRAY, SPACED)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello" * 20))
    raw = image.to_bytes()
    data = gzip.compress(raw[:100]) + gzip.compress(raw[100:500]) + gzip.compress(raw[500:])
    (tmp_path / "a.nii.gz").write_bytes(data)
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz", "axial").array[0], ARRAY.T)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f4", "f8"])
def test_every_type_is_read_as_nibabel_reads_it(tmp_path, kind, order, dtype):
    array = ARRAY.astype(order + dtype)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(dtype)
    nib.save(kind(array, SPACED, header), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii", "axial")
    assert volume.array.dtype == np.dtype(dtype)
    assert np.array_equal(volume.array[0], ARRAY.T)


def test_scaled_intensities(tmp_path):
    (tmp_path / "a.nii").write_bytes(with_header(setting(scl_slope=0.5, scl_inter=-1024)))
    values = ARRAY * 0.5 - 1024
    assert np.array_equal(nib.load(tmp_path / "a.nii").get_fdata(), values)
    volume = read_volume(tmp_path / "a.nii", "axial")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], values.T)


def all_orientations():
    for axes in itertools.permutations(("RL", "AP", "SI")):
        for ends in itertools.product((0, 1), repeat=3):
            yield "".join(pair[end] for pair, end in zip(axes, ends, strict=True))


@pytest.mark.parametrize("slices", PLANES)
@pytest.mark.parametrize("codes", list(all_orientations()))
def test_any_orientation_reads_as_ras_and_returns_onto_its_own_grid(tmp_path, codes, slices):
    placed = SPACED.copy()
    placed[:3, 3] = 7, -8, 9
    ras = nib.Nifti1Image(ARRAY, placed)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    own = ras.as_reoriented(turn)
    nib.save(own, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii", slices)
    order = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}[slices]
    assert np.array_equal(volume.array[0], ARRAY.transpose(order))
    assert volume.grid.voxels(slices) == ARRAY.transpose(order).shape
    sizes = np.array([0.5, 0.7, 3.0])[list(order)]
    np.testing.assert_allclose(volume.grid.spacing(slices), sizes, rtol=1e-6)

    labels = volume.array[0].astype(np.uint8)
    write_like(tmp_path / "b.nii.gz", labels, volume.grid, slices)
    written, source = nib.load(tmp_path / "b.nii.gz"), nib.load(tmp_path / "a.nii")
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(written.dataobj), np.asarray(source.dataobj))
    assert np.array_equal(written.affine, source.affine)
    for field in ("qform_code", "sform_code", "pixdim", "quatern_b", "srow_x", "xyzt_units"):
        assert np.array_equal(written.header[field], source.header[field]), field


@pytest.mark.parametrize("forms", [(1, 0), (0, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("sizes", [(0, 0.5, 0.7, 3), (-1, -0.5, 0.7, 3), (1, 0.5, -0.7, -3)])
def test_odd_signs_in_a_header_are_taken_as_nibabel_takes_them(tmp_path, forms, sizes):
    """Some programs write a handedness of 0, which is 1, or sizes of voxels below 0."""
    qform, sform = forms
    odd = setting(qform_code=qform, sform_code=sform, pixdim=[*sizes, 0, 0, 0, 0])
    (tmp_path / "a.nii").write_bytes(with_header(odd))
    theirs = nib.load(tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii", "axial")
    np.testing.assert_allclose(volume.grid.affine, theirs.affine)
    turned = np.asarray(nib.as_closest_canonical(theirs).dataobj)
    assert np.array_equal(volume.array[0], turned.T)
    write_like(tmp_path / "b.nii", volume.array[0].astype(np.uint8), volume.grid, "axial")
    written = nib.load(tmp_path / "b.nii")
    assert np.array_equal(written.affine, theirs.affine)
    assert np.array_equal(np.asarray(written.dataobj), np.asarray(theirs.dataobj))


def test_an_oblique_sagittal_file_with_scaling_and_codes_returns_exactly(tmp_path):
    turn = nib.eulerangles.euler2mat(0.2, -0.1, 0.3)
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, -0.9], [-0.5, 0, 0], [0, -0.5, 0]])
    affine[:3, 3] = 10, -20, 30.5
    image = nib.Nifti2Image(ARRAY, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 2)
    image.header.set_slope_inter(2, 5)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz", "sagittal")
    np.testing.assert_allclose(volume.grid.spacing("sagittal"), (0.9, 0.5, 0.5), rtol=1e-6)
    write_like(
        tmp_path / "b.nii", np.full(volume.array.shape[1:], 3, np.uint8), volume.grid, "sagittal"
    )
    source, written = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "b.nii")
    assert np.array_equal(written.affine, source.affine)
    assert (written.header["qform_code"], written.header["sform_code"]) == (1, 2)
    assert np.unique(np.asarray(written.dataobj)).tolist() == [3]


MICRON, METRE, SECONDS = 3, 1, 8


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    "unit, per_mm, name",
    [(0, 1, "no unit"), (2, 1, "mm"), (MICRON, 1e3, "micron"), (METRE + SECONDS, 1e-3, "metre"),
     (7, 1, "no unit")],
)  # fmt: skip
def test_units_of_length_become_mm_and_come_back(tmp_path, unit, per_mm, name, kind):
    path = write_in(tmp_path / "a.nii.gz", unit, per_mm, kind=kind)
    volume = read_volume(path, "axial")
    assert volume.grid.unit == name
    np.testing.assert_allclose(volume.grid.spacing("axial"), (3, 0.7, 0.5), rtol=1e-6)
    np.testing.assert_allclose(volume.grid.affine[:3, 3], (7, -8, 9), rtol=1e-6)
    plain = read_grid(write_in(tmp_path / "plain.nii", 2, 1))
    require_same_grid(volume.grid, plain)
    assert form_difference(volume.grid) is None
    write_like(tmp_path / "b.nii", volume.array[0].astype(np.uint8), volume.grid, "axial")
    written, source = nib.load(tmp_path / "b.nii"), nib.load(path)
    assert np.array_equal(written.affine, source.affine)
    for field in ("xyzt_units", "pixdim", "srow_x", "sform_code", "qform_code"):
        assert np.array_equal(written.header[field], source.header[field]), field
    require_same_grid(read_grid(tmp_path / "b.nii"), plain)


def test_a_microscopes_voxels_are_read_and_what_no_unit_explains_is_not(tmp_path):
    small = read_grid(write_in(tmp_path / "a.nii", MICRON, 1))
    assert small.spacing("axial") == pytest.approx((0.003, 0.0007, 0.0005))
    with pytest.raises(UsageError, match="spacing of 1000 x 1400 x 6000 mm in its header"):
        read_grid(write_in(tmp_path / "a.nii", METRE, 2))


def test_a_second_writing_gives_the_same_bytes_and_leaves_no_other_file(tmp_path):
    grid = read_grid(write_nifti(tmp_path / "in" / "a.nii.gz", ARRAY))
    labels = np.ones(SHAPE[::-1], np.uint8)
    (tmp_path / "out").mkdir()
    write_like(tmp_path / "out" / "a.nii.gz", labels, grid, "axial")
    first = (tmp_path / "out" / "a.nii.gz").read_bytes()
    write_like(tmp_path / "out" / "a.nii.gz", labels, grid, "axial")
    assert (tmp_path / "out" / "a.nii.gz").read_bytes() == first
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.nii.gz"]
    with pytest.raises(WriteError, match="cannot write"):
        write_like(tmp_path / "nowhere" / "a.nii.gz", labels, grid, "axial")


def test_near_45_degrees_files_have_the_axes_of_the_image_they_belong_to(tmp_path):
    """Each by itself would be turned as its header happens to round."""
    image, other = (
        write_nifti(tmp_path / f"{by}.nii", ARRAY[:4, :4], near_45(by)) for by in (1e-6, -1e-6)
    )
    expected = read_volume(image, "axial").array
    assert not np.array_equal(read_volume(other, "axial").array, expected)
    assert np.array_equal(read_volume(other, "axial", read_grid(image)).array, expected)
    first, second = read_channels([image, other], "axial")
    assert np.array_equal(first.array, second.array)


def test_channels_come_from_one_4d_file_or_from_several(tmp_path):
    array = np.random.default_rng(1).normal(size=(*SHAPE, 2)).astype(np.float32)
    whole = write_nifti(tmp_path / "w.nii.gz", array)
    single = [write_nifti(tmp_path / f"{c}.nii.gz", array[..., c]) for c in range(2)]
    for files in ([whole], single):
        found = [volume.array[0] for volume in read_channels(files, "coronal")]
        assert len(found) == 2
        for channel in range(2):
            assert np.array_equal(found[channel], array[..., channel].transpose(1, 2, 0))


@pytest.mark.parametrize("more", range(1, 5))
def test_further_dimensions_of_one_are_none(tmp_path, more):
    volume = read_volume(write_nifti(tmp_path / "a.nii", ARRAY[(..., *more * [None])]), "axial")
    assert volume.grid.channels == 1
    assert np.array_equal(volume.array[0], ARRAY.T)
