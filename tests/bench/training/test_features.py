"""Kept features: what the network computes, the same windows for all, one entry for all runs."""

import json
import os
import resource
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from inflate_zoo.bench.data.cases import open_case
from inflate_zoo.bench.training.building import build
from inflate_zoo.bench.training.features import FILES, FeatureWindows, encode_windows
from inflate_zoo.bench.training.sampling import WindowRule, draw
from inflate_zoo.bench.training.seeding import derive_seed
from inflate_zoo.errors import WriteError
from tests.support.stores import replace_as_if_made
from tests.support.trials import FROZEN, one_thread, tiny_run


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


KINDS = ("inflated", "2d", "random")
PER_CASE = 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("features"), *FROZEN, kinds=KINDS, seeds=2)


def network_of(trial):
    return build(trial.spec, Path(trial.place.weights) if trial.place.weights else None)


def encode(trial, network=None, cache=None, progress=lambda *_: None, autocast=nullcontext):
    network = network or network_of(trial)
    cache = Path(trial.place.cache) if cache is None else cache
    return encode_windows(trial.spec, network, cache, torch.device("cpu"), autocast, progress)


def untouched():
    """A network that must not be asked."""
    return torch.nn.Identity()


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_network_in_float16(run, kind):
    trial, told = run.trial(kind), []
    network = network_of(trial)
    folder = encode(trial, network, progress=lambda *done: told.append(done))
    names = json.loads((folder / "cases.json").read_text())
    assert names == [name for name in trial.spec.cases.train for _ in range(PER_CASE)]
    assert told == [(row + 1, len(names)) for row in range(len(names))]
    features, labels = (np.load(folder / f"{name}.npy") for name in ("features", "labels"))
    slices = (4, 16, 1, 2, 2) if kind == "2d" else (1, 16, 2, 2, 2)
    assert (features.shape, features.dtype) == ((len(names), *slices), np.float16)
    rule = WindowRule((4, 8, 8), trial.spec.protocol.train.foreground, None)
    for row, name in enumerate(names):
        case = open_case(run.cache, trial.spec.entries[name])
        window = draw(case, rule, derive_seed(trial.spec.seed, "probe", name, row % PER_CASE))
        with torch.no_grad():
            (maps,) = network.eval().encode(window.image[None])
        kept = torch.from_numpy(features[row]).float()
        torch.testing.assert_close(kept, maps, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(labels[row], window.label)


def test_windows_of_a_seed_are_the_same_for_every_arm(run):
    folders = {(trial.spec.arm.kind, trial.spec.seed): encode(trial) for trial in run.trials}
    labels = {of: np.load(folder / "labels.npy") for of, folder in folders.items()}
    assert len(set(folders.values())) == 6
    for kind in KINDS:
        for seed in (0, 1):
            np.testing.assert_array_equal(labels[kind, seed], labels["inflated", seed])
    assert not np.array_equal(labels["inflated", 0], labels["inflated", 1])
    assert len({row.tobytes() for row in labels["inflated", 0]}) > 6


def test_another_precision_has_features_of_its_own(run):
    trial = run.trial()
    narrow = encode(trial, autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    assert narrow != encode(trial)
    features, wide = (np.load(folder / "features.npy") for folder in (narrow, encode(trial)))
    change = features.astype(float) - wide
    # A value has eight bits; how often it is rounded on its way depends on torch.
    assert 0 < np.sqrt(np.square(change).mean() / np.square(wide.astype(float)).mean()) < 0.03


def test_what_float16_cannot_hold_is_cut_off(run, tmp_path):
    class Loud(torch.nn.Module):
        def encode(self, image):
            return [torch.full((1, 16, 2, 2, 2), -1e6)]

    plan = tiny_run(tmp_path, *FROZEN)
    kept = np.load(encode(plan.trial(), Loud()) / "features.npy")
    assert (kept == np.finfo(np.float16).min).all()


@pytest.mark.parametrize("name", ["features.npy", "labels.npy", "cases.json"])
def test_features_that_are_not_as_they_were_made_are_made_anew(tmp_path, name):
    trial = tiny_run(tmp_path, *FROZEN).trial()
    folder = encode(trial)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert json.loads(before["manifest.json"])["files"].keys() == set(FILES)
    state = (folder / name).stat()
    content = bytearray(before[name])
    content[-5] ^= 0x40
    (folder / name).write_bytes(content)
    os.utime(folder / name, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert encode(trial) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert encode(trial, untouched()) == folder


@pytest.mark.parametrize("name", ["features.npy", "cases.json"])
def test_features_that_were_made_wrongly_are_made_anew(tmp_path, name):
    trial = tiny_run(tmp_path, *FROZEN).trial()
    folder = encode(trial)
    before = (folder / name).read_bytes()
    replace_as_if_made(folder, name, b"{}")
    assert encode(trial) == folder
    assert (folder / name).read_bytes() == before


def test_runs_share_what_is_there(run, tmp_path):
    folder = encode(run.trial())
    assert encode(run.trial(), untouched()) == folder
    later = tiny_run(run.out.parent, *FROZEN, "train.learning_rate=0.5", name=str(tmp_path / "run"))
    assert encode(later.trial(), untouched()) == folder


def test_other_windows_have_features_of_their_own(run, tmp_path):
    known = {encode(trial) for trial in run.trials}
    for number, change in enumerate(
        ("train.foreground=0.1", "train.windows_per_case=3", "network.window=[4, 12, 8]")
    ):
        name = str(tmp_path / str(number))
        later = tiny_run(run.out.parent, *FROZEN, change, name=name)
        assert encode(later.trial()) not in known
    fold = tiny_run(run.out.parent, *FROZEN, folds=(1,), name=str(tmp_path / "fold"))
    assert encode(fold.trial()) not in known


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_killed_run_leaves_no_half_entry(run, tmp_path, error):
    plan = tiny_run(tmp_path, *FROZEN)
    trial = plan.trial()

    def stop(done, total):
        if done == 5:
            raise error

    with pytest.raises(error):
        encode(trial, progress=stop)
    assert not list(plan.cache.rglob("features/*"))
    folder = encode(trial)
    assert [path.name for path in (plan.cache / "features").iterdir()] == [folder.name]
    expected = encode(run.trial())
    for name in ("features.npy", "labels.npy", "cases.json"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes()


def test_the_faster_of_two_runs_wins(tmp_path):
    trial = tiny_run(tmp_path, *FROZEN).trial()
    won = []

    def overtaken(done, total):
        if done == total:
            won.append(encode(trial))

    assert encode(trial, progress=overtaken) == won[0]
    assert [path.name for path in won[0].parent.iterdir()] == [won[0].name]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    plan = tiny_run(tmp_path, *FROZEN)
    network = network_of(plan.trial())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(WriteError, match="File too large; nothing half-written"):
            encode(plan.trial(), network)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(plan.cache.rglob("features/*"))


def test_kept_windows_are_visited_once_before_any_comes_again(run):
    folder = encode(run.trial())
    features, labels = (np.load(folder / f"{name}.npy") for name in ("features", "labels"))
    names = json.loads((folder / "cases.json").read_text())
    count = len(names)
    orders = []
    for seed in (0, 1):
        windows = FeatureWindows(folder, seed)
        for turn in range(2):
            order = []
            for place in range(count):
                window = windows[turn * count + place]
                assert (window.features.dtype, window.label.dtype) == (torch.float32, torch.uint8)
                (row,) = [r for r in range(count) if np.array_equal(features[r], window.features)]
                np.testing.assert_array_equal(labels[row], window.label)
                assert window.case == names[row]
                order.append(row)
            assert sorted(order) == list(range(count))
            orders.append(tuple(order))
    assert len(set(orders)) == 4
    assert torch.equal(FeatureWindows(folder, 1)[3].features, FeatureWindows(folder, 1)[3].features)
