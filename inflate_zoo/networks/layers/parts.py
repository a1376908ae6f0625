"""Parts that vision transformers are made of.

Dimensions: B batch, C channels, D H W voxels, L tokens, E embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn


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


class Mlp(nn.Module):
    """fc1, activation, fc2; or SwiGLU with both halves packed in fc1, the gate first."""

    def __init__(
        self, dim: int, hidden: int, activation: str, *, gated: bool, bias: bool = True
    ) -> None:
        super().__init__()
        self.gated = gated
        self.activation = ACTIVATIONS[activation]
        self.fc1 = nn.Linear(dim, hidden * (2 if gated else 1), bias=bias)
        self.fc2 = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        x = self.fc1(x)
        if self.gated:
            gate, value = x.chunk(2, dim=-1)
            return self.fc2(self.activation(gate) * value)  # type: ignore[no-any-return]
        return self.fc2(self.activation(x))  # type: ignore[no-any-return]


class GatedMlp(nn.Module):
    """fc1 times the activation of a gate of its own, then fc2."""

    def __init__(self, dim: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.gate = nn.Linear(dim, hidden)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        return self.fc2(self.activation(self.gate(x)) * self.fc1(x))  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """One learned factor per channel (Touvron et al. 2021, section 3.1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        return x * self.gamma


class PatchEmbed(nn.Module):
    """The stem: one matrix product over the patches, equal to a convolution of the same stride."""

    def __init__(self, channels: int, dim: int, patch: tuple[int, int, int], *, bias: bool) -> None:
        super().__init__()
        self.patch = patch
        self.weight = nn.Parameter(torch.empty(dim, channels, *patch))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        nn.init.trunc_normal_(self.weight.view(dim, -1), std=0.02)

    def extra_repr(self) -> str:
        """Channels, width, patch, and whether there is a bias."""
        dim, channels = self.weight.shape[:2]
        bias = self.bias is not None
        return f"in_channels={channels}, embed_dim={dim}, patch={self.patch}, bias={bias}"

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, D, H, W) to (B, tokens, E), tokens in depth, height, width order."""
        batch, channels = volume.shape[:2]
        depth, height, width = self.patch
        grid = [extent // step for extent, step in zip(volume.shape[2:], self.patch, strict=True)]
        patches = volume.reshape(
            batch, channels, grid[0], depth, grid[1], height, grid[2], width
        ).permute(0, 2, 4, 6, 1, 3, 5, 7)
        kernel = self.weight.flatten(1)
        patches = patches.reshape(batch, grid[0] * grid[1] * grid[2], kernel.shape[1])
        return F.linear(patches, kernel, self.bias)


def initialise(network: nn.Module, *tokens: Tensor | None) -> None:
    """Random weights of a network that is trained from scratch; biases are zero.

    Args:
        network: Its linear layers are filled.
        tokens: Its tokens and tables that are filled likewise, where there are any.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for token in tokens:
        if token is not None:
            nn.init.trunc_normal_(token, std=0.02)
