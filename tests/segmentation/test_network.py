"""A backbone with a decoder: what it computes, and what of it is trained."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from inflate_zoo import Backbone, segmenter
from inflate_zoo.segmentation.network import SegmenterConfig
from tests.segmentation.test_segmenter import DECODERS, backbone, config, flat

ROOT = Path(__file__).parents[2]


def test_linear_reads_the_final_norm_and_unetr_the_raw_blocks():
    inner = backbone(reg_tokens=2, position_prefix=1)
    x = torch.rand(2, 2, 6, 4, 6)
    (final,) = segmenter(inner, classes=2, decoder="linear").encode(x)
    tokens = inner.forward_features(x)[:, 3:]
    for place in range(12):
        index = (place // 4, place // 2 % 2, place % 2)
        torch.testing.assert_close(final[:, :, *index], tokens[:, place])
    maps = segmenter(inner, classes=2, features=8).encode(x)
    each = inner.forward_intermediates(x, range(4), intermediates_only=True)
    for got, expected in zip(maps, each, strict=True):
        torch.testing.assert_close(got, expected)


def test_the_linear_segmenter_is_plain_arithmetic():
    inner = backbone(final_norm="pooled", pool="mean")
    network = segmenter(inner, classes=4, decoder="linear")
    x = torch.rand(2, 2, 6, 4, 6)
    tokens = inner.forward_features(x)[:, 1:]
    deviation = tokens.std(-1, correction=0, keepdim=True)
    head = network.decoder.head
    plain = (tokens - tokens.mean(-1, keepdim=True)) / deviation @ head.weight.T + head.bias
    grid = plain.permute(0, 2, 1).reshape(2, 4, 3, 2, 2)
    expected = F.interpolate(grid, size=(6, 4, 6), mode="trilinear", align_corners=False)
    torch.testing.assert_close(network.decode(network.encode(x)), expected, rtol=1e-3, atol=1e-4)


def test_a_wrong_size_is_refused():
    network = segmenter(backbone(), classes=2, decoder="linear")
    with pytest.raises(ValueError, match=r"expected a volume \[batch, 2, 6, 4, 6\]"):
        network(torch.rand(1, 2, 4, 4, 6))


def test_a_wrong_plane_is_told_of_the_volume_as_it_was_given():
    network = segmenter(flat(), classes=2, decoder="linear", slice_wise=True)
    with pytest.raises(ValueError, match=r"are converted: --channels 1$"):
        network(torch.rand(1, 1, 3, 4, 6))
    with pytest.raises(ValueError, match=r"any depth, 4, 6\], got \[1, 2, 3, 8, 6\]"):
        network(torch.rand(1, 2, 3, 8, 6))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("training", [True, False])
def test_nothing_mixes_slices(decoder, training):
    network = segmenter(flat(), classes=3, decoder=decoder, features=8, slice_wise=True)
    network.train(training)
    x = torch.rand(2, 2, 5, 4, 6)
    logits = network(x)
    assert logits.shape == (2, 3, 5, 4, 6)
    changed = x.clone()
    changed[1, :, 3] = torch.rand(2, 4, 6)
    differs = (network(changed) != logits).flatten(3).any(-1).any(1)
    assert differs.nonzero().tolist() == [[1, 3]]
    for index in range(5):  # and is what the same network makes of the slice alone
        torch.testing.assert_close(network(x[:, :, index : index + 1]), logits[:, :, [index]])


@pytest.mark.parametrize("decoder", DECODERS)
def test_slice_wise_is_the_same_network_on_volumes_one_slice_deep(decoder):
    inner = flat()
    network = segmenter(inner, classes=3, decoder=decoder, features=8, slice_wise=True)
    plain = segmenter(inner, classes=3, decoder=decoder, features=8)
    plain.load_state_dict(network.state_dict())
    x = torch.rand(2, 2, 5, 4, 6)
    expected = torch.stack([plain(x[:, :, i : i + 1])[:, :, 0] for i in range(5)], dim=2)
    torch.testing.assert_close(network(x), expected)
    assert {m.shape[0] for m in network.encode(x)} == {10}


def test_slices_come_back_without_the_volume():
    network = segmenter(flat(), classes=3, decoder="linear", slice_wise=True)
    x = torch.rand(2, 2, 5, 4, 6)
    maps = network.encode(x)
    torch.testing.assert_close(network.decode(maps, depth=5), network(x))
    network.volume = (5, 4, 6)
    torch.testing.assert_close(network.decode(maps), network(x))
    nothing = network.encode(x[:0])
    assert network.decode(nothing, x[:0]).shape == network.decode(nothing).shape == (0, 3, 5, 4, 6)


@pytest.mark.parametrize("slice_wise", [False, True])
def test_an_array_is_told_to_be_made_a_tensor(slice_wise):
    network = segmenter(flat(), classes=3, decoder="linear", slice_wise=slice_wise)
    with pytest.raises(
        TypeError, match=r"a tensor, got ndarray; make it one: torch.as_tensor\(x\)$"
    ):
        network(np.zeros((2, 2, 1, 4, 6), np.float32))


FORMS = {
    "norm on the tokens": {},
    "norm on the pooled": {"final_norm": "pooled", "pool": "mean"},
    "no norm": {"final_norm": "none", "pool": "mean", "cls_token": False, "position_prefix": 0},
    "registers, distilled": {"reg_tokens": 2, "dist_token": True, "pool": "cls_dist"},
    "one block": {"blocks": 1, "layer_scale": True, "pre_norm": True},
}


def without_gradient(network):
    """Names of parameters that wait for a gradient and get none."""
    network(torch.rand(2, 2, *network.volume)).square().sum().backward()
    return [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decoder", ["linear", "unetr", "upernet"])
def test_what_is_not_read_is_not_trained(decoder, form):
    network = segmenter(flat(**FORMS[form]), classes=2, decoder=decoder, features=8)
    assert not without_gradient(network)
    assert not without_gradient(network.requires_grad_())
    network.backbone.requires_grad_(False)
    network.backbone.requires_grad_()
    assert not without_gradient(network)
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert {n.rsplit(".", 1)[0] for n in frozen} <= {"backbone.norm", "backbone.fc_norm"}
    if form == "norm on the tokens":
        assert bool(frozen) == (decoder != "linear")
    assert not any(p.requires_grad for p in network.requires_grad_(False).parameters())


def test_what_only_a_decoder_before_did_not_read_is_trained_again():
    inner = flat()
    first = segmenter(inner, classes=2, decoder="unetr", features=8)
    assert not inner.norm.weight.requires_grad
    second = segmenter(first.backbone, classes=3, decoder="linear")
    assert inner.norm.weight.requires_grad
    assert not without_gradient(second)
    segmenter(inner, classes=2, decoder="upernet", features=8)
    segmenter(inner, classes=2, decoder="unetr", features=8)
    assert not inner.norm.weight.requires_grad
    loaded = pickle.loads(pickle.dumps(inner))
    assert segmenter(loaded, classes=2, decoder="linear").backbone.norm.weight.requires_grad


def test_what_was_frozen_before_any_decoder_stays_so():
    inner = flat()
    inner.norm.bias.requires_grad_(False)
    segmenter(inner, classes=2, decoder="unetr", features=8)
    segmenter(inner, classes=2, decoder="linear")
    assert inner.norm.weight.requires_grad
    assert not inner.norm.bias.requires_grad
    frozen = segmenter(inner, classes=2, decoder="unetr", features=8).backbone.requires_grad_(False)
    segmenter(frozen, classes=2, decoder="linear")
    assert not any(p.requires_grad for p in inner.parameters())


# Two processes, made from one that has imported torch.
TOGETHER = """
import os, sys
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from inflate_zoo import Backbone, segmenter
from inflate_zoo.networks.vit.config import VitConfig
form = VitConfig.model_validate_json(sys.argv[1])
def train(rank, file):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    for decoder, norm in ("linear", "group"), ("unetr", "group"), ("upernet", "group"), \
            ("upernet", "batch"):
        torch.manual_seed(0)
        network = segmenter(Backbone(form), classes=2, decoder=decoder, features=8, norm=norm)
        shared = DistributedDataParallel(network)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            shared(torch.rand(2, 2, *form.volume) + rank).square().mean().backward()
            optimizer.step()
        total = sum(p.detach().double().sum() for p in network.parameters())
        totals = [torch.zeros_like(total) for _ in range(2)]
        dist.all_gather(totals, total)
        assert totals[0] == totals[1], decoder
import torch._dynamo, monai.networks.blocks.dynunet_block
children = []
for rank in range(2):
    if not (child := os.fork()):
        try:
            train(rank, sys.argv[2])
            os._exit(0)
        finally:
            import traceback; traceback.print_exc()
            os._exit(1)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_every_decoder_trains_in_two_processes(tmp_path):
    form = config(patch_depth=1, volume=(1, 4, 6)).model_dump_json()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TOGETHER, form, str(tmp_path / "meet")],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_decoder_costs_no_more_than_twice_the_backbone():
    """ViT-S, patch 4x14x14, window 16x56x56; counted on shapes alone."""
    form = config(
        blocks=12, embed_dim=384, num_heads=6, mlp_dim=1536, in_channels=1, patch_size=(14, 14),
        patch_depth=4, volume=(16, 56, 56), position_grid=(4, 4),
    )  # fmt: skip
    with torch.device("meta"):
        network = segmenter(Backbone(form), classes=3)
        x = torch.empty(1, 1, 16, 56, 56)
        with FlopCounterMode(display=False) as inner:
            maps = network.encode(x)
        with FlopCounterMode(display=False) as outer:
            network.decode(maps, x)
    assert outer.get_total_flops() < 2 * inner.get_total_flops()


WANTED = {"classes": 2, "decoder": "linear", "features": 8, "slice_wise": False}


@pytest.mark.parametrize(
    "inner, changes, told",
    [
        ({}, {"decoder": "unetr", "features": 12}, "features 12 is not a multiple of 8"),
        ({}, {"norm": "batch"}, "norm belongs to decoder 'upernet'"),
        ({}, {"slice_wise": True}, "slice_wise needs a backbone of patch depth 1"),
        (
            {"patch_depth": 1, "volume": (3, 4, 6)},
            {"slice_wise": True},
            "patch depth 1 and volumes 3 deep",
        ),
        ({}, {"classes": 257}, "less than or equal to 256"),
        ({}, {"decoder": "other"}, "'linear', 'unetr' or 'upernet'"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(inner, changes, told):
    with pytest.raises(ValidationError, match=told):
        SegmenterConfig(backbone=config(**inner), **(WANTED | changes))


def test_only_upernet_on_whole_volumes_tells_the_centre_slice_alone():
    for decoder in ("linear", "unetr", "upernet"):
        for slice_wise in (True, False):
            network = segmenter(
                flat(), classes=2, decoder=decoder, features=8, slice_wise=slice_wise
            )
            assert network.centre_slice == (decoder == "upernet" and not slice_wise)
