"""Rotary positions against complex numbers, timm's and transformers' own."""

import cmath
import math

import pytest
import torch
import torch.nn.functional as F
from timm.layers import RotaryEmbeddingCat, RotaryEmbeddingDinoV3
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaAttention

from inflate_zoo.networks.dinov3.network import centres
from inflate_zoo.networks.layers.rotary import Axis, RotaryAttention, Rotation, turns

GRID = (3, 4, 6)  # not square, not cubic
PREFIX, CHANNELS = 2, 16


def rotation(*, interleaved, depth=GRID[0], prefix=PREFIX, axes=None):
    height, width = axes or (Axis(4, 0.3, 0.7), Axis(6, -1.1, 0.4))
    return Rotation(prefix, depth, height, width, 50.0, interleaved)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def by_complex_numbers(x, told):
    """Each pair as a complex number times exp(i * coordinate * frequency)."""
    _, _, length, channels = x.shape
    half, out = channels // 2, x.clone()
    for token in range(told.prefix, length):
        place = (token - told.prefix) % (told.height.tokens * told.width.tokens)
        row, column = divmod(place, told.width.tokens)
        for pair in range(half):
            axis, at = (told.height, row) if pair < half // 2 else (told.width, column)
            frequency = told.theta ** (-4 * (pair % (half // 2)) / channels)
            turn = cmath.exp(1j * (axis.first + axis.step * at) * frequency)
            one, two = (2 * pair, 2 * pair + 1) if told.interleaved else (pair, pair + half)
            a, b = x[:, :, token, one], x[:, :, token, two]
            out[:, :, token, one] = a * turn.real - b * turn.imag
            out[:, :, token, two] = a * turn.imag + b * turn.real
    return out


@pytest.mark.parametrize("interleaved", [False, True])
def test_pairs_are_turned_as_complex_numbers_are_multiplied(interleaved):
    told = rotation(interleaved=interleaved)
    x = torch.randn(1, 2, PREFIX + math.prod(GRID), CHANNELS)
    torch.testing.assert_close(told.turn(x), by_complex_numbers(x, told), rtol=0, atol=2e-6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_prefix_tokens_are_not_turned_and_all_slices_alike(interleaved):
    told = rotation(interleaved=interleaved)
    x = torch.randn(1, 1, PREFIX + 24, CHANNELS)
    stack = torch.cat([x[:, :, :PREFIX], x[:, :, PREFIX:].repeat(1, 1, GRID[0], 1)], dim=2)
    turned = told.turn(stack)
    assert torch.equal(turned[:, :, :PREFIX], x[:, :, :PREFIX])
    slices = turned[:, :, PREFIX:].unflatten(2, (GRID[0], -1))
    assert torch.equal(slices, slices[:, :, :1].expand_as(slices))
    flat = rotation(interleaved=interleaved, depth=1).turn(x)
    assert torch.equal(flat[:, :, PREFIX:], slices[:, :, 0])


@pytest.mark.parametrize("grid", [(4, 6), (7, 3), (1, 1)])
def test_centres_are_those_of_dinov3_on_each_axis_by_itself(grid):
    embed = RotaryEmbeddingDinoV3(CHANNELS, temperature=100.0, feat_shape=list(grid))
    x = torch.randn(1, 2, math.prod(grid), CHANNELS)
    told = Rotation(0, 1, centres(grid[0]), centres(grid[1]), 100.0, interleaved=False)
    expected = apply_rot_embed_cat(x, embed.get_embed(), half=True)
    torch.testing.assert_close(told.turn(x), expected, rtol=0, atol=5e-6)


def test_neighbours_are_pairs_as_in_eva02():
    embed = RotaryEmbeddingCat(
        CHANNELS, temperature=10000.0, in_pixels=False, feat_shape=[4, 6], ref_feat_shape=[16, 16]
    )
    x = torch.randn(1, 2, 24, CHANNELS)
    told = Rotation(0, 1, Axis(4, 0.0, 16 / 4), Axis(6, 0.0, 16 / 6), 10000.0, interleaved=True)
    expected = apply_rot_embed_cat(x, embed.get_embed())
    torch.testing.assert_close(told.turn(x), expected, rtol=0, atol=1e-5)


def test_angles_are_float32_whatever_the_tokens_are():
    told = rotation(interleaved=False, axes=(Axis(4, 0.0, 300.0), Axis(6, 0.0, 300.0)))
    device = torch.device("cpu")
    exact = turns(told, CHANNELS, torch.float32, device)
    rounded = turns(told, CHANNELS, torch.bfloat16, device)
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, exact.bfloat16())


def attend_by_repetition(attention, x, told):
    """Softmax over all keys, those of the prefix there once for each depth token."""
    query, key, value = (
        F.linear(x, weight, bias).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for weight, bias in zip(
            attention.qkv.weight.chunk(3), (attention.q_bias, None, attention.v_bias), strict=True
        )
    )
    query, key = by_complex_numbers(query, told), by_complex_numbers(key, told)
    more = (1, 1, told.depth - 1, 1)
    key = torch.cat([key[:, :, : told.prefix].repeat(more), key], dim=2)
    value = torch.cat([value[:, :, : told.prefix].repeat(more), value], dim=2)
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
    mixed = (weights @ value).transpose(1, 2).flatten(2)
    return attention.proj(attention.norm(mixed))


def randomised(module, std=0.3):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * std)
    return module


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("norm_eps", [None, 0.1])
def test_attention_weights_prefix_keys_by_the_depth_grid(interleaved, norm_eps):
    told = rotation(interleaved=interleaved)
    attention = randomised(RotaryAttention(32, 2, qv_bias=True, norm_eps=norm_eps))
    x = torch.randn(2, PREFIX + math.prod(GRID), 32)
    expected = attend_by_repetition(attention, x, told)
    torch.testing.assert_close(attention(x, told), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("qv_bias", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_attention_on_one_slice_is_timms(qv_bias, norm):
    theirs = EvaAttention(
        32, 2, qkv_bias=qv_bias, num_prefix_tokens=PREFIX, scale_norm=norm,
        norm_layer=torch.nn.LayerNorm, rotate_half=True,
    )  # fmt: skip
    ours = RotaryAttention(32, 2, qv_bias=qv_bias, norm_eps=1e-5 if norm else None)
    ours.load_state_dict(randomised(theirs).state_dict())
    embed = RotaryEmbeddingDinoV3(16, temperature=100.0, feat_shape=[4, 6])
    told = Rotation(PREFIX, 1, centres(4), centres(6), 100.0, interleaved=False)
    x = torch.randn(2, PREFIX + 24, 32)
    expected = theirs(x, rope=embed.get_embed())
    torch.testing.assert_close(ours(x, told), expected, rtol=0, atol=1e-5)
