"""Stochastic depth and recomputed blocks, checked on the plain vision transformer and Swin."""

import re

import numpy as np
import pytest
import torch

from inflate_zoo.networks.layers.residual import ResidualBlock
from tests.networks.swin.test_network import network
from tests.networks.vit.test_network import CLS_REG, build, close, volumes


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "shape", [(2, 2, 12, 10, 12), (2, 1, 12, 12, 10), (2, 2, 12, 10), (2, 12, 12, 10)], ids=str
)
@pytest.mark.parametrize("call", ["forward", "forward_features", "forward_intermediates"])
def test_a_wrong_volume_is_named_beside_the_right_one(shape, call):
    net = build()
    arguments = ([0],) if call == "forward_intermediates" else ()
    message = f"expected a volume [batch, 2, 12, 12, 10], got {list(shape)}"
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(net, call)(torch.zeros(shape, dtype=torch.float64), *arguments)


@pytest.mark.parametrize(
    "shape, told",
    [
        ((2, 2, 12, 10, 12), "set_input_size prepares the backbone for another size"),
        ((2, 3, 12, 12, 10), "channels are set when weights are converted: --channels 3"),
        ((2, 12, 12, 10), "x[None] makes a batch of one volume"),
    ],
    ids=str,
)
def test_what_helps_goes_by_what_is_wrong(shape, told):
    with pytest.raises(ValueError, match=re.escape(told) + "$"):
        build()(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("drop_path", [0.0, 0.5])
def test_checkpointing_changes_no_gradient(drop_path):
    net = build(**CLS_REG).train()
    net.set_drop_path(drop_path)
    x = volumes(net, batch=4)
    calls = []
    net.blocks[0].register_forward_pre_hook(lambda *rest: calls.append(1))

    def gradients(enable):
        net.set_grad_checkpointing(enable)
        net.zero_grad()
        torch.manual_seed(1)
        net(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in net.parameters()]

    plain = gradients(False)
    assert len(calls) == 1
    close(gradients(True), plain)
    assert len(calls) == 3  # again in the backward pass


def test_an_array_is_told_to_be_made_a_tensor():
    with pytest.raises(
        TypeError, match=r"a tensor, got ndarray; make it one: torch.as_tensor\(x\)$"
    ):
        build()(np.zeros((1, 2, 12, 12, 10), np.float32))  # its device is "cpu", too


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    block = build().train().blocks[0]
    block.drop_path = 0.25
    dropped = block._drop(torch.ones(20_000, 3, 2), 0)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_grows_over_the_blocks_and_is_off_in_eval():
    net = build()
    x = volumes(net)
    before = net(x)
    net.set_drop_path(0.4)
    assert [block.drop_path for block in net.blocks] == pytest.approx([0, 0.2, 0.4])
    close(net(x), before)
    net.train()
    assert not torch.equal(net(volumes(net, batch=8)), net(volumes(net, batch=8)))
    net.set_drop_path(0)
    close(net(x), before)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_drop_path_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match=f"drop path rate {rate} is not in"):
        build().set_drop_path(rate)


def test_stochastic_depth_drops_what_is_drawn():
    made, volume = network().train(), torch.randn(2, 3, 8, 16, 16)
    assert made.drop_shape == ()
    made.set_drop_path(0.9)
    assert made.drop_shape == (4, 2)
    made.fix_drops(torch.full((4, 2, 2), 0.99))
    dropped = made.forward_features(volume)
    stem = made.norm_pre(made.patch_embed(volume))
    first = made.stages[0].blocks[0](stem, (4, 8, 8))  # never dropped
    merged = made.merges[0](first.view(2, 4, 8, 8, 12)).flatten(1, 3)
    torch.testing.assert_close(dropped, made.norm(merged))
    with pytest.raises(ValueError, match="drop path rate"):
        made.set_drop_path(1.0)


def test_given_draws_decide_for_each_branch_and_sample():
    block, branch = ResidualBlock().train(), torch.randn(3, 4, 2)
    block.drop_path = 0.25
    block.drop_draws = torch.tensor([[0.0, 0.76, 0.74], [0.8, 0.1, 0.2]])
    for which, kept in enumerate(([1, 0, 1], [0, 1, 1])):
        expected = branch * torch.tensor(kept).view(3, 1, 1) / 0.75
        torch.testing.assert_close(block._drop(branch, which), expected)
    assert block.eval()._drop(branch, 0) is branch
    block.train().drop_path = 0.0
    assert block._drop(branch, 0) is branch


def test_draws_are_of_two_branches_of_each_block_and_of_no_other_number():
    net = build()
    assert net.drop_shape == ()
    net.set_drop_path(0.5)
    assert net.drop_shape == (3, 2)
    draws = torch.rand(3, 2, 4)
    net.fix_drops(draws)
    assert all(torch.equal(b.drop_draws, rows) for b, rows in zip(net.blocks, draws, strict=True))
    with pytest.raises(ValueError, match="zip"):
        net.fix_drops(torch.rand(2, 2, 4))


@pytest.mark.parametrize("make", [build, network])
def test_a_volume_of_another_type_is_told_to_be_converted(make):
    net = make().float()
    volume = torch.zeros(1, net.config.in_channels, *net.config.volume)
    message = re.escape("the volume is float64, the weights are float32; convert it: x.to(torch.fl")
    with pytest.raises(ValueError, match=message):
        net(volume.double())
    with pytest.raises(ValueError, match="the volume is uint8, the weights are float32"):
        net(volume.to(torch.uint8))
    with pytest.raises(ValueError, match="the volume is float32, the weights are bfloat16"):
        net.to(torch.bfloat16)(volume)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        net.float()
        assert net(volume).isfinite().all()  # autocast sees to it
        assert net(volume.to(torch.bfloat16)).isfinite().all()
        with pytest.raises(ValueError, match="the volume is int64"):
            net(volume.long())


def test_a_volume_elsewhere_is_told_to_be_moved():
    net = build(dtype=torch.float32)
    with pytest.raises(ValueError, match=r"on meta, the weights on cpu; move it: x.to\('cpu'\)"):
        net(volumes(net, dtype=torch.float32).to("meta"))
