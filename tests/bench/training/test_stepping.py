"""What belongs to a step: learning rate, windows, dropped branches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inflate_zoo.bench.training.stepping import Drops, GroupSampler, learning_rate_factor
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.segmentation.segmenter import segmenter
from tests.segmentation.test_segmenter import config
from tests.support.trials import one_thread, tiny_protocol


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


def train(**changes):
    return tiny_protocol().train.model_copy(update=changes)


def factors(**changes):
    settings = train(**changes)
    return [learning_rate_factor(step, settings) for step in range(settings.steps)]


def test_linear_schedule():
    got = factors(steps=8, warmup_ratio=0.4, schedule="linear")
    assert got == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_cosine_schedule():
    got = factors(steps=7, warmup_ratio=0.15, schedule="cosine")
    angles = [0, math.pi / 6, math.pi / 3, math.pi / 2, 2 * math.pi / 3, 5 * math.pi / 6]
    assert got == pytest.approx([1, *((1 + math.cos(angle)) / 2 for angle in angles)])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("top", [0, 1, 3, 4])
def test_a_schedule_rises_then_falls_and_stays_positive(schedule, top):
    got = factors(steps=4, warmup_ratio=0.24 * top, schedule=schedule)
    assert got[:top] == pytest.approx([(step + 1) / top for step in range(top)])
    assert all(a >= b for a, b in zip(got[top:], got[top + 1 :], strict=False))
    assert all(0 < factor <= 1 for factor in got)


@given(
    groups=st.integers(1, 6),
    size=st.integers(1, 3),
    processes=st.integers(1, 6),
    start=st.integers(0, 4),
)
def test_processes_share_every_window_once(groups, size, processes, start):
    settings = train(steps=5, batch=groups * size, dice_group=size)
    ranks = [GroupSampler(settings, start, rank, processes) for rank in range(processes)]
    seen = [number for rank in ranks for group in rank for number in group]
    assert sorted(seen) == list(range(start * groups * size, 5 * groups * size))
    whole = list(GroupSampler(settings, 0, 0, 1))
    for rank in ranks:
        of_steps = [rank.of(step) for step in range(start, 5)]
        assert {len(step) for step in of_steps} <= {rank.per_step}
        assert [group for step in of_steps for group in step] == list(rank)
        assert all(group in whole for group in rank)


def network(slice_wise=False):
    torch.manual_seed(0)
    changes = {"patch_depth": 1, "volume": (1, 4, 6)} if slice_wise else {}
    inner = Backbone(config(**changes))
    with torch.no_grad():
        for parameter in inner.parameters():
            parameter.normal_(0.1, 0.4)
    inner.set_drop_path(0.7)
    made = segmenter(inner, classes=2, decoder="linear", slice_wise=slice_wise)
    torch.nn.init.normal_(made.decoder.head.weight)
    return made.train()


@pytest.mark.parametrize("slice_wise", [False, True])
def test_drops_do_not_depend_on_what_shares_the_micro_batch(slice_wise):
    net, numbers = network(slice_wise), [5, 9, 2, 17, 30, 4]
    x = torch.rand(6, 2, 6, 4, 6)
    copies = 6 if slice_wise else 1

    def run(places):
        Drops(net, 3, copies).fix([numbers[place] for place in places])
        with torch.no_grad():
            return net(x[list(places)])

    whole = run(range(6))
    for parts in ([(0,), (1, 2), (3, 4, 5)], [(5, 3), (1, 0), (4, 2)]):
        for places in parts:
            torch.testing.assert_close(run(places), whole[list(places)], rtol=1e-5, atol=1e-5)
    # Something is dropped, and not the same in every window or slice.
    with torch.no_grad():
        undropped = net.eval()(x)
    changed = (whole - undropped).abs().amax(dim=(1, 3, 4) if slice_wise else (1, 2, 3, 4)) > 1e-4
    assert changed.any()
    Drops(net.train(), 4, copies).fix(numbers)
    with torch.no_grad():
        assert (net(x) - whole).abs().max() > 1e-3


def test_slices_of_a_window_drop_by_themselves():
    net = network(slice_wise=True)
    same = torch.rand(1, 2, 1, 4, 6).expand(1, 2, 6, 4, 6)
    Drops(net, 0, 6).fix([1])
    with torch.no_grad():
        logits = net(same)[0].transpose(0, 1).flatten(1)
    assert len({tuple(row.round(decimals=3).tolist()) for row in logits}) > 1


def test_the_share_of_drops_grows_with_the_block():
    net = network()
    Drops(net, 0, 1).fix(list(range(3000)))
    for block in net.backbone.blocks:
        assert block.drop_draws.shape == (2, 3000)
        share = (block.drop_draws >= 1 - block.drop_path).float().mean(dim=1)
        torch.testing.assert_close(share, torch.full((2,), block.drop_path), atol=0.03, rtol=0)
    draws = torch.cat([block.drop_draws for block in net.backbone.blocks])
    assert torch.corrcoef(draws).triu(1).abs().max() < 0.1
