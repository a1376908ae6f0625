"""All that is wrong with a data set, in one pass; and the command that prints it."""

import gzip
import json
import re

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from inflate_zoo.bench.data import checking, volumes
from inflate_zoo.bench.data.checking import check
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.data.remembered import Remembered
from inflate_zoo.cli.bench.data import app
from tests.support.datasets import (
    ABSENT,
    TASK04,
    change_table,
    in_unit,
    random_volume,
    write_decathlon,
    write_nifti,
    write_nnunet,
)

SHAPE = (12, 10, 8)
IMAGE, LABEL = random_volume(0, SHAPE, 1)
IMAGE = IMAGE[..., 0]


def run(*words):
    return CliRunner().invoke(app, ["check", *(str(word) for word in words)])


def put(array, value):
    array = array.copy()
    array[3, 2, 1] = value
    return array


def moved():
    affine = np.eye(4)
    affine[0, 3] = 1
    return affine


def damaged(path):
    path.write_bytes(path.read_bytes()[:-9])


def zero_spacing(path):
    raw = bytearray(gzip.decompress(path.read_bytes()))
    header = nib.Nifti1Header(bytes(raw[:348]))
    header["pixdim"][2] = 0
    raw[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(raw)))


def writer(kind, array, affine=np.eye(4)):  # noqa: B008 - never changed
    return kind, lambda path: write_nifti(path, array, affine)


FLOAT = LABEL.astype(np.float32)
FAULTS = {
    "image cut off": (("image", damaged), "imagesTr/X.nii.gz' is cut off"),
    "label cut off": (("label", damaged), "labelsTr/X.nii.gz' is cut off"),
    "spacing 0": (("image", zero_spacing), "spacing of 1 x 0 x 1 mm in its header"),
    "NaN": (
        writer("image", put(IMAGE, np.nan)),
        "X.nii.gz' holds 1 voxels that are NaN or infinite",
    ),
    "Inf": (writer("image", put(IMAGE, -np.inf)), "holds 1 voxels that are NaN or infinite"),
    "too large": (writer("image", put(IMAGE.astype(float), 1e300)), "holds 1 voxels that are NaN"),
    "constant": (writer("image", np.full(SHAPE, 7, np.int16)), "holds one value only, 7"),
    "all NaN": (writer("image", np.full(SHAPE, np.nan)), "960 voxels that are NaN"),
    "4-D image": (writer("image", IMAGE[..., None].repeat(2, 3)), "2 channel.* names 1"),
    "4-D label": (writer("label", LABEL[..., None].repeat(2, 3)), "is 4-D with 2 channels"),
    "shape": (writer("label", LABEL[1:]), "is 11 x 10 x 8 voxels, its image 12 x 10 x 8"),
    "affine": (writer("label", LABEL, moved()), "lies elsewhere than its image: 1 mm apart"),
    "spacing": (writer("label", LABEL, np.diag([1, 1, 2, 1])), "spacing of 1 x 1 x 2 mm"),
    "unknown": (writer("label", put(LABEL, 9)), "values that dataset.json does not name: 9 "),
    "fraction": (writer("label", put(FLOAT, 0.5)), "labelsTr/X.nii.gz' holds fractions: 0.5"),
    "NaN label": (writer("label", put(FLOAT, np.nan)), "its label .* 1 voxels that are NaN"),
    "negative": (writer("label", put(FLOAT, -1)), "does not name: -1"),
    "many": (writer("label", np.arange(960).reshape(SHAPE).astype(np.int16)), "7 and 952 more"),
}


def test_every_fault_is_found_in_one_pass_and_each_bad_case_is_one_line(tmp_path):
    folder = write_decathlon(tmp_path, len(FAULTS) + 2, SHAPE)
    expected = {}
    for number, ((kind, spoil), message) in enumerate(FAULTS.values()):
        name = f"case_{number:02d}"
        spoil(folder / f"{kind}sTr" / f"{name}.nii.gz")
        expected[name] = message.replace("X.nii", f"{name}.nii")
    last = len(FAULTS)
    (folder / "imagesTr" / f"case_{last}.nii.gz").unlink()
    expected[f"case_{last}"] = "missing: imagesTr"

    result = run(folder)
    assert result.exit_code == 2
    *lines, counts = result.stdout.splitlines()
    found = {line.split(": ")[1]: line for line in lines}
    assert len(found) == len(lines) == len(expected) > 10
    for name, message in expected.items():
        assert found[name].startswith("bad: ")
        assert re.search(message, found[name]), (message, found[name])
    assert counts == f"{last + 1} cases read: {last + 1} bad, 0 with warnings"
    assert str(tmp_path) not in result.output


def test_a_sound_data_set(tmp_path):
    folder = write_nnunet(tmp_path, 10, SHAPE, ("T1", "T2"))
    result = run(folder)
    assert result.exit_code == 0
    assert result.stdout == "10 cases read: 0 bad, 0 with warnings\n"
    assert check(read_dataset(folder)).bad == ()


def test_warnings_do_not_fail(tmp_path):
    folder = write_decathlon(tmp_path, 10, SHAPE)
    write_nifti(folder / "labelsTr" / "case_04.nii.gz", np.zeros(SHAPE, np.uint8))
    image = nib.load(folder / "imagesTr" / "case_05.nii.gz")
    raw = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(raw[:348]))
    header["pixdim"][1:4] = 2
    raw[:348] = header.binaryblock
    (folder / "imagesTr" / "case_05.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    result = run(folder)
    assert result.exit_code == 0
    first, second, counts = result.stdout.splitlines()
    assert first.startswith("warning: case_04: its label 'labelsTr/case_04.nii.gz' is all back")
    assert "spacing of 2 x 2 x 2 mm in its header, 1 x 1 x 1 in its affine" in second
    assert counts == "10 cases read: 0 bad, 2 with warnings"


def test_too_few_cases_and_problems_of_the_whole(tmp_path):
    folder = change_table(write_decathlon(tmp_path, 9, (4, 4, 4)), modality={"1": "CT"})
    result = run(folder)
    assert result.exit_code == 2
    first, second, counts = result.stdout.splitlines()
    assert first.startswith("bad: data set: dataset.json: 'modality' is no object from 0, 1")
    assert second.startswith("bad: data set: 9 usable cases are too few for 5 folds (at least 10")
    assert counts.endswith("; 2 problem(s) of the whole data set")
    assert not check(read_dataset(write_decathlon(tmp_path, 10, (4, 4, 4)))).bad


def test_one_4d_file_where_each_channel_has_a_file(tmp_path):
    folder = write_nnunet(tmp_path, 10, SHAPE, ("T1", "T2"))
    write_nifti(folder / "imagesTr" / "case_03_0000.nii.gz", IMAGE[..., None].repeat(2, 3))
    write_nifti(folder / "imagesTr" / "case_05_0001.nii.gz", IMAGE[1:])
    report = check(read_dataset(folder))
    differs = "is 12 x 10 x 8 voxels, its image 11 x 10 x 8"
    assert [(finding.case, finding.what) for finding in report.bad] == [
        ("case_03", "'imagesTr/case_03_0000.nii.gz' is 4-D, one channel per file is expected"),
        ("case_03", "the image has 3 channel(s), dataset.json names 2"),
        ("case_05", f"its label 'labelsTr/case_05.nii.gz' {differs}"),
    ]


def test_a_constant_channel_of_a_4d_file_is_named(tmp_path):
    folder = write_decathlon(tmp_path, 10, SHAPE, ("T1", "T2"))
    array = np.stack([IMAGE, np.full(SHAPE, 3)], 3).astype(np.float32)
    write_nifti(folder / "imagesTr" / "case_03.nii.gz", array)
    (finding,) = check(read_dataset(folder)).bad
    assert finding.what == "'imagesTr/case_03.nii.gz' channel 1 holds one value only, 3"


def test_large_values_that_lie_close_are_several(tmp_path):
    folder = write_decathlon(tmp_path, 10, SHAPE)
    array = 2**30 + np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE) % 3
    write_nifti(folder / "imagesTr" / "case_03.nii.gz", array)
    assert not check(read_dataset(folder)).bad


def one_hot(label, classes):
    return np.stack([label == value for value in classes], 3).astype(np.uint8)


@pytest.mark.parametrize(
    "array, told",
    [
        (one_hot(LABEL, (0, 1, 2)), "is one-hot: 3 channels of 0 and 1.*np.argmax"),
        (one_hot(LABEL, (1, 2)), "is one-hot without the background: 2 channels"),
        (np.moveaxis(one_hot(LABEL, (0, 1, 2)), 3, 0), "one-hot along another axis than the last"),
        (np.stack([LABEL > 0, LABEL > 1], 3).astype(np.uint8), "masks that overlap: 2 channels"),
        (LABEL[..., None].repeat(2, 3), "is 4-D with 2 channels, 3-D is expected"),
    ],
)
def test_labels_of_several_channels_are_recognised(tmp_path, array, told):
    folder = write_decathlon(tmp_path, 10, SHAPE)
    write_nifti(folder / "labelsTr" / "case_03.nii.gz", array)
    line, counts = run(folder).stdout.splitlines()
    assert re.search(f"case_03: its label 'labelsTr/case_03.nii.gz' .*{told}", line)
    assert counts.startswith("10 cases read: 1 bad")


def test_channels_that_come_first_are_recognised(tmp_path):
    folder = write_decathlon(tmp_path, 10, SHAPE, ("T1", "T2"))
    write_nifti(folder / "imagesTr" / "case_03.nii.gz", np.stack([IMAGE, IMAGE]))
    line, _ = run(folder).stdout.splitlines()
    assert "8 channel(s), dataset.json names 2 (channels come last in NIfTI" in line


def test_units_may_be_mixed_and_a_lost_one_is_told(tmp_path):
    folder = write_decathlon(tmp_path, 10, SHAPE)
    for kind, per_mm, code in (("images", 1000, 3), ("labels", 0.001, 1)):
        in_unit(folder / f"{kind}Tr" / "case_03.nii.gz", per_mm, code)
    assert check(read_dataset(folder)).bad == ()
    for kind in ("images", "labels"):
        in_unit(folder / f"{kind}Tr" / "case_05.nii.gz", 1000, 0)
    line, counts = run(folder).stdout.splitlines()
    assert "case_05.nii.gz' has voxels 1e+03 mm wide, most cases 1 mm; its header states no" in line
    assert "xyzt_units" in line
    assert counts.startswith("10 cases read: 1 bad")


@pytest.mark.parametrize("per_mm, code, told", [(999, 0, "micron"), (0.001, 2, "metres")])
def test_a_whole_data_set_in_an_unlikely_unit_is_one_warning(tmp_path, per_mm, code, told):
    folder = write_decathlon(tmp_path, 10, (4, 4, 4))
    for path in folder.glob("*/*.nii.gz"):
        in_unit(path, per_mm, code)
    line, counts = run(folder).stdout.splitlines()
    assert re.match(f"warning: data set: voxels are .* wide: are they in {told}", line)
    assert counts.startswith("10 cases read: 0 bad")


def test_a_qform_unlike_its_sform_is_a_warning(tmp_path):
    folder = write_decathlon(tmp_path, 10, SHAPE)
    for kind in ("images", "labels"):
        path = folder / f"{kind}Tr" / "case_02.nii.gz"
        image = nib.load(path)
        image.set_qform(moved(), 1)
        image.set_sform(np.eye(4), 1)
        nib.save(image, path)
    result = run(folder)
    line, _ = result.stdout.splitlines()
    assert line.startswith("warning: case_02: ")
    assert line.count("has a qform unlike its sform: 1 mm apart; the sform counts") == 2
    assert result.exit_code == 0


def test_a_sheared_image_is_a_warning_also_once_it_was_found_good(tmp_path):
    folder, affine = write_decathlon(tmp_path / "data", 10, SHAPE), np.eye(4)
    affine[1, 2] = np.tan(np.radians(20))
    for kind in ("images", "labels"):
        path = folder / f"{kind}Tr" / "case_02.nii.gz"
        write_nifti(path, np.asarray(nib.load(path).dataobj), affine)
    line, _ = run(folder).stdout.splitlines()
    assert line.startswith("warning: case_02: 'imagesTr/case_02.nii.gz' is sheared by its affine")
    for _ in range(2):
        (found,) = check(read_dataset(folder), remembered=Remembered(tmp_path / "cache")).warnings
        assert "a voxel is 94.0% of what its edges span" in found.what


def test_whole_numbers_up_to_rounding_are_told_as_such(tmp_path):
    folder = write_decathlon(tmp_path, 10, SHAPE)
    write_nifti(folder / "labelsTr" / "case_01.nii.gz", FLOAT + np.float32(1e-6) * (FLOAT == 2))
    scaled = nib.Nifti1Image(LABEL.astype(np.int16) * 1000, np.eye(4))
    scaled.header.set_slope_inter(0.001, 1e-3)
    nib.save(scaled, folder / "labelsTr" / "case_02.nii.gz")
    write_nifti(folder / "labelsTr" / "case_03.nii.gz", put(FLOAT + np.float32(1e-6), 0.5))
    first, second, third, _ = run(folder).stdout.splitlines()
    assert "'labelsTr/case_01.nii.gz' holds fractions: 2.00000095367" in first
    assert "holds fractions: 0.001, 1.001, 2.001" in second
    for line in (first, second):
        assert "(write np.rint(label).astype(np.uint8), without scl_slope and scl_inter)" in line
    assert "np.rint" not in third


def test_slices_that_lie_otherwise_in_some_cases_are_a_warning(tmp_path):
    """As oblique ones near 45 degrees, which differ between patients by little."""
    folder = write_decathlon(tmp_path, 10, SHAPE, affine=turned(44))
    assert check(read_dataset(folder)).warnings == ()
    for name in ("case_03", "case_07"):
        for kind in ("images", "labels"):
            path = folder / f"{kind}Tr" / f"{name}.nii.gz"
            write_nifti(path, np.asarray(nib.load(path).dataobj), turned(46))
    result = run(folder)
    line, _ = result.stdout.splitlines()
    assert line.startswith(
        "warning: data set: voxels are thickest along superior (axial slices) in 8 case(s), e.g. "
        "'case_00', 'case_01', 'case_02'; along anterior (coronal slices) in 2 case(s), "
        "'case_03', 'case_07' (a derived task mixes their axes"
    )
    assert result.exit_code == 0


def turned(degrees):
    """Of slices 8 mm thick, turned about the first axis."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turn = np.array([[1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1]])
    return turn @ np.diag([1.4, 1.4, 8, 1])


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"a": "front", "b": "back"}},
        {"labels": {"0": "background"}},
        {"labels": ["front"]},
        {"modality": "MRI"},
        {"modality": ["MRI"]},
    ],
)
def test_what_is_wrong_with_dataset_json_is_one_line_not_one_per_case(tmp_path, changes):
    folder = change_table(write_decathlon(tmp_path, 10, (4, 4, 4)), **changes)
    line, counts = run(folder).stdout.splitlines()
    assert line.startswith("bad: data set: dataset.json: ")
    assert counts.startswith("10 cases read: 0 bad")


@pytest.mark.parametrize(
    "name, shown",
    [
        ("a\nbad: case_01: forged", "a\\nbad: case_01: forged"),
        ("<img onerror=alert(1)>", "<img onerror=alert(1)>"),
        ("=1+1", "=1+1"),
        ("n" * 242, "n" * 242),  # 255 bytes with the ending and the channel
        ("a\u202egzi\u2066", "a\\u202egzi\\u2066"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_hostile_names_stay_on_their_line(tmp_path, name, shown):
    folder = write_nnunet(tmp_path, 10, (4, 4, 4))
    write_nifti(tmp_path / "labelsTr" / "new.nii.gz", np.zeros((4, 4, 4), np.uint8))
    (tmp_path / "labelsTr" / "new.nii.gz").rename(tmp_path / "labelsTr" / f"{name}.nii.gz")
    (tmp_path / "imagesTr" / f"{name}_0000.nii.gz").write_bytes(b"\x1f\x8b")
    result = run(change_table(folder, numTraining=11))
    bad, warning, counts = result.stdout.splitlines()
    assert bad.startswith(f"bad: {shown}: ")
    assert warning.startswith(f"warning: {shown}: ")
    assert "is cut off" in bad
    assert counts == "11 cases read: 1 bad, 1 with warnings"
    assert result.exit_code == 2
    found = json.loads(run(folder, "--format", "json").stdout)
    assert found["bad"][0]["case"] == name


def test_memory_that_does_not_suffice_is_one_bad_case(tmp_path, monkeypatch):
    folder = write_decathlon(tmp_path, 10, (4, 4, 4))

    def refuse(path, slices, like=None):
        if path.name == "case_03.nii.gz":
            raise MemoryError
        return volumes.read_volume(path, slices, like)

    monkeypatch.setattr(checking, "read_volume", refuse)
    (finding,) = check(read_dataset(folder)).bad
    assert (finding.case, finding.what) == (
        "case_03",
        "'labelsTr/case_03.nii.gz' does not fit into memory",
    )


def test_progress_is_told(tmp_path):
    steps = []
    check(
        read_dataset(write_decathlon(tmp_path, 3, (4, 4, 4))), progress=lambda *s: steps.append(s)
    )
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.skipif(not TASK04.is_dir(), reason=ABSENT)
def test_the_real_task04_is_sound():
    report = check(read_dataset(TASK04))
    assert (report.cases, report.bad, report.warnings) == (260, (), ())
