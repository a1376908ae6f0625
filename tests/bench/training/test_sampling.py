"""Training windows: where they lie, how they are changed, and that nothing else decides it."""

import dataclasses
import socket
import time
from collections import Counter
from multiprocessing import resource_sharer

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from inflate_zoo.bench.data.cases import open_case
from inflate_zoo.bench.data.resampling import crop
from inflate_zoo.bench.training import sampling
from inflate_zoo.bench.training.sampling import (
    FailedWindow,
    WindowRule,
    Windows,
    collate,
    draw,
    place,
    quiet_worker,
)
from tests.support.trials import one_thread, tiny_run
from tests.support.windows import ALL, STILL, case_of, changed, random_case, rule, seeds


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    size=st.tuples(*[st.integers(1, 6)] * 3),
    corner=st.tuples(*[st.integers(-8, 8)] * 3),
)
def test_a_crop_is_a_slice_of_the_padded_volume(shape, size, corner):
    volume = np.random.default_rng(0).random((2, *shape)) + 1
    padded = np.pad(volume, [(0, 0), *[(20, 20)] * 3])
    expected = padded[:, *(slice(20 + c, 20 + c + s) for c, s in zip(corner, size, strict=True))]
    got = crop(volume, corner, size)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(crop(volume[0], corner, size), expected[0])
    repeated = crop(volume, corner, size, repeat=True)
    slices = np.pad(volume, [(0, 0), (20, 20), (0, 0), (0, 0)], mode="edge")
    slices = np.pad(slices, [(0, 0), (0, 0), (20, 20), (20, 20)])
    cut = tuple(slice(20 + c, 20 + c + s) for c, s in zip(corner, size, strict=True))
    np.testing.assert_array_equal(repeated, slices[:, *cut])


# Windows whose centre slice alone is labelled.


def centred(size, foreground=0.0, augment=None):
    return WindowRule(size, foreground, augment, centre=True)


def test_every_slice_is_the_centre_of_a_window_and_outer_slices_are_repeated():
    case = random_case(shape=(4, 6, 6))
    seen = set()
    for seed in seeds(60):
        window = draw(case, centred((5, 6, 6)), seed)
        assert window.label.shape == (1, 6, 6)
        (z,) = [z for z in range(4) if np.array_equal(window.label[0], case.label[z])]
        planes = [min(3, max(0, z + offset)) for offset in (-2, -1, 0, 1, 2)]
        np.testing.assert_array_equal(window.image, case.image[:, planes].astype(np.float32))
        seen.add(z)
    assert seen == {0, 1, 2, 3}


def test_a_window_one_slice_deep_is_its_own_centre():
    case = random_case()
    for seed in seeds(5):
        window = draw(case, centred((1, 19, 23)), seed)
        (z,) = [z for z in range(7) if np.array_equal(window.label[0], case.label[z])]
        np.testing.assert_array_equal(window.image[:, 0], case.image[:, z].astype(np.float32))


def test_with_foreground_the_centre_slice_holds_some():
    label = np.zeros((30, 8, 8))
    label[17, 3, 3], label[4, 5, 5] = 1, 2
    found = {int(draw(case_of(label), centred((5, 8, 8), 1.0), s).label.max()) for s in seeds(20)}
    assert found == {1, 2}


def test_patches_that_reach_beyond_a_slice_see_zeros():
    case = random_case(shape=(3, 5, 5), channels=1)
    window = draw(case, centred((1, 8, 8)), 3)
    inner = window.image[0, 0, 2:7, 2:7]
    assert inner.min() > 0
    assert float(window.image.sum()) == pytest.approx(float(inner.sum()))


@pytest.mark.parametrize("depth", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("turn", [0.0, 0.5])
def test_what_is_labelled_is_the_slice_at_half_the_depth_also_once_mirrored(depth, turn):
    """There a decoder that tells a centre slice reads its maps, and prediction cuts windows so."""
    label = np.broadcast_to(np.arange(20)[:, None, None], (20, 6, 6))  # a slice's number
    case, law = case_of(label, label[None] / 32), changed(flip=0.5, turn=turn)
    mirrored = 0
    for seed in seeds(100):
        window = draw(case, centred((depth, 6, 6), augment=law), seed)
        numbers = (window.image[0, :, 3, 3] * 32).round()
        assert window.label[0, 3, 3] == numbers[depth // 2]
        mirrored += bool(numbers[0] > numbers[-1])
    assert (mirrored > 30) == (depth == 5)  # even depths lie as they are


@pytest.mark.parametrize("shape", [(4, 6, 6), (4, 6, 9)])
def test_quarter_turns(shape):
    case = random_case(shape=shape, channels=1)
    plain, found = [], Counter()
    for seed in seeds(40):
        window = draw(case, centred((1, *shape[1:]), augment=changed(quarter_turn=1.0)), seed)
        for turns in (0, 1, 2, 3):
            plain = [np.rot90(case.label[z], turns) for z in range(4)]
            for z, own in enumerate(plain):
                if np.array_equal(window.label[0], own):
                    found[turns] += 1
                    turned = np.rot90(case.image[0, z], turns)
                    np.testing.assert_array_equal(window.image[0, 0], turned.astype(np.float32))
    assert set(found) == ({1, 2, 3} if shape[1] == shape[2] else {2})
    assert sum(found.values()) == 40


def test_any_part_of_a_slice_may_be_magnified():
    label = np.zeros((3, 20, 20))
    label[:, :2, :2] = 1  # a corner: a zoom about the middle would never show it
    law = changed(turn=1.0, zoom=(2.0, 2.0))
    shown = [int(draw(case_of(label), centred((1, 20, 20), augment=law), s).label.sum())
             for s in seeds(100)]  # fmt: skip
    assert max(shown) >= 6
    assert shown.count(0) > 40


def test_zoom_through_the_slices_takes_neighbours_for_the_centre():
    label = np.zeros((9, 8, 8))
    label[4] = 1
    image = np.ones((1, 9, 8, 8))
    squeeze = changed(turn=1.0, zoom=(0.5, 0.5), zoom_depth=True)
    for seed in seeds(20):
        window = draw(case_of(label, image), centred((5, 8, 8), augment=squeeze), seed)
        assert window.label.shape == (1, 8, 8)
        assert float(window.image[0, 0].max()) == 0  # five slices, squeezed to two and a half
        assert float(window.image[0, 2, 3, 3]) == 1
    flat = changed(turn=1.0, zoom=(0.5, 0.5))
    window = draw(case_of(label, image), centred((5, 8, 8), augment=flat), 1)
    assert float(window.image[0, :, 3, 3].min()) == 1


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    size=st.tuples(*[st.integers(1, 9)] * 3),
    foreground=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_window_leaves_the_volume_only_where_that_is_smaller(shape, size, foreground, seed):
    label = np.random.default_rng(seed).integers(0, 3, shape)
    corner = place(case_of(label), rule(size, foreground), np.random.default_rng(seed))
    for at, extent, limit in zip(corner, size, shape, strict=True):
        if extent <= limit:
            assert 0 <= at <= limit - extent
        else:  # in the middle: padding on both sides, equal or one more
            before, after = -at, extent - limit + at
            assert before in (after, after + 1)


def test_windows_lie_anywhere():
    case = random_case(shape=(3, 6, 5))
    found = Counter(place(case, rule((2, 4, 5)), np.random.default_rng(s)) for s in seeds(3000))
    assert found.keys() == {(z, y, 0) for z in range(2) for y in range(3)}
    assert min(found.values()) > 420  # 500 expected of each


def test_the_share_of_windows_with_foreground_is_as_asked():
    label = np.zeros((9, 30, 30))
    label[4, 15, 15] = 1
    size = (1, 3, 3)
    for share in (0.0, 0.4, 1.0):
        drawn = rule(size, share)
        corners = [place(case_of(label), drawn, np.random.default_rng(s)) for s in seeds(800)]
        holds = [crop(label, corner, size).any() for corner in corners]
        assert np.mean(holds) == pytest.approx(share, abs=0.05)
    # The voxel is anywhere in the window, not only in its middle.
    assert len(set(corners)) == 9


def test_classes_are_drawn_evenly_whatever_their_size():
    label = np.zeros((6, 24, 24))
    label[:, :12] = 1
    label[3, 20, 3] = 2
    label[2, 20, 21] = 3
    drawn, size = rule((1, 1, 1), 1.0), (1, 1, 1)
    corners = [place(case_of(label), drawn, np.random.default_rng(s)) for s in seeds(1200)]
    counts = Counter(int(crop(label, corner, size).item()) for corner in corners)
    assert counts.keys() == {1, 2, 3}
    assert all(abs(count - 400) < 60 for count in counts.values())


@pytest.mark.parametrize("classes", [None, {2, 5}, {4}])
def test_the_piece_of_a_class_is_all_voxels_of_it(classes):
    label = np.random.default_rng(1).integers(0, 6, (5, 9, 11))
    case = case_of(label, classes=classes)
    for seed in seeds(60):
        rng = np.random.default_rng(seed)
        assert rng.random() < 1.0
        wanted = rng.choice(np.unique(case.foreground[:, 0]))
        rows = case.foreground[case.foreground[:, 0] == wanted]
        voxel = rows[rng.integers(len(rows)), 1:]
        assert (place(case, rule((1, 1, 1), 1.0), np.random.default_rng(seed)) == voxel).all()


def test_a_case_without_foreground_gives_windows_too():
    window = draw(case_of(np.zeros((3, 4, 4))), rule((2, 2, 2), 1.0), 0)
    assert window.label.shape == (2, 2, 2)


def test_an_unchanged_window_is_a_piece_of_image_and_label():
    case = random_case()
    for seed in seeds(20):
        drawn = rule((3, 8, 9), 0.5)
        corner = place(case, drawn, np.random.default_rng(seed))
        for augment in (None, STILL):
            window = draw(case, dataclasses.replace(drawn, augment=augment), seed)
            assert (window.image.dtype, window.label.dtype) == (torch.float32, torch.uint8)
            np.testing.assert_array_equal(window.image, crop(case.image, corner, (3, 8, 9)))
            np.testing.assert_array_equal(window.label, crop(case.label, corner, (3, 8, 9)))
            assert window.case == "case"


@pytest.mark.parametrize("size", [(3, 8, 8), (2, 7, 9), (4, 9, 6), (7, 19, 23), (9, 25, 10)])
def test_turned_by_nothing_is_the_plain_window(size):
    case, still = random_case(), changed(turn=1.0)
    for seed in seeds(4):
        turned, plain = (draw(case, rule(size, 0.5, a), seed) for a in (still, None))
        torch.testing.assert_close(turned.image, plain.image, atol=1e-4, rtol=0)
        assert torch.equal(turned.label, plain.label)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("sampling"))


def windows_of(run, seed=0, augment=ALL):
    spec = run.trial().spec
    keys = [spec.entries[name] for name in spec.cases.train]
    return Windows(run.cache, keys, rule((4, 8, 8), 0.6, augment), seed), spec.cases.train


def loaded(windows, workers, numbers=12, size=3):
    batches = [list(range(first, first + size)) for first in range(0, numbers, size)]
    return list(DataLoader(windows, batch_sampler=batches, collate_fn=collate, num_workers=workers))


def test_every_case_is_visited_once_before_any_comes_again(run):
    windows, names = windows_of(run)
    turns = [[windows[turn * 6 + at].case for at in range(6)] for turn in range(5)]
    assert all(sorted(turn) == sorted(names) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1
    other, _ = windows_of(run, seed=1)
    assert [other[at].case for at in range(30)] != [case for turn in turns for case in turn]


def test_windows_follow_from_seed_and_number_alone(run):
    windows, _ = windows_of(run)
    expected = loaded(windows, 0)
    fresh, _ = windows_of(run)
    backwards = [fresh[number] for number in reversed(range(12))][::-1]
    torch.manual_seed(99)
    np.random.seed(99)
    for workers in (0, 2):
        for group, got in zip(expected, loaded(windows_of(run)[0], workers), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(group[:2], got[:2], strict=True))
            assert group.cases == got.cases
    assert torch.equal(
        torch.cat([g.images for g in expected]), torch.stack([w.image for w in backwards])
    )
    assert len({window.image.sum().item() for window in backwards}) == 12
    other, _ = windows_of(run, seed=1)
    assert not torch.equal(other[0].image, windows[0].image)


def break_case(monkeypatch, name, error):
    real = sampling.draw

    def draw_or_break(case, *arguments):
        if case.name == name:
            raise error
        return real(case, *arguments)

    monkeypatch.setattr(sampling, "draw", draw_or_break)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_case_is_named_through_workers_too(run, monkeypatch, workers):
    windows, names = windows_of(run)
    break_case(monkeypatch, names[2], ValueError("no such axis"))
    found = loaded(windows, workers, numbers=6)
    bad = [group for group in found if isinstance(group, FailedWindow)]
    assert bad == [FailedWindow(names[2], "ValueError: no such axis")]
    assert sum(len(group.cases) for group in found if not isinstance(group, FailedWindow)) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_an_entry_that_is_gone_is_named_through_workers_too(run, workers):
    windows, _ = windows_of(run)
    gone = "f" * 64
    lost = Windows(run.cache, [gone], windows._rule, 0)
    (found,) = loaded(lost, workers, numbers=3)
    assert found.case == gone[:16]
    assert "is gone from the cache" in found.reason


def test_a_damaged_entry_gives_a_broken_window(tmp_path):
    run = tiny_run(tmp_path)
    spec = run.trial().spec
    key = spec.entries[spec.cases.train[0]]
    assert open_case(run.cache, key).name == spec.cases.train[0]
    path = run.cache / "cases" / key / "image.npy"
    path.write_bytes(path.read_bytes()[:200])
    found = Windows(run.cache, [key], rule((4, 8, 8)), 0)[0]
    assert isinstance(found, FailedWindow)
    assert "or damaged" in found.reason


def test_a_defect_of_ours_is_no_broken_case(run, monkeypatch):
    windows, names = windows_of(run)
    break_case(monkeypatch, names[0], TypeError("a bug"))
    with pytest.raises(TypeError, match="a bug"):
        loaded(windows, 0, numbers=6)


class Sharers:
    """Where the worker hands its tensors over."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        sharer = resource_sharer._resource_sharer
        if sharer._listener is None:
            sharer._start()
        return str(sharer._listener.address)


def test_a_worker_whose_parent_left_in_between_says_nothing(capfd):
    loader = DataLoader(Sharers(), batch_size=None, num_workers=1, worker_init_fn=quiet_worker)
    for address in loader:
        with socket.socket(socket.AF_UNIX) as parent:
            parent.connect(address)  # and leaves before it asked for anything
        time.sleep(0.2)
    assert capfd.readouterr().err == ""
