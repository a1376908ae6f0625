"""Rotary positions: queries and keys of patch tokens turned by where they stand in the plane.

A head's channels form pairs; each pair is turned by a token's coordinate, down for the first half
of the pairs and across for the second, times the pair's frequency. Depth turns nothing: equal
slices then give equal keys, as the law wants it. Prefix tokens are not turned.

Dimensions: B batch, h heads, E width, e channels of a head, L = P + D * H * W tokens, prefix first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.networks.layers.attention import attend, heads_of, joined, with_qv_bias
from inflate_zoo.networks.layers.constants import made_once


class Axis(NamedTuple):
    """Where tokens stand along an axis.

    Attributes:
        tokens: How many.
        first: Coordinate of the first one, in radians for a pair of frequency 1.
        step: From one to the next.
    """

    tokens: int
    first: float
    step: float


class Rotation(NamedTuple):
    """How the tokens of a grid are turned.

    Attributes:
        prefix: Tokens before the patches, P.
        depth: Depth tokens, D.
        height: Down.
        width: Across.
        theta: Pair j of an axis has the frequency theta ** (-4 * j / e).
        interleaved: Whether neighbours are a pair; else the first half of the channels is paired
            with the second.
    """

    prefix: int
    depth: int
    height: Axis
    width: Axis
    theta: float
    interleaved: bool

    def turn(self, x: Tensor) -> Tensor:
        """Turn queries or keys, shape (B, h, L, e), any float dtype; the same comes back."""
        channels = x.shape[-1]
        cosine, sine = turns(self, channels, x.dtype, x.device)
        if self.interleaved:
            # On a CPU half the time that `flip` takes.
            partner = x.reshape(*x.shape[:-1], channels // 2, 2).roll(1, dims=-1).flatten(-2)
        else:
            partner = x.roll(channels // 2, dims=-1)
        return torch.addcmul(x * cosine, partner, sine)


@made_once
def turns(rotation: Rotation, channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Factors of each channel itself, and of its partner in the pair.

    Args:
        rotation: How tokens are turned.
        channels: e, a multiple of 4.
        dtype: Of the factors; angles are float32, whatever it is.
        device: Where to.

    Returns:
        Shape (2, L, e).
    """
    ranks = torch.arange(0, channels, 4, dtype=torch.float32, device=device)
    frequencies = rotation.theta ** (-ranks / channels)
    down, across = (
        (axis.first + axis.step * torch.arange(axis.tokens, dtype=torch.float32, device=device))
        .unsqueeze(1)
        .mul(frequencies)
        for axis in (rotation.height, rotation.width)
    )
    plane = torch.cat(
        [
            down.unsqueeze(1).expand(-1, rotation.width.tokens, -1),
            across.unsqueeze(0).expand(rotation.height.tokens, -1, -1),
        ],
        dim=-1,
    ).flatten(0, 1)
    angles = F.pad(plane.repeat(rotation.depth, 1), (0, 0, rotation.prefix, 0))
    cosine, sine = angles.cos(), angles.sin()
    if rotation.interleaved:
        pairs = [torch.stack(two, -1).flatten(-2) for two in ((cosine, cosine), (-sine, sine))]
    else:
        pairs = [torch.cat(two, dim=-1) for two in ((cosine, cosine), (-sine, sine))]
    return torch.stack(pairs).to(dtype)


class RotaryAttention(nn.Module):
    """Multi-head self-attention of turned queries and keys; query and value may have biases.

    Args:
        dim: Width.
        heads: Heads, each of a multiple of 4 channels.
        qv_bias: Whether query and value have biases; the key has none.
        norm_eps: Epsilon of a norm before the last projection; `None` where there is none.
    """

    def __init__(
        self, dim: int, heads: int, *, qv_bias: bool, norm_eps: float | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qv_bias else None
        self.norm = nn.Identity() if norm_eps is None else nn.LayerNorm(dim, eps=norm_eps)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        packed = with_qv_bias(x, self.qkv, self.q_bias, self.v_bias)
        query, key, value = heads_of(packed, self.heads)
        query, key = rotation.turn(query), rotation.turn(key)
        mixed = attend(query, key, value, rotation.prefix, rotation.depth)
        return self.proj(self.norm(joined(mixed)))  # type: ignore[no-any-return]
