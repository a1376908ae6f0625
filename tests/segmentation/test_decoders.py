"""Decoders against arithmetic written out."""

import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.errors import UsageError
from inflate_zoo.networks.swin.config import SwinConfig
from inflate_zoo.networks.vit.config import VitConfig
from inflate_zoo.segmentation.decoders import LinearDecoder, UnetrDecoder, level_size, skip_blocks
from tests.networks.swin.test_config import FORM as SWIN

DIM = 12


def config(patch=(2, 3, 4), grid=(2, 1, 3), channels=2, blocks=4):
    return VitConfig(
        embed_dim=DIM, depth=blocks, num_heads=2, mlp="mlp", mlp_dim=16, activation="gelu",
        norm_eps=1e-6, in_channels=channels, patch_size=patch[1:], position_grid=grid[1:],
        position_prefix=1, cls_token=True, dist_token=False, reg_tokens=0, qkv_bias=True,
        layer_scale=False, stem_bias=True, pre_norm=False, final_norm="tokens", pool="cls",
        patch_depth=patch[0], volume=tuple(g * p for g, p in zip(grid, patch, strict=True)),
    )  # fmt: skip


def randomised(decoder):
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(0.1 if parameter.ndim == 1 else 0.0, 0.3)
    return decoder


def random_maps(form, count, batch=2, scale=1.0):
    return [scale * torch.randn(batch, DIM, *form.grid_size) for _ in range(count)]


@pytest.mark.parametrize(
    "patch, sizes",
    [
        (16, [16, 8, 4, 2, 1]),
        (14, [14, 7, 4, 2, 1]),
        (4, [4, 2, 1, 1, 1]),
        (1, [1] * 5),
        (40, [40, 20, 10, 5, 1]),
    ],
)
def test_levels_halve_the_patch_and_end_at_the_tokens(patch, sizes):
    found = [level_size((1, 2, 5), (1, patch, patch), level) for level in range(5)]
    assert found == [(1, 2 * size, 5 * size) for size in sizes]


def test_skips_stand_at_the_quarters():
    assert skip_blocks(12) == (2, 5, 8, 11)
    assert skip_blocks(24) == (5, 11, 17, 23)
    assert skip_blocks(1) == (0, 0, 0, 0)
    for depth in range(1, 60):
        blocks = skip_blocks(depth)
        assert sorted(blocks) == list(blocks)
        assert blocks[-1] == depth - 1
        assert len(set(blocks)) == 4 or depth < 4


def normed(tokens):
    """Tokens (..., E) with mean 0 and variance 1, written out."""
    centred = tokens - tokens.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def reduced(feature_map, weight, bias):
    return torch.einsum("bedhw,ke->bkdhw", feature_map, weight.flatten(1)) + bias.view(-1, 1, 1, 1)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_linear_decoder_is_one_layer_on_normed_tokens(scale):
    form = config()
    decoder = randomised(LinearDecoder(form, 5, 16))
    (tokens,) = random_maps(form, 1, scale=scale)
    plain = normed(tokens.movedim(1, -1)) @ decoder.head.weight.T + decoder.head.bias
    expected = F.interpolate(plain.movedim(-1, 1), size=form.volume, mode="trilinear")
    torch.testing.assert_close(decoder([tokens], None), expected, rtol=1e-4, atol=1e-5)
    assert expected.shape == (2, 5, 4, 3, 12)


def res_block(x, state, name, groups):
    """Two 3x3x3 convolutions with group norm, and a shortcut, normed 1x1x1 to other channels."""

    def part(value, number):
        weight = state[f"{name}.conv{number}.conv.weight"]
        value = F.conv3d(value, weight, padding=weight.shape[2] // 2)
        norm = state[f"{name}.norm{number}.weight"], state[f"{name}.norm{number}.bias"]
        return F.group_norm(value, groups, *norm)

    inner = part(F.leaky_relu(part(x, 1), 0.01), 2)
    shortcut = part(x, 3) if f"{name}.conv3.conv.weight" in state else x
    return F.leaky_relu(inner + shortcut, 0.01)


@pytest.mark.parametrize("patch", [(2, 3, 4), (1, 14, 14), (1, 1, 1)])
@pytest.mark.parametrize("features", [8, 16])
@pytest.mark.parametrize("image_path", [True, False])
def test_unetr_is_its_parts_in_order(patch, features, image_path):
    form = config(patch)
    decoder = randomised(UnetrDecoder(form, 3, features, image_path))
    maps, x = random_maps(form, 4, scale=30.0), torch.rand(2, 2, *form.volume)
    state = decoder.state_dict()

    def pointwise(value, name):
        return reduced(value, state[f"{name}.weight"], state[f"{name}.bias"])

    tokens = [normed(m.movedim(1, -1)).movedim(-1, 1) for m in maps]
    skips = [pointwise(tokens[2 - place], f"reduce_skip.{place}") for place in range(3)]
    if image_path:
        skips.append(res_block(x, state, "image", features // 8))
    below = tokens[3]
    for place, level in enumerate((3, 2, 1, 0)):
        below = pointwise(below, f"reduce_below.{place}")
        parts = [
            g * (p if level == 0 else max(1, -(-p // 2**level)))
            for g, p in zip(form.grid_size, patch, strict=True)
        ]
        found = (below, *skips[place : place + 1])
        pair = [F.interpolate(v, size=parts, mode="trilinear") for v in found]
        groups = features * 2**level // 8
        below = res_block(torch.cat(pair, dim=1), state, f"merge.{place}", groups)
    coarse = reduced(tokens[3], state["shortcut.weight"], torch.zeros(3))
    expected = pointwise(below, "head")
    expected += F.interpolate(coarse, size=form.volume, mode="trilinear")
    torch.testing.assert_close(decoder(maps, x), expected, rtol=1e-3, atol=1e-4)


@settings(max_examples=20)
@given(
    patch=st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    grid=st.tuples(*[st.integers(1, 3)] * 3),
    channels=st.integers(1, 3),
    blocks=st.integers(1, 6),
)
def test_any_patch_and_grid_trains_on_a_batch_of_one(patch, grid, channels, blocks):
    form = config(patch, grid, channels, blocks)
    x = torch.rand(1, channels, *form.volume)
    for kind, count in ((UnetrDecoder, 4), (LinearDecoder, 1)):
        decoder = kind(form, 3, 8)
        logits = decoder(random_maps(form, count, batch=1), x)
        assert logits.shape == (1, 3, *form.volume)
        logits.square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in decoder.parameters())


def test_a_single_voxel_trains_every_parameter():
    form = config((1, 1, 1), (1, 1, 1))
    decoder = randomised(UnetrDecoder(form, 2, 8))
    decoder(random_maps(form, 4, batch=1), torch.rand(1, 2, 1, 1, 1)).square().sum().backward()
    assert [name for name, p in decoder.named_parameters() if not p.grad.any()] == []


def test_a_unetr_halves_voxels_level_by_level_whatever_stage_a_map_is_of():
    stages = {
        "depths": (1,) * 4, "num_heads": (2,) * 4, "mlp_dims": (8,) * 4, "windows": ((4, 4),) * 4,
        "image_size": (32, 64), "volume": (4, 32, 64),
    }  # fmt: skip
    form = SwinConfig(**SWIN | stages)
    decoder, seen = UnetrDecoder(form, 2, 8), []
    for part in decoder.merge:
        part.register_forward_hook(lambda _module, _inputs, made: seen.append(made.shape[2:]))
    x = torch.rand(1, form.in_channels, *form.volume)
    grids = [[n // step for n, step in zip(form.volume, level.stride, strict=True)]
             for level in form.levels]  # fmt: skip
    pairs = zip(form.levels, grids, strict=True)
    logits = decoder([torch.rand(1, level.width, *grid) for level, grid in pairs], x)
    assert seen == [(2, 4, 8), (2, 8, 16), (2, 16, 32), (4, 32, 64)]
    assert logits.shape == (1, 2, *form.volume)


def test_every_map_and_the_volume_reach_the_logits():
    form = config()
    decoder = UnetrDecoder(form, 3, 8)
    inputs = [m.requires_grad_() for m in random_maps(form, 4)]
    x = torch.rand(2, 2, *form.volume, requires_grad=True)
    decoder(inputs, x)[0].square().sum().backward()
    for value in (*inputs, x):
        assert value.grad[0].any()
        assert not value.grad[1].any()  # another volume of the batch


def test_without_image_path_the_maps_alone_reach_the_logits():
    form = config()
    decoder = randomised(UnetrDecoder(form, 3, 8, image_path=False))
    inputs = [m.requires_grad_() for m in random_maps(form, 4)]
    x = torch.rand(2, 2, *form.volume, requires_grad=True)
    logits = decoder(inputs, x)
    assert torch.equal(logits, decoder(inputs, torch.rand_like(x)))
    assert torch.equal(logits, decoder(inputs, None))
    logits.square().sum().backward()
    assert x.grad is None
    assert all(value.grad.any() for value in inputs)
    assert all(p.grad.any() for p in decoder.parameters())


def test_without_image_path_a_unetr_has_fewer_parameters_and_else_the_same():
    whole, less = (UnetrDecoder(config(), 3, 8, path).state_dict() for path in (True, False))
    gone = "image.", "merge.3.conv3.", "merge.3.norm3."  # the merged channels need no fitting
    assert set(less) == {name for name in whole if not name.startswith(gone)}
    changed = [name for name in less if less[name].shape != whole[name].shape]
    assert changed == ["merge.3.conv1.conv.weight"]


def test_unetr_needs_the_volume():
    form = config()
    with pytest.raises(ValueError, match="reads the volume"):
        UnetrDecoder(form, 3, 8)(random_maps(form, 4), None)


@pytest.mark.parametrize("kind", [LinearDecoder, UnetrDecoder])
def test_the_global_seed_decides_the_weights(kind):
    def weights(seed):
        torch.manual_seed(seed)
        return kind(config(), 3, 8).state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_linear_decoder_starts_near_no_preference():
    head = LinearDecoder(config(), 500, 16).head
    assert not head.bias.any()
    assert abs(head.weight.std().item() - 0.01) < 0.001


def test_the_shortcut_of_unetr_starts_at_zero():
    assert not UnetrDecoder(config(), 3, 8).shortcut.weight.any()


def test_without_monai_only_unetr_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks.blocks.dynunet_block", None)
    LinearDecoder(config(), 2, 8)
    with pytest.raises(UsageError, match="needs MONAI") as caught:
        UnetrDecoder(config(), 2, 8)
    assert caught.value.hint.startswith('pip install "monai')
