"""SwinV2 on volumes: cosine attention inside windows, biases from offsets, norms after branches.

Dimensions: B batch, N tokens of a window, L tokens of a stage, d h w their grid, E width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.layers.attention import heads_of, joined, with_qv_bias
from inflate_zoo.networks.layers.constants import made_once
from inflate_zoo.networks.layers.grids import Placement, stage_grids
from inflate_zoo.networks.layers.parts import Mlp, PatchEmbed, initialise
from inflate_zoo.networks.layers.stages import Stage, StagedNetwork, WindowBlock, merge_parts
from inflate_zoo.networks.layers.windows import (
    attend_in_windows,
    from_windows,
    offsets,
    table_rows,
    to_windows,
    window_mask,
)
from inflate_zoo.networks.swinv2.config import BIAS_WIDTH, SwinV2Config

_MOST_SCALE = math.log(100)
_MOST_BIAS = 16


class SwinTransformerV2(StagedNetwork):
    """SwinV2 on volumes.

    Args:
        config: The architecture.

    Attributes:
        config: As given.
    """

    config: SwinV2Config

    def __init__(self, config: SwinV2Config) -> None:
        super().__init__(config)
        dim, eps = config.embed_dim, config.outer_eps
        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=config.stem_bias)
        self.norm_pre = nn.LayerNorm(dim, eps=eps)
        grids = stage_grids(config, self.grid_size)
        self.stages = nn.ModuleList(
            Stage([Block(config, stage, grid, shifted=i % 2 == 1) for i in range(depth)])
            for stage, (grid, depth) in enumerate(zip(grids, config.depths, strict=True))
        )
        self.merges = nn.ModuleList(
            Merging(width, eps, depth=config.merge_depth) for width in config.widths[:-1]
        )
        self.norm = nn.LayerNorm(config.widths[-1], eps=config.norm_eps)
        # The layers that make a bias of offsets stand for a table (Liu et al. 2022, their code).
        self.tables = frozenset(
            name
            for name, _ in self.named_parameters()
            if name.endswith("logit_scale") or ".bias_of_offset." in name
        )
        initialise(self)


class BiasOfOffset(nn.Module):
    """From offsets to a bias for each head: two layers, and a sigmoid that bounds it."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, BIAS_WIDTH)
        self.fc2 = nn.Linear(BIAS_WIDTH, heads, bias=False)

    def forward(self, offset: Tensor) -> Tensor:
        """(rows, 3) to (rows, heads)."""
        return _MOST_BIAS * torch.sigmoid(self.fc2(F.relu(self.fc1(offset))))


@made_once
def coordinates(
    window: Triple, units: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """What `BiasOfOffset` sees of all offsets of a window, shape (rows, 3).

    Args:
        window: Tokens (depth, height, width).
        units: Offset (depth, height, width) that is measured as 1.
        dtype: Of the result.
        device: Where to.
    """
    measured = 8 * offsets(window, device).float() / torch.tensor(units, device=device)
    return (measured.sign() * torch.log2(measured.abs() + 1) / math.log2(8)).to(dtype)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1; those of no length stay as they are."""
    # Keys of padding are 0 exactly, and torch's least length, 1e-12, is 0 in float16.
    return F.normalize(vectors, dim=-1, eps=max(1e-12, torch.finfo(vectors.dtype).tiny))


class CosineAttention(nn.Module):
    """Multi-head self-attention inside windows by the cosine of query and key.

    Args:
        dim: E.
        heads: Heads.
        units: Offset (depth, height, width) that is measured as 1.
        qv_bias: Whether query and value have a bias.
    """

    def __init__(self, dim: int, heads: int, units: Triple, *, qv_bias: bool) -> None:
        super().__init__()
        self.heads, self.units = heads, units
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.bias_of_offset = BiasOfOffset(heads)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qv_bias else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, placement: Placement) -> Tensor:
        """(B n, N, E), same shape, windows that lie so."""
        packed = with_qv_bias(windows, self.qkv, self.q_bias, self.v_bias)
        query, key, value = heads_of(packed, self.heads)
        scale = self.logit_scale.clamp(max=_MOST_SCALE).exp()
        query, key = _unit(query) * scale, _unit(key)
        mask = window_mask(placement, query.dtype, windows.device)
        bias = self._bias(placement.window)
        mixed = attend_in_windows(query, key, value, bias, mask, scale=1.0)
        return self.proj(joined(mixed))  # type: ignore[no-any-return]

    def _bias(self, window: Triple) -> Tensor:
        """Of every pair of a window, shape (heads, N, N)."""
        weight = self.bias_of_offset.fc1.weight
        seen = coordinates(window, self.units, weight.dtype, weight.device)
        rows = table_rows(window, window, weight.device)
        bias: Tensor = self.bias_of_offset(seen)[rows].permute(2, 0, 1)
        return bias


class Block(WindowBlock):
    """Transformer block whose branches are normed at their end."""

    def __init__(self, config: SwinV2Config, stage: int, grid: Triple, *, shifted: bool) -> None:
        super().__init__(config, stage, grid, shifted=shifted)
        dim, eps = config.widths[stage], config.norm_eps
        units = (max(1, config.depth_window - 1), *config.units(stage))
        heads, bias = config.num_heads[stage], config.qv_bias
        self.attn = CosineAttention(dim, heads, units, qv_bias=bias)
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, config.mlp_dims[stage], config.activation, gated=False)
        self.norm2 = nn.LayerNorm(dim, eps=eps)

    def forward(self, x: Tensor, grid: Triple) -> Tensor:
        """(B, L, E) to (B, L, E), tokens of a grid."""
        at = self.placement(grid)
        tokens = x.reshape(x.shape[0], *grid, x.shape[-1])
        mixed = from_windows(self.attn(to_windows(tokens, at), at), at)
        x = x + self._drop(self.norm1(mixed.flatten(1, 3)), 0)
        return x + self._drop(self.norm2(self.mlp(x)), 1)


class Merging(nn.Module):
    """Neighbouring tokens side by side, reduced to twice the width, then normed."""

    def __init__(self, dim: int, eps: float, *, depth: bool) -> None:
        super().__init__()
        self.depth = depth
        self.reduction = nn.Linear((8 if depth else 4) * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d, h, w, E) to (B, d or d / 2, h / 2, w / 2, 2 E)."""
        return self.norm(self.reduction(merge_parts(x, depth=self.depth)))  # type: ignore[no-any-return]
