"""The cache: right arrays, shared entries, nothing half-written."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from inflate_zoo.bench.data import cases as module
from inflate_zoo.bench.data.cases import open_case, prepare
from inflate_zoo.bench.data.deriving import derive_task
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.bench.definitions.tasks import Intensity
from inflate_zoo.bench.scoring.metrics import case_scores
from inflate_zoo.errors import UsageError, WriteError
from inflate_zoo.files.writing import store as stores
from tests.support.datasets import (
    ABSENT,
    TASK04,
    in_unit,
    near_45,
    random_volume,
    write_decathlon,
    write_nifti,
    write_nnunet,
    write_table,
)
from tests.support.nifti import pixdim, with_header
from tests.support.stores import replace_as_if_made

WINDOW = Intensity(rule="window", low=0, high=500)


def task_of(dataset, **changes):
    task = derive_task(dataset, [case.name for case in dataset.cases], "boxes")
    return task.model_copy(update={"intensity": WINDOW, **changes})


@pytest.fixture
def dataset(tmp_path):
    return read_dataset(write_decathlon(tmp_path / "data", 3, (12, 10, 8)))


@pytest.fixture
def store(tmp_path):
    return tmp_path / "cache"


def forget():
    """What a new process does not know."""
    stores._store.cache_clear()


def entries(store):
    return sorted(path.name for path in (store / "cases").iterdir())


def test_an_entry_holds_the_file_in_our_axes(dataset, store):
    steps = []
    keys = prepare(
        task_of(dataset), dataset, ["case_02", "case_00"], store, lambda *step: steps.append(step)
    )
    assert list(keys) == ["case_02", "case_00"]
    assert steps == [(0, 2), (1, 2), (2, 2)]
    case = open_case(store, keys["case_02"])
    image, label = random_volume(2, (12, 10, 8), 1)
    assert (case.name, case.key, case.spacing) == ("case_02", keys["case_02"], (1.0, 1.0, 1.0))
    expected = (image[..., 0].T / 500).clip(0, 1)
    assert case.image.dtype == np.float16
    np.testing.assert_allclose(case.image[0], expected, atol=1e-3)
    assert np.array_equal(case.label, label.T)
    assert np.array_equal(case.reference, label.T)
    assert case.foreground.dtype == np.int32
    assert np.array_equal(case.foreground[:, 1:], np.concatenate(
        [np.argwhere(index == label.T) for index in (1, 2)]
    ))  # fmt: skip
    assert (np.diff(case.foreground[:, 0]) >= 0).all()


def test_a_file_in_micron_has_an_entry_of_its_own_in_mm(tmp_path, dataset, store):
    task = task_of(dataset)
    (plain,) = prepare(task, dataset, ["case_01"], store).values()
    case = dataset.cases[1]
    for path in (*case.images, case.label):
        in_unit(path, 1000, 3)
    (key,) = prepare(task, dataset, ["case_01"], store).values()
    before, found = open_case(store, plain), open_case(store, key)
    assert found.spacing == before.spacing
    assert np.array_equal(found.image, before.image)


def test_the_unit_belongs_to_the_key(dataset, store, monkeypatch):
    """Entries that were made of such files as if they were in mm are not found again."""
    task, case = task_of(dataset), dataset.cases[1]
    keys = set()
    for code in (0, 2, 3):
        in_unit(case.label, 1, code)
        keys.add(module._key(task, case, SimpleNamespace(of=lambda path: "the same")))
    assert len(keys) == 2


def test_entries_that_were_mirrored_by_negative_sizes_are_not_found_again(dataset):
    task, case, keys = task_of(dataset), dataset.cases[1], set()
    for size in (1, -1):
        for path in (case.images[0], case.label):
            raw = with_header(pixdim(size, 1, 1), np.asarray(nib.load(path).dataobj))
            path.write_bytes(gzip.compress(raw))
        keys.add(module._key(task, case, SimpleNamespace(of=lambda path: "the same")))
    assert len(keys) == 2


def test_near_45_degrees_a_label_is_turned_as_its_image(tmp_path, store):
    """Axes that are nearest by a rounding in each header would give a label of another place."""
    dataset = read_dataset(write_nnunet(tmp_path, 2, (8, 8, 4), ("T1", "T2"), near_45(1e-6)))
    case, task = dataset.cases[1], task_of(dataset, spacing=(1.0, 0.8, 1.0))
    expected = open_case(store, prepare(task, dataset, [case.name], store)[case.name])
    for path in (case.label, case.images[1]):
        write_nifti(path, np.asarray(nib.load(path).dataobj), near_45(-1e-6))
    found = open_case(store, prepare(task, dataset, [case.name], store)[case.name])
    for name in ("image", "label", "reference", "foreground"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert found.spacing == expected.spacing


def test_entries_of_files_that_were_turned_otherwise_are_not_found_again(tmp_path):
    dataset = read_dataset(write_nnunet(tmp_path, 2, (4, 4, 4), ("T1", "T2"), near_45(1e-6)))
    task, case, keys = task_of(dataset), dataset.cases[1], []
    for odd in (None, case.label, case.images[1]):
        for path in (case.label, *case.images):
            affine = near_45(-1e-6 if path == odd else 1e-6)
            write_nifti(path, np.asarray(nib.load(path).dataobj), affine)
        keys.append(module._key(task, case, SimpleNamespace(of=lambda path: "the same")))
    assert keys[0] != keys[1] == keys[2]


@pytest.mark.parametrize("spacing, keys", [
    ((1.0, 0.8, 1.0), [[1.0], [1 + 1e-7], [0.999], [1.001]]),  # 10 voxels become 12.5
    ((1.0, 1.0, 1.0), [[1.0, 1 + 1e-7], [0.999, 1.001]]),
])  # fmt: skip
def test_only_where_the_label_would_give_another_shape_or_spacing_it_belongs_to_the_key(
    dataset, spacing, keys
):
    """All others are found again under the keys they have; so are the trials made of them."""
    case = dataset.cases[1]
    task = task_of(dataset, spacing=spacing)
    label = nib.load(case.label)
    found = {}
    for factor in (1.0, 1 + 1e-7, 0.999, 1.001):
        write_nifti(case.label, np.asarray(label.dataobj), np.diag([factor, factor, factor, 1]))
        key = module._key(task, case, SimpleNamespace(of=lambda path: "the same"))
        found.setdefault(key, []).append(factor)
    assert list(found.values()) == keys


def test_distances_are_measured_on_the_grid_of_the_image(dataset, store):
    """A label's header may round by a hundredth, which decides what lies within a tolerance."""
    task, case = task_of(dataset, slices="coronal"), dataset.cases[1]
    image, label = (nib.load(path) for path in (case.images[0], case.label))
    write_nifti(case.images[0], np.asarray(image.dataobj), np.diag([1.0, 2.0, 3.0, 1]))
    scores = []
    for factor in (1.0, 1.0005):
        affine = np.diag([1.0 * factor, 2.0 * factor, 3.0 * factor, 1])
        write_nifti(case.label, np.asarray(label.dataobj), affine)
        (key,) = prepare(task, dataset, ["case_01"], store).values()
        found = open_case(store, key)
        assert found.spacing == (2.0, 3.0, 1.0)
        moved = np.roll(found.reference, 1, 2)
        scores.append(case_scores(moved, found.reference, found.spacing, {"one": (1,)}, 1.0))
    assert scores[0] == scores[1]


def test_of_a_sheared_grid_the_spacing_multiplies_to_a_voxel(dataset, store):
    """As of a tilted gantry: its slices are nearer to one another than a voxel's edge is long."""
    task, case, keys = task_of(dataset), dataset.cases[1], set()
    lean, edge = 2 * np.tan(np.radians(20)), 2 / np.cos(np.radians(20))
    for column in ((0, 0, edge), (0, lean, 2)):  # edges of one length
        affine = np.diag([0.5, 0.5, 1, 1])
        affine[:3, 2] = column
        for path in (case.images[0], case.label):
            write_nifti(path, np.asarray(nib.load(path).dataobj), affine)
        keys.add(module._key(task, case, SimpleNamespace(of=lambda path: "the same")))
    assert len(keys) == 2  # entries with a wrong volume are not found again
    (key,) = prepare(task, dataset, ["case_01"], store).values()
    found = open_case(store, key)
    assert found.spacing == pytest.approx((2, 0.5, 0.5))
    scores = case_scores(found.reference, found.reference, found.spacing, {"one": (1,)}, 1.0)
    assert scores["one"]["volume_mm3"] == pytest.approx(scores["one"]["reference_voxels"] / 2)


def test_two_channels_and_thick_slices_in_both_layouts(tmp_path, store):
    affine = np.diag([-1.0, 5.0, 1.0, 1.0])  # flipped, thick along the second axis
    found = []
    for write in (write_decathlon, write_nnunet):
        dataset = read_dataset(
            write(tmp_path / write.__name__, 2, (12, 6, 8), ("T1", "T2"), affine)
        )
        task = task_of(dataset)
        assert (task.slices, task.spacing) == ("coronal", (5, 1, 1))
        fine = task.model_copy(update={"spacing": (2.5, 1.0, 1.0)})
        found.append(open_case(store, prepare(fine, dataset, ["case_01"], store)["case_01"]))
    for case in found:
        assert case.image.shape == (2, 12, 8, 12)
        assert case.reference.shape == (6, 8, 12)
        assert case.spacing == (5, 1, 1)
    for name in ("image", "label", "reference", "foreground"):
        assert np.array_equal(getattr(found[0], name), getattr(found[1], name))
    _, label = random_volume(1, (12, 6, 8), 2)
    assert np.array_equal(found[0].reference, label[::-1].transpose(1, 2, 0))
    assert not np.array_equal(found[0].image[0], found[0].image[1])


def test_large_classes_are_thinned_out_evenly():
    label = np.zeros((40, 40, 40), np.uint8)
    label[2:, 2:] = 3
    label[0] = 1
    rows = module._foreground(label, 4)
    assert np.unique(rows[:, 0], return_counts=True)[1].tolist() == [1600, 20_000]
    assert (label[tuple(rows[:, 1:].T)] == rows[:, 0]).all()
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert np.array_equal(rows, module._foreground(label, 4))
    assert abs(rows[rows[:, 0] == 3][:, 1].mean() - 20.5) < 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"spacing": (1.0, 1.0, 2.0)},
        {"intensity": Intensity(rule="window", low=0, high=501)},
        {"slices": "sagittal"},
        {"labels": {"background": 0, "a": 1, "b": 2, "c": 3}},
    ],
)
def test_another_recipe_gets_another_entry(dataset, store, change):
    task = task_of(dataset)
    first = prepare(task, dataset, ["case_00"], store)
    second = prepare(task.model_copy(update=change), dataset, ["case_00"], store)
    assert first != second
    assert len(entries(store)) == 2


def test_what_does_not_touch_the_arrays_shares_entries(dataset, store):
    task = task_of(dataset)
    first = prepare(task, dataset, ["case_00"], store)
    renamed = task.model_copy(update={"name": "other", "title": "x", "surface_tolerance_mm": 2.0})
    assert prepare(renamed, dataset, ["case_00"], store) == first


def test_equal_files_of_two_cases_keep_their_names(tmp_path, store):
    dataset = read_dataset(write_decathlon(tmp_path, 2, (4, 4, 4)))
    first, second = dataset.cases
    shutil.copyfile(first.images[0], second.images[0])
    shutil.copyfile(first.label, second.label)
    keys = prepare(task_of(dataset), dataset, ["case_00", "case_01"], store)
    assert [open_case(store, key).name for key in keys.values()] == ["case_00", "case_01"]


def test_changed_voxels_get_another_entry_and_a_new_date_does_not(dataset, store):
    task, case = task_of(dataset), dataset.cases[0]
    first = prepare(task, dataset, ["case_00"], store)
    os.utime(case.label, ns=(5, 5))
    assert prepare(task, dataset, ["case_00"], store) == first
    image, _ = random_volume(77, (12, 10, 8), 1)
    write_nifti(case.images[0], image[..., 0])
    assert prepare(task, dataset, ["case_00"], store) != first


def test_a_second_run_reads_no_file(dataset, store, monkeypatch):
    task, names = task_of(dataset), [case.name for case in dataset.cases]
    first = prepare(task, dataset, names, store)

    def refuse(*_):
        raise AssertionError

    forget()
    monkeypatch.setattr("inflate_zoo.files.writing.store.sha256", refuse)
    monkeypatch.setattr(module, "preprocess", refuse)
    assert prepare(task, dataset, names, store) == first


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', '["a", 1]', "\\xff", '["a", 1, 2, 3, 4, {}']
)
def test_a_damaged_memory_of_digests_is_built_anew(dataset, store, text):
    task = task_of(dataset)
    first = prepare(task, dataset, ["case_00"], store)
    (memory,) = store.glob("digests-*.jsonl")
    memory.write_bytes(text.encode("latin-1"))
    forget()
    assert prepare(task, dataset, ["case_00"], store) == first
    assert len([line for line in memory.read_bytes().splitlines() if b'"' in line]) >= 7


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x40
    path.write_bytes(content)


def in_disguise(path):
    """Another content of the same length, with the old times."""
    state = path.stat()
    flip(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


SPOILED = {
    "flipped": flip,
    "in disguise": in_disguise,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"1"),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "another's": lambda path: path.write_bytes((path.parent.parent / ".other").read_bytes()),
}


@pytest.mark.parametrize("name, how, fresh", [
    *(("reference.npy", how, False) for how in SPOILED),
    *(("image.npy", how, True) for how in ("flipped", "in disguise", "gone")),
    *(("case.json", how, True) for how in ("flipped", "another's")),
    *(("manifest.json", how, True) for how in ("flipped", "cut", "gone", "another's")),
])  # fmt: skip
def test_what_is_not_as_it_was_made_is_noticed_and_made_anew(dataset, store, name, how, fresh):
    task = task_of(dataset)
    key, other = prepare(task, dataset, ["case_00", "case_01"], store).values()
    shutil.copyfile(store / "cases" / other / name, store / "cases" / ".other")
    folder = store / "cases" / key
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    SPOILED[how](folder / name)
    if fresh:
        forget()
    with pytest.raises(UsageError, match="gone from the cache, or damaged") as caught:
        open_case(store, key)
    assert "made anew" in caught.value.hint
    assert prepare(task, dataset, ["case_00"], store) == {"case_00": key}
    assert open_case(store, key).name == "case_00"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.name for path in folder.parent.iterdir()} == {key, other, ".other"}


@pytest.mark.parametrize("name", ["case.json", "image.npy"])
def test_an_entry_that_was_made_wrongly_is_made_anew(dataset, store, name):
    task = task_of(dataset)
    key = prepare(task, dataset, ["case_00"], store)["case_00"]
    folder = store / "cases" / key
    before = (folder / name).read_bytes()
    replace_as_if_made(folder, name, b"{}")
    with pytest.raises(UsageError, match="gone from the cache, or damaged"):
        open_case(store, key)
    assert prepare(task, dataset, ["case_00"], store) == {"case_00": key}
    assert open_case(store, key).name == "case_00"
    assert (folder / name).read_bytes() == before


def test_the_entry_of_another_case_is_not_taken_for_this_one(dataset, store):
    task = task_of(dataset)
    key, other = prepare(task, dataset, ["case_00", "case_01"], store).values()
    shutil.rmtree(store / "cases" / key)
    shutil.copytree(store / "cases" / other, store / "cases" / key)
    assert prepare(task, dataset, ["case_00"], store) == {"case_00": key}
    assert open_case(store, key).name == "case_00"


def test_an_entry_is_hashed_once_and_its_files_are_looked_at_always(dataset, store, monkeypatch):
    key = prepare(task_of(dataset), dataset, ["case_00"], store)["case_00"]
    asked, real = [], module.store_of(store).digests.of
    monkeypatch.setattr(
        "inflate_zoo.files.writing.store.DigestMemory.of",
        lambda _, path: (asked.append(path), real(path))[1],
    )
    forget()
    for _ in range(3):
        open_case(store, key)
    assert len(asked) == 5


@pytest.mark.parametrize("what", ["images", "label"])
def test_a_source_file_replaced_with_the_same_size_and_time_is_noticed(dataset, store, what):
    task, case = task_of(dataset), dataset.cases[0]
    path = case.label if what == "label" else case.images[0]
    first = prepare(task, dataset, ["case_00"], store)
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[4] ^= 1  # the time in a gzip header: the same voxels in other bytes
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_mtime_ns == state.st_mtime_ns
    assert prepare(task, dataset, ["case_00"], store) != first


def test_an_entry_of_an_earlier_release_is_made_anew(dataset, store):
    task = task_of(dataset)
    key = prepare(task, dataset, ["case_00"], store)["case_00"]
    (store / "cases" / key / "manifest.json").unlink()
    assert prepare(task, dataset, ["case_00"], store) == {"case_00": key}
    assert open_case(store, key).name == "case_00"


def test_an_interrupted_run_leaves_no_half_entry(dataset, store, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_text", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(task_of(dataset), dataset, ["case_00"], store)
    assert entries(store) == []


def test_a_full_disk_is_told(dataset, store, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(WriteError, match=r"'case_00' cannot be put .*: No space left"):
        prepare(task_of(dataset), dataset, ["case_00"], store)
    assert entries(store) == []


def test_a_cache_that_cannot_be_made_is_told(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="Not a directory") as caught:
        prepare(task_of(dataset), dataset, ["case_00"], tmp_path / "file" / "cache")
    assert "INFLATE_ZOO_CACHE" in caught.value.hint


def test_an_entry_that_another_process_finished_first_stays(dataset, store, monkeypatch):
    task = task_of(dataset)
    original = module.preprocess

    def slower(*arguments):
        arrays = original(*arguments)
        monkeypatch.setattr(module, "preprocess", original)
        prepare(task, dataset, ["case_00"], store)
        return arrays

    monkeypatch.setattr(module, "preprocess", slower)
    keys = prepare(task, dataset, ["case_00"], store)
    assert entries(store) == list(keys.values())
    assert open_case(store, keys["case_00"]).name == "case_00"


def test_two_processes_at_once(dataset, store):
    program = (
        "import sys, json; from pathlib import Path\n"
        "from inflate_zoo.bench.data.layouts import read_dataset\n"
        "from inflate_zoo.bench.data.deriving import derive_task\n"
        "from inflate_zoo.bench.data.cases import prepare\n"
        "dataset = read_dataset(Path(sys.argv[1])); names = [c.name for c in dataset.cases]\n"
        "task = derive_task(dataset, names, 'x')\n"
        "print(json.dumps(prepare(task, dataset, names, Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", program, str(dataset.folder), str(store)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    first, second = (json.loads(process.communicate()[0]) for process in running)
    assert first == second
    assert entries(store) == sorted(first.values())
    for key in first.values():
        assert open_case(store, key).label.shape == (8, 10, 12)


def test_what_does_not_fit_is_refused(tmp_path, store):
    dataset = read_dataset(write_decathlon(tmp_path / "a", 2, (4, 4, 4), ("T1", "T2")))
    task = task_of(dataset)
    with pytest.raises(UsageError, match="not in the data set, e.g. 'case_9'".replace(".", r"\.")):
        prepare(task, dataset, ["case_00", "case_9"], store)
    for channels in (("T1",), ("T1", "T2", "T3")):
        narrow = task.model_copy(update={"channels": channels})
        with pytest.raises(UsageError, match=f"'case_00': its image has 2 .* task {len(channels)}"):
            prepare(narrow, dataset, ["case_00"], store)
    fewer = task.model_copy(update={"labels": {"background": 0, "front": 1}})
    with pytest.raises(UsageError, match=r"'labelsTr/case_00.nii.gz' holds the value 2"):
        prepare(fewer, dataset, ["case_00"], store)
    label = dataset.cases[0].label
    write_nifti(label, np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(UsageError, match="4 x 4 x 5 voxels, its image 4 x 4 x 4"):
        prepare(task, dataset, ["case_00"], store)
    label.write_bytes(label.read_bytes()[:-5])
    with pytest.raises(UsageError, match="is cut off"):
        prepare(task, dataset, ["case_00"], store)
    label.unlink()
    with pytest.raises(UsageError, match="has 1 problem"):
        prepare(task, read_dataset(dataset.folder), ["case_01"], store)


@pytest.mark.skipif(not TASK04.is_dir(), reason=ABSENT)
def test_the_real_task04_in_nnunets_layout_gives_the_same_entries(tmp_path, store):
    original = read_dataset(TASK04)
    names = [case.name for case in original.cases[:4]]
    for case in original.cases[:4]:
        for folder, source, name in (
            ("imagesTr", case.images[0], f"{case.name}_0000.nii.gz"),
            ("labelsTr", case.label, f"{case.name}.nii.gz"),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copyfile(source, tmp_path / folder / name)
    table = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
        "file_ending": ".nii.gz",
        "numTraining": 4,
    }
    rewritten = read_dataset(write_table(tmp_path, table))
    task = load_task("msd-task04")
    keys = prepare(task, original, names, store)
    assert prepare(task, rewritten, names, tmp_path / "other") == keys
    for key in keys.values():
        first, second = open_case(store, key), open_case(tmp_path / "other", key)
        assert 0 <= first.image.min() < first.image.max() == 1
        for name in ("image", "label", "reference", "foreground"):
            assert np.array_equal(getattr(first, name), getattr(second, name))
