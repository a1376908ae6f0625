"""Self-attention over tokens, on every device its fastest way."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.networks.layers.constants import made_once

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


def attend_biased(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention with something added to its logits.

    Args:
        query: Shape (B, heads, L, E / heads); likewise `key` and `value`.
        key: Keys.
        value: Values.
        bias: What is added, shape (1, heads or 1, L or 1, L), of any float type.

    Returns:
        Shape (B, heads, L, E / heads).
    """
    bias = bias.to(query.dtype)
    narrow = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if learns_unfused(bias) or (narrow and key.shape[2] <= PLAIN_TOKENS):
        return attend_by_products(query, key, value, bias, scale=query.shape[-1] ** -0.5)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def learns_unfused(bias: Tensor) -> bool:
    """Whether torch has no fused attention for a bias because it learns, as on a CPU.

    Torch's own products then look for rows of minus infinities, of which there are none here: in
    float32 that takes 1.1 to 1.5 times as long as plain ones, forward and backward (64 to 343
    tokens, measured on an AMD EPYC, torch 2.15).
    """
    return bias.device.type == "cpu" and bias.requires_grad


def attend_by_products(
    query: Tensor, key: Tensor, value: Tensor, *biases: Tensor, scale: float
) -> Tensor:
    """Attention by two products and a softmax, with all logits in memory.

    Args:
        query: Shape (..., L, E / heads); likewise `key` and `value`.
        key: Keys.
        value: Values.
        biases: What is added to the logits, each of a shape that fits (..., L, L).
        scale: Of the products.

    Returns:
        Shape (..., L, E / heads).
    """
    logits = torch.matmul(query * scale, key.mT)
    for bias in biases:
        logits.add_(bias)
    return torch.matmul(logits.softmax(dim=-1), value)


class Attention(nn.Module):
    """Multi-head self-attention with one product for query, key and value."""

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool, proj_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=proj_bias)

    def forward(self, x: Tensor, prefix: int, copies: int) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        query, key, value = heads_of(self.qkv(x), self.heads)
        return self.proj(joined(attend(query, key, value, prefix, copies)))  # type: ignore[no-any-return]


class BiasedAttention(nn.Module):
    """Multi-head self-attention whose logits take a bias; query and value have biases, key none."""

    def __init__(self, dim: int, heads: int, *, qv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qv_bias else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """(B, L, E) to (B, L, E); the bias as `attend_biased` takes it."""
        packed = with_qv_bias(x, self.qkv, self.q_bias, self.v_bias)
        query, key, value = heads_of(packed, self.heads)
        return self.proj(joined(attend_biased(query, key, value, bias)))  # type: ignore[no-any-return]


def with_qv_bias(x: Tensor, qkv: nn.Linear, q_bias: Tensor | None, v_bias: Tensor | None) -> Tensor:
    """Query, key and value side by side, (B, L, 3 E), of tokens (B, L, E); the key has no bias."""
    if q_bias is None or v_bias is None:
        return qkv(x)  # type: ignore[no-any-return]
    bias = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    if type(qkv) is nn.Linear:
        return F.linear(x, qkv.weight, bias)
    return qkv(x) + bias  # type: ignore[no-any-return]  # what stands for it does more, as LoRA


def heads_of(packed: Tensor, heads: int) -> tuple[Tensor, ...]:
    """(B, L, 3 E) to query, key and value, each (B, heads, L, E / heads)."""
    batch, length, width = packed.shape
    parts = packed.view(batch, length, 3, heads, width // 3 // heads)
    return parts.permute(2, 0, 3, 1, 4).unbind(0)


def joined(mixed: Tensor) -> Tensor:
    """(B, heads, L, E / heads) to (B, L, E)."""
    return mixed.transpose(1, 2).flatten(2)
