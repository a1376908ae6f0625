"""The parts of a plain vision transformer.

Dimensions: B batch, C channels, D H W voxels, L tokens, E embed_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.architecture import BackboneConfig
from inflate_zoo.nets.constants import made_once


def quick_gelu(x: Tensor) -> Tensor:
    """The activation of OpenAI's CLIP: x * sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU in its tanh approximation (Hendrycks and Gimpel 2016, section 2)."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "silu": F.silu,
}


# On a CPU the fused kernel in bfloat16 takes three times as long as plain products at 216 tokens
# (forward and backward; as long at 2744), and in float32 less: measured on an AMD EPYC, torch 2.15.
PLAIN_TOKENS = 2048
# On CUDA repeating keys takes 13 small kernels per block, which the flash kernel must make up for:
# in bfloat16, as graphs, it takes twice as long as a mask at 128 tokens, as long at 2,048 and 0.8
# times as long at 4,096 (measured on an H200, torch 2.11; eager a mask is always quicker).
MASKED_TOKENS = 2048


def attend(query: Tensor, key: Tensor, value: Tensor, prefix: int, copies: int) -> Tensor:
    """Attention in which each of the first `prefix` keys counts `copies` times.

    Equal slices give `copies` equal copies of every patch key; a softmax over them equals the 2D
    one if and only if the prefix keys are multiplied by the same number. Adding log(copies) to
    their logits does it; on CUDA a mask rules out the flash kernel, so where there are many tokens
    the keys are repeated.

    Args:
        query: Shape (B, heads, L, E / heads); likewise `key` and `value`.
        key: Keys, the prefix first.
        value: Values, the prefix first.
        prefix: Number of prefix tokens P.
        copies: Depth tokens of the volume.

    Returns:
        Shape (B, heads, L, E / heads).
    """
    if copies == 1:
        prefix = 0
    cpu_bfloat16 = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if cpu_bfloat16 and key.shape[2] <= PLAIN_TOKENS:
        return attend_plainly(query, key, value, prefix, copies)
    if prefix == 0:
        return F.scaled_dot_product_attention(query, key, value)
    if query.is_cuda and key.shape[2] > MASKED_TOKENS:
        return attend_repeated(query, key, value, prefix, copies)
    bias = prefix_bias(key.shape[2], prefix, copies, key.dtype, key.device)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


@made_once
def prefix_bias(
    length: int, prefix: int, copies: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """What is added to the logits of each key, shape (1, 1, 1, L): log(copies) for the prefix."""
    bias = torch.zeros(1, 1, 1, length, dtype=dtype, device=device)
    bias[..., :prefix] = math.log(copies)
    return bias


def attend_plainly(query: Tensor, key: Tensor, value: Tensor, prefix: int, copies: int) -> Tensor:
    """`attend` by two products and a softmax, with all logits in memory; same arguments."""
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    bias = prefix_bias(key.shape[2], prefix, copies, key.dtype, key.device)
    logits = torch.baddbmm(
        bias[0],
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=query.shape[-1] ** -0.5,
    )
    return torch.bmm(logits.softmax(dim=-1), value.flatten(0, 1)).view_as(query)


def attend_repeated(query: Tensor, key: Tensor, value: Tensor, prefix: int, copies: int) -> Tensor:
    """`attend` by repeating the prefix keys and values, without a mask; same arguments."""
    more = (1, 1, copies - 1, 1)
    key = torch.cat([key[:, :, :prefix].repeat(more), key], dim=2)
    value = torch.cat([value[:, :, :prefix].repeat(more), value], dim=2)
    return F.scaled_dot_product_attention(query, key, value)


class Attention(nn.Module):
    """Multi-head self-attention with one product for query, key and value."""

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, prefix: int, copies: int) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        batch, length, dim = x.shape
        packed = self.qkv(x).view(batch, length, 3, self.heads, dim // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attend(query, key, value, prefix, copies)
        mixed = mixed.transpose(1, 2).reshape(batch, length, dim)
        return self.proj(mixed)  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """fc1, activation, fc2; or SwiGLU with both halves packed in fc1, the gate first."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.gated = config.mlp == "swiglu"
        self.activation = ACTIVATIONS[config.activation]
        self.fc1 = nn.Linear(config.embed_dim, config.mlp_dim * (2 if self.gated else 1))
        self.fc2 = nn.Linear(config.mlp_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        x = self.fc1(x)
        if self.gated:
            gate, value = x.chunk(2, dim=-1)
            return self.fc2(self.activation(gate) * value)  # type: ignore[no-any-return]
        return self.fc2(self.activation(x))  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """One learned factor per channel (Touvron et al. 2021, section 3.1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        dim, eps = config.embed_dim, config.norm_eps
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, config.num_heads, qkv_bias=config.qkv_bias)
        self.ls1 = LayerScale(dim) if config.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(config)
        self.ls2 = LayerScale(dim) if config.layer_scale else nn.Identity()
        self.drop_path = 0.0
        # Uniform draws (2 branches, B) of whoever wants them reproducible; `None` draws anew.
        self.drop_draws: Tensor | None = None

    def _drop(self, branch: Tensor, which: int) -> Tensor:
        # Stochastic depth (Huang et al. 2016): whole samples of a branch, rescaled.
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        draws = self.drop_draws
        rows = torch.rand(len(branch), device=branch.device) if draws is None else draws[which]
        kept = (rows < keep).to(branch.device, branch.dtype)
        return branch * (kept.view(-1, 1, 1) / keep)

    def forward(self, x: Tensor, prefix: int, copies: int) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        x = x + self._drop(self.ls1(self.attn(self.norm1(x), prefix, copies)), 0)
        return x + self._drop(self.ls2(self.mlp(self.norm2(x))), 1)


class PatchEmbed(nn.Module):
    """The stem: one matrix product over the patches, equal to a convolution of the same stride."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.patch = (config.patch_depth, *config.patch_size)
        shape = (config.embed_dim, config.in_channels, *self.patch)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(config.embed_dim)) if config.stem_bias else None
        nn.init.trunc_normal_(self.weight.view(config.embed_dim, -1), std=0.02)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, D, H, W) to (B, tokens, E), tokens in depth, height, width order."""
        batch, channels = volume.shape[:2]
        depth, height, width = self.patch
        grid = [extent // step for extent, step in zip(volume.shape[2:], self.patch, strict=True)]
        patches = volume.reshape(
            batch, channels, grid[0], depth, grid[1], height, grid[2], width
        ).permute(0, 2, 4, 6, 1, 3, 5, 7)
        patches = patches.reshape(batch, grid[0] * grid[1] * grid[2], -1)
        return F.linear(patches, self.weight.flatten(1), self.bias)
