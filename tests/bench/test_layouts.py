"""Both layouts give the same; what is wrong is collected."""

import json
from pathlib import Path

import pytest

from inflate_zoo.bench.layouts import read_dataset, refuse_problems
from inflate_zoo.errors import UsageError
from tests.support.datasets import (
    ABSENT,
    LABELS,
    TASK04,
    change_table,
    write_decathlon,
    write_nnunet,
    write_table,
)


@pytest.fixture(scope="module")
def decathlon(tmp_path_factory):
    return write_decathlon(tmp_path_factory.mktemp("a") / "Boxes", shape=(4, 4, 4))


@pytest.fixture
def nnunet(tmp_path):
    return write_nnunet(tmp_path / "Dataset001_Boxes", cases=3, shape=(4, 4, 4))


def told(dataset):
    return [f"{problem.case}: {problem.what}" for problem in dataset.problems]


def changed(decathlon, tmp_path, **changes):
    """The Decathlon data set with another dataset.json."""
    table = json.loads((decathlon / "dataset.json").read_text())
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).symlink_to(decathlon / name)
    write_table(tmp_path, table)
    return read_dataset(change_table(tmp_path, **changes))


def test_decathlon(decathlon):
    dataset = read_dataset(decathlon)
    assert (dataset.name, dataset.title, dataset.modality) == ("Boxes", "Boxes", "MRI")
    assert (dataset.license, dataset.citation) == ("CC0-1.0", "nobody")
    assert dict(dataset.labels) == LABELS
    assert dict(dataset.regions) == {"front": (1,), "back": (2,)}
    assert [case.name for case in dataset.cases] == [f"case_{n:02d}" for n in range(10)]
    assert dataset.cases[3].images == (decathlon / "imagesTr" / "case_03.nii.gz",)
    assert dataset.cases[3].label == decathlon / "labelsTr" / "case_03.nii.gz"
    assert not dataset.problems
    refuse_problems(dataset)


def test_nnunet_with_two_channels_and_plain_files(tmp_path):
    folder = write_nnunet(tmp_path / "D", 2, (4, 4, 4), ("T1", "T2"), ending=".nii")
    dataset = read_dataset(folder)
    assert (dataset.name, dataset.modality, dataset.channels) == ("D", "MRI", ("T1", "T2"))
    assert [path.name for path in dataset.cases[1].images] == [
        "case_01_0000.nii",
        "case_01_0001.nii",
    ]
    assert dict(dataset.labels) == LABELS
    assert dict(dataset.regions) == {"front": (1,), "back": (2,)}
    assert not dataset.problems


def test_nnunet_regions_give_labels_of_their_own(nnunet):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [3, 2], "active": 3}
    dataset = read_dataset(change_table(nnunet, labels=labels))
    assert dict(dataset.labels) == {"background": 0, "label 1": 1, "label 2": 2, "active": 3}
    assert dict(dataset.regions) == {"whole": (1, 2, 3), "core": (2, 3), "active": (3,)}
    assert not dataset.problems


@pytest.mark.parametrize(
    "names, modality",
    [
        (["CT"], "CT"),
        (["ct"], "CT"),
        (["MRI"], "MRI"),
        (["T1w", "t1gd", "FLAIR", "T2 weighted"], "MRI"),
        (["CT or MR"], "CT or MR"),
        (["CT", "PET"], "CT + PET"),
        (["ultrasound"], "ultrasound"),
        (["pdq"], "MRI"),
        (["tangent1"], "tangent1"),
    ],
)
def test_modality(nnunet, names, modality):
    table = change_table(nnunet, channel_names={str(n): name for n, name in enumerate(names)})
    assert read_dataset(table).modality == modality


@pytest.mark.parametrize("table", [{}, {"training": []}, {"channel_names": {"0": "CT"}}])
def test_an_unknown_layout_names_the_two_that_are_known(tmp_path, table):
    with pytest.raises(UsageError) as caught:
        read_dataset(write_table(tmp_path, table))
    assert "Decathlon" in caught.value.hint
    assert "nnU-Net" in caught.value.hint


def test_a_folder_without_dataset_json_names_the_layouts(tmp_path):
    with pytest.raises(UsageError, match=r"has no dataset\.json") as caught:
        read_dataset(tmp_path)
    assert "channel_names" in caught.value.hint
    with pytest.raises(UsageError, match="is no folder"):
        read_dataset(tmp_path / "nowhere")


def test_what_cannot_be_read_at_all_is_refused(nnunet):
    table = json.loads((nnunet / "dataset.json").read_text())
    for changes, message in (
        ({"labels": LABELS | {"ignore": 3}}, "'ignore' label"),
        ({"file_ending": ".mha"}, "end in '.mha'"),
        ({"dataset": {"a": {"images": ["../x"], "label": "/y"}}}, "under 'dataset'"),
    ):
        with pytest.raises(UsageError, match=message):
            read_dataset(write_table(nnunet, table | changes))


@pytest.mark.parametrize(
    "path",
    ["../secret.nii.gz", "/etc/x.nii.gz", "imagesTr/../../x.nii.gz", "C:\\x.nii.gz", "\\\\host\\x",
     "a\\..\\..\\x.nii.gz", "", 5, None, ["a"], "a\0b"],
)  # fmt: skip
def test_paths_that_lead_out_of_the_folder_are_not_followed(decathlon, tmp_path, path):
    good = {"image": "imagesTr/case_00.nii.gz", "label": "labelsTr/case_00.nii.gz"}
    dataset = changed(decathlon, tmp_path, training=[good, good | {"image": path}, {"label": path}])
    assert [case.name for case in dataset.cases] == ["case_00"]
    assert [problem.split(" does")[0] for problem in told(dataset)] == [
        ": dataset.json: training[1]",
        ": dataset.json: training[2]",
    ]


def test_missing_and_double_cases_are_collected(decathlon, tmp_path):
    entries = json.loads((decathlon / "dataset.json").read_text())["training"]
    entries += [entries[4], {"image": "imagesTr/x.nii.gz", "label": f"{'n' * 300}.nii.gz"}, "text"]
    entries[2] = entries[2] | {"image": "./imagesTr/absent.nii.gz"}
    dataset = changed(decathlon, tmp_path, training=entries)
    assert len(dataset.cases) == 9
    assert told(dataset) == [
        "case_02: missing: imagesTr/absent.nii.gz",
        "case_04: stands twice in the data set",
        f"{'n' * 300}: missing: imagesTr/x.nii.gz, {tmp_path.name}/{'n' * 300}.nii.gz",
        ": dataset.json: training[12] does not name image and label inside the folder",
    ]
    with pytest.raises(UsageError, match="has 4 problem") as caught:
        refuse_problems(dataset)
    assert "  case_02: missing: imagesTr/absent.nii.gz" in caught.value.lines()


def test_nnunet_missing_files_and_leftovers_are_collected(nnunet):
    (nnunet / "imagesTr" / "case_00_0000.nii.gz").unlink()
    (nnunet / "labelsTr" / "case_01.nii.gz").unlink()
    (nnunet / "imagesTr" / "._case_02_0000.nii.gz").write_bytes(b"macOS")
    dataset = read_dataset(change_table(nnunet, numTraining=4))
    assert [case.name for case in dataset.cases] == ["case_02"]
    assert told(dataset) == [
        "case_00: missing: imagesTr/case_00_0000.nii.gz",
        "case_01: missing: labelsTr/case_01.nii.gz",
        ": dataset.json: 'numTraining' is 4, the folders hold 3 cases",
    ]


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"labels": []}, "'labels' is no object"),
        ({"labels": {"0": "background", "x": "liver"}}, "label 'x': 'liver'"),
        ({"labels": {"0": "background", "1": 5}}, "label '1': 5"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "label 2 is named 'a' like another"),
        ({"labels": {"0": "background", "256": "a"}}, "label 256 is above 255"),
        ({"labels": {"1": "liver"}}, "no label 0"),
        ({"labels": {"0": "background"}}, "nothing besides the background"),
        ({"modality": {"1": "CT"}}, "'modality' is no object from 0, 1"),
        ({"modality": {"0": 7}}, "'modality' is no object from 0, 1"),
        ({"modality": "CT"}, "'modality' is no object"),
        ({"training": {}}, "'training' is no list"),
    ],
)
def test_malformed_fields_are_collected(decathlon, tmp_path, changes, expected):
    assert any(expected in line for line in told(changed(decathlon, tmp_path, **changes)))


@pytest.mark.parametrize(
    "labels, expected",
    [
        ({"background": 0, "a": "1"}, "label 'a' is '1'"),
        ({"background": 0, "a": True}, "label 'a' is True"),
        ({"background": 0, "a": []}, r"label 'a' is \[\]"),
        ({"background": 0, "a": [0, 1]}, r"label 'a' is \[0, 1\]"),
        ({"background": 0, "a": 300}, "label 'a' is 300"),
        ({"background": 0, "a": 1, "b": 1}, "two labels have the same value"),
        ({"a": 1}, "no label 0"),
    ],
)
def test_malformed_nnunet_labels_are_collected(nnunet, labels, expected):
    lines = "\n".join(told(read_dataset(change_table(nnunet, labels=labels))))
    assert expected.replace("\\", "") in lines


@pytest.mark.skipif(not TASK04.is_dir(), reason=ABSENT)
def test_the_real_task04():
    dataset = read_dataset(TASK04)
    assert len(dataset.cases) == 260
    assert dict(dataset.labels) == {"background": 0, "Anterior": 1, "Posterior": 2}
    assert dataset.modality == "MRI"
    assert not dataset.problems
    assert isinstance(dataset.folder, Path)
