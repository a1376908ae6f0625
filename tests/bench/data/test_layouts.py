"""Both layouts give the same; what is wrong is collected."""

import json
import os
from pathlib import Path

import pytest

from inflate_zoo.bench.data.deriving import derive_task
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.definitions.datasets import refuse_problems
from inflate_zoo.errors import UsageError
from tests.support.datasets import ABSENT, LABELS, TASK04, change_table, write_nnunet, write_table
from tests.support.layouts import changed, told


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
    ):
        with pytest.raises(UsageError, match=message):
            read_dataset(write_table(nnunet, table | changes))


@pytest.mark.parametrize(
    "path",
    ["../secret.nii.gz", "/etc/x.nii.gz", "imagesTr/../../x.nii.gz", "C:\\x.nii.gz", "\\\\host\\x",
     "a\\..\\..\\x.nii.gz", "", 5, None, [], ["a", "../b"], [["a"]], ".", "a\0b"],
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


def shown(dataset):
    return [finding.what for finding in dataset.warnings]


def test_nnunets_first_version(decathlon, tmp_path):
    """`a.nii.gz` in dataset.json, `a_0000.nii.gz` and so on beside it."""
    for name in ("a", "b"):
        write_volumes(tmp_path, [f"imagesTr/{name}_{c:04d}.nii.gz" for c in (0, 1)])
        write_volumes(tmp_path, [f"labelsTr/{name}.nii.gz"])
    write_volumes(tmp_path, ["imagesTr/whole.nii.gz", "imagesTr/whole_0000.nii.gz"])
    write_volumes(tmp_path, ["labelsTr/whole.nii.gz"])
    table = json.loads((decathlon / "dataset.json").read_text()) | {
        "modality": {"0": "T1", "1": "T2"},
        "training": [
            entry("a"),
            entry("b") | {"image": "./imagesTr/b_0000.nii.gz"},
            entry("whole"),
        ],
    }
    dataset = read_dataset(write_table(tmp_path, table))
    assert not dataset.problems
    assert [[path.name for path in case.images] for case in dataset.cases] == [
        ["a_0000.nii.gz", "a_0001.nii.gz"],
        ["b_0000.nii.gz", "b_0001.nii.gz"],
        ["whole.nii.gz"],
    ]
    (tmp_path / "imagesTr" / "a_0001.nii.gz").unlink()
    assert told(read_dataset(tmp_path)) == ["a: missing: imagesTr/a_0001.nii.gz"]
    one = read_dataset(change_table(tmp_path, modality={"0": "T1"}))
    assert [path.name for case in one.cases for path in case.images] == [
        "a_0000.nii.gz",
        "b_0000.nii.gz",
        "whole.nii.gz",
    ]


def test_names_that_are_no_text_are_told(nnunet):
    """An archive of an older system has such; no record could hold them."""
    for folder, end in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        odd = os.fsdecode(b"M\xfcller" + end.encode())
        (nnunet / folder / f"case_01{end}").rename(nnunet / folder / odd)
    dataset = read_dataset(nnunet)
    assert [case.name for case in dataset.cases] == ["case_00", "case_02"]
    assert told(dataset) == ["M\udcfcller: has a name that is no UTF-8, as another system wrote it"]


def test_a_folder_whose_name_is_no_text_is_read(tmp_path):
    folder = write_nnunet(tmp_path / os.fsdecode(b"M\xfcller"), 3, (4, 4, 4))
    dataset = read_dataset(folder)
    assert (dataset.name, dataset.title) == ("M?ller", "M?ller")
    assert derive_task(dataset, ["case_00"], "x").title == "M?ller"


@pytest.mark.parametrize("changes", [
    {"name": "a\ud800"}, {"licence": "\udcff"}, {"reference": "\udcff"},
    {"labels": {"background": 0, "\udcff": 1, "b": 2}}, {"channel_names": {"0": "\udcff"}},
])  # fmt: skip
def test_half_characters_in_dataset_json_are_told(nnunet, changes):
    (key,) = changes
    what = f": dataset.json: '{key}' holds half a character, which is no text"
    assert told(read_dataset(change_table(nnunet, **changes))) == [what]


@pytest.mark.parametrize("key", ["name", "licence", "reference", "channel_names"])
def test_texts_longer_than_a_task_takes_are_told(nnunet, key):
    for letters, count in ((10_000, 0), (10_001, 1)):
        text = "a" * letters
        change_table(nnunet, **{key: {"0": text} if key == "channel_names" else text})
        dataset = read_dataset(nnunet)
        what = f": dataset.json: '{key}' holds a text of more than 10,000 letters"
        assert told(dataset) == [what] * count
        if not count:
            derive_task(dataset, ["case_00"], "x")


def test_a_channel_that_is_not_named_is_told_as_nnunet_tells_it(tmp_path):
    for version in (1, 2):
        folder = write_nnunet(tmp_path / str(version), 2, (4, 4, 4), ("T1", "T2"))
        if version == 1:
            names = ("case_00", "case_01")
            write_table(folder, {
                "modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "box"},
                "training": [
                    {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"}
                    for n in names
                ],
            })  # fmt: skip
        assert not told(read_dataset(folder))
        for number in (2, 3):
            (folder / "imagesTr" / f"case_01_000{number}.nii.gz").write_bytes(b"")
        what = "case_01: imagesTr/case_01_0002.nii.gz is a channel more than the 2 named"
        assert told(read_dataset(folder)) == [what]


def test_numbered_cases_that_are_listed_are_no_channels_of_one_another(decathlon, tmp_path):
    """4-D images, as the Decathlon has several channels."""
    names = [f"pat_{number:04d}" for number in range(3)]
    for folder in ("imagesTr", "labelsTr"):
        write_volumes(tmp_path, [f"{folder}/{name}.nii.gz" for name in names])
    table = json.loads((decathlon / "dataset.json").read_text()) | {
        "modality": {"0": "T1", "1": "T2"},
        "training": [entry(name) for name in names],
    }
    dataset = read_dataset(write_table(tmp_path, table))
    assert not dataset.problems
    assert {case.name: [path.name for path in case.images] for case in dataset.cases} == {
        name: [f"{name}.nii.gz"] for name in names
    }
    change_table(tmp_path, training=[entry(names[0])])
    (case,) = read_dataset(tmp_path).cases  # nobody else claims the second
    assert [path.name for path in case.images] == ["pat_0000.nii.gz", "pat_0001.nii.gz"]


def entry(name):
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def write_volumes(folder, names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")


def test_paths_of_windows_and_lists_of_images(decathlon, tmp_path):
    names = [f"imagesTr/case_0{n}.nii.gz" for n in range(3)]
    dataset = changed(
        decathlon,
        tmp_path,
        training=[
            {"image": ".\\imagesTr\\case_00.nii.gz", "label": "labelsTr\\case_00.nii.gz"},
            {"image": names[1:], "label": ["labelsTr/case_01.nii.gz"]},
            {"image": names[0], "label": ["labelsTr/case_02.nii.gz"] * 2},
        ],
    )
    assert [[str(path.relative_to(tmp_path)) for path in c.images] for c in dataset.cases] == [
        names[:1],
        names[1:],
    ]
    assert [problem.split(" does")[0] for problem in told(dataset)] == [
        ": dataset.json: training[2]"
    ]


def test_a_backslash_that_a_file_really_has_stays(decathlon, tmp_path):
    write_volumes(tmp_path, ["odd\\name.nii.gz"])
    label = "labelsTr/case_00.nii.gz"
    dataset = changed(decathlon, tmp_path, training=[{"image": "odd\\name.nii.gz", "label": label}])
    assert dataset.cases[0].images == (tmp_path / "odd\\name.nii.gz",)


def test_labels_of_one_name_are_told_apart_by_their_folders(decathlon, tmp_path):
    names = [f"{case}/{part}.nii.gz" for case in ("case_1", "case_2") for part in ("scan", "seg")]
    write_volumes(tmp_path, names)
    entries = [{"image": names[n], "label": names[n + 1]} for n in (0, 2, 2)]
    dataset = changed(decathlon, tmp_path, training=entries)
    assert [case.name for case in dataset.cases] == ["case_1_seg", "case_2_seg"]
    assert told(dataset) == ["case_2_seg: stands twice in the data set"]


def test_entries_that_are_all_alike_wrong_are_one_line(decathlon, tmp_path):
    entries = [{"image": f"/home/me/{n}.nii.gz", "label": f"/home/me/{n}.nii"} for n in range(9)]
    (line,) = told(changed(decathlon, tmp_path, training=entries))
    assert "training[0] does not name" in line
    assert "nor does any other of 9 entries" in line


def test_cases_that_nnunet_lists_itself(nnunet):
    listed = {
        "one": {"images": ["imagesTr\\case_00_0000.nii.gz"], "label": "labelsTr/case_00.nii.gz"},
        "../two": {"images": ["imagesTr/case_01_0000.nii.gz"], "label": "labelsTr/case_01.nii.gz"},
        "three": {"images": ["../x"], "label": "/y"},
    }
    dataset = read_dataset(change_table(nnunet, dataset=listed, file_ending="nii.gz"))
    assert [(case.name, case.label.name) for case in dataset.cases] == [("one", "case_00.nii.gz")]
    assert told(dataset) == [
        "../two: has a name that no file can have",
        ": dataset.json: dataset['three'] does not name image and label inside the folder",
    ]


def test_a_file_ending_without_its_dot(nnunet):
    dataset = read_dataset(change_table(nnunet, file_ending="nii.gz"))
    assert len(dataset.cases) == 3
    assert not dataset.problems


def test_a_file_ending_that_no_file_has_is_one_line(nnunet):
    dataset = read_dataset(change_table(nnunet, file_ending=".nii"))
    assert told(dataset) == [": dataset.json: 'file_ending' is '.nii', the labels end in '.nii.gz'"]
    assert len(dataset.cases) == 3


@pytest.mark.parametrize(
    "key, extra", [("validation", {}), ("val", {"fold": 0}), ("test", {"weight": 1.0})]
)
def test_labelled_cases_that_are_not_used_are_counted(decathlon, tmp_path, key, extra):
    entries = [
        one | extra for one in json.loads((decathlon / "dataset.json").read_text())["training"]
    ]
    dataset = changed(decathlon, tmp_path, training=entries[:7], **{key: entries[5:]})
    assert shown(dataset) == [f"dataset.json: 3 labelled cases under '{key}' are not used"]
    assert not dataset.problems


@pytest.mark.parametrize(
    "value",
    [
        ["./imagesTs/a.nii.gz"],
        [{"image": "a.nii.gz"}],
        [{"image": "a", "label": ""}],
        [3],
        {},
        None,
    ],
)
def test_lists_without_labels_are_none_to_warn_of(decathlon, tmp_path, value):
    assert shown(changed(decathlon, tmp_path, validation=value)) == []


def test_what_a_dataset_json_lacks_is_named(tmp_path):
    for table, lacks in (
        ({"modality": {"0": "CT"}, "labels": LABELS, "file_ending": ".nii"}, "'channel_names'"),
        ({"training": [], "modality": {}}, "'labels'"),
        ({}, "'training' and 'labels'"),
    ):
        with pytest.raises(UsageError) as caught:
            read_dataset(write_table(tmp_path, table))
        assert caught.value.message.endswith(f"it lacks {lacks}")


def test_a_folder_above_and_a_list_of_another_name_are_told(tmp_path):
    write_table(tmp_path / "nnUNet_raw_data" / "Task500_Name", {})
    with pytest.raises(UsageError, match="but 'Task500_Name' in it has"):
        read_dataset(tmp_path / "nnUNet_raw_data")
    (tmp_path / "dataset_0.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no dataset\.json, but 'dataset_0\.json'"):
        read_dataset(tmp_path)


def test_a_dataset_json_that_is_no_json_has_nothing_to_do_with_weights(tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": {},}')
    with pytest.raises(UsageError, match="no valid JSON") as caught:
        read_dataset(tmp_path)
    assert "weights" not in str(caught.value)
    assert "python -m json.tool" in caught.value.hint


@pytest.mark.skipif(not TASK04.is_dir(), reason=ABSENT)
def test_the_real_task04():
    dataset = read_dataset(TASK04)
    assert len(dataset.cases) == 260
    assert dict(dataset.labels) == {"background": 0, "Anterior": 1, "Posterior": 2}
    assert dataset.modality == "MRI"
    assert not dataset.problems
    assert isinstance(dataset.folder, Path)
