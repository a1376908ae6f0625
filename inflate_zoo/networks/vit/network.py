"""The plain vision transformer on volumes.

Dimensions: B batch, C channels, D H W voxels, P prefix tokens, E embed_dim.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inflate_zoo.networks.attention import Attention
from inflate_zoo.networks.network import Network3D
from inflate_zoo.networks.parts import LayerScale, Mlp, PatchEmbed
from inflate_zoo.networks.vit.config import VitConfig

_BLOCK = re.compile(r"blocks\.(\d+)\.")


class VisionTransformer(Network3D):
    """A plain vision transformer on volumes of one size.

    Args:
        config: The architecture; `config.volume` and `config.position_grid` must agree (a position
            table is resized before it comes here).

    Attributes:
        config: As given.
    """

    config: VitConfig
    tables = frozenset({"cls_token", "dist_token", "reg_token", "pos_embed", "depth_embed"})

    def __init__(self, config: VitConfig) -> None:
        if config.position_grid != config.grid_size[1:]:
            raise ValueError(f"position grid {config.position_grid} for grid {config.grid_size}")
        super().__init__(config)
        dim, eps = config.embed_dim, config.norm_eps
        depth, height, width = self.grid_size

        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=config.stem_bias)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.cls_token else None
        self.dist_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.dist_token else None
        reg = config.reg_tokens
        self.reg_token = nn.Parameter(torch.zeros(1, reg, dim)) if reg else None
        rows = config.position_prefix + height * width
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, dim))
        self.depth_embed = nn.Parameter(torch.zeros(1, depth, dim))
        self.norm_pre = nn.LayerNorm(dim, eps=eps) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        final = config.final_norm
        self.norm = nn.LayerNorm(dim, eps=eps) if final == "tokens" else nn.Identity()
        self.fc_norm = nn.LayerNorm(dim, eps=eps) if final == "pooled" else nn.Identity()
        self.grad_checkpointing = False
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (self.cls_token, self.dist_token, self.reg_token, self.pos_embed):
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass: less memory, about a third more time."""
        self.grad_checkpointing = enable

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth while training, growing linearly from 0 to `rate` over the blocks.

        Args:
            rate: Probability, at least 0 and below 1, of dropping a branch of the last block.

        Raises:
            ValueError: `rate` is out of range.
        """
        if not 0 <= rate < 1:
            raise ValueError(f"drop path rate {rate} is not in [0, 1)")
        for index, block in enumerate(self._blocks()):
            block.drop_path = rate * index / max(1, len(self.blocks) - 1)

    @property
    def drop_shape(self) -> tuple[int, ...]:
        """Two branches of each block, where any is dropped."""
        rates = [block.drop_path for block in self._blocks()]
        return (len(rates), 2) if any(rates) else ()

    def fix_drops(self, draws: Tensor) -> None:
        """Decide what the next passes drop; draws of shape (blocks, 2 branches, B)."""
        for block, rows in zip(self._blocks(), draws, strict=True):
            block.drop_draws = rows

    def layer_of(self, name: str) -> int:
        """0 in the stem, tokens, tables and a norm before the blocks; the blocks; final norms."""
        if block := _BLOCK.match(name):
            return int(block.group(1)) + 1
        return len(self.blocks) + 1 if name.startswith(("norm.", "fc_norm.")) else 0

    def unread(self, *, maps: bool) -> Sequence[nn.Module]:
        """The pooled vector's norm, and that of the tokens where maps are read."""
        return (self.fc_norm, self.norm) if maps else (self.fc_norm,)

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _tokens(self, x: Tensor) -> Tensor:
        """The sequence that enters the first block, shape (B, P + depth * height * width, E)."""
        config = self.config
        if x.ndim != 5 or tuple(x.shape[1:]) != (config.in_channels, *config.volume):
            expected = ", ".join(map(str, ("batch", config.in_channels, *config.volume)))
            raise ValueError(
                f"expected a volume [{expected}], got {list(x.shape)}; load(..., volume=...) "
                "prepares the backbone for another size"
            )
        own = config.position_prefix
        patches = self.patch_embed(x)
        plane = self.pos_embed[:, own:]
        positions = (plane.unsqueeze(1) + self.depth_embed.unsqueeze(2)).flatten(1, 2)
        patches = patches + positions
        tokens = (self.cls_token, self.dist_token, self.reg_token)
        prefix: list[Tensor] = [token for token in tokens if token is not None]
        if not prefix:
            return self.norm_pre(patches)  # type: ignore[no-any-return]
        front = torch.cat(prefix, dim=1)
        if own:
            front = torch.cat([front[:, :own] + self.pos_embed[:, :own], front[:, own:]], dim=1)
        sequence = torch.cat([front.expand(x.shape[0], -1, -1).to(patches.dtype), patches], dim=1)
        return self.norm_pre(sequence)  # type: ignore[no-any-return]

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        arguments = (x, self.num_prefix_tokens, self.grid_size[0])
        if self.grad_checkpointing and self.training:
            return checkpoint(block, *arguments, use_reentrant=False)  # type: ignore[no-any-return]
        return block(*arguments)  # type: ignore[no-any-return]

    def forward_features(self, x: Tensor) -> Tensor:
        """All tokens, where the original's token sequence ends.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, prefix + tokens, embed_dim]: the prefix tokens, then the patch tokens in
            depth, height, width order; after the final norm where the original has one on tokens.

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for.
        """
        x = self._tokens(x)
        for block in self.blocks:
            x = self._run(block, x)
        return self.norm(x)  # type: ignore[no-any-return]

    def forward_intermediates(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Patch tokens after chosen blocks, un-normed, as feature maps for a decoder.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.
            indices: Block indices from 0; negative ones count from the last block.

        Returns:
            One tensor [batch, embed_dim, grid_depth, grid_height, grid_width] per index, in the
            order given.

        Raises:
            ValueError: An index is out of range, or the volume is of another size.
        """
        count = len(self.blocks)
        wrong = [index for index in indices if not -count <= index < count]
        if wrong:
            raise ValueError(f"block indices {wrong} are out of range for {count} blocks")
        wanted = [index % count for index in indices]
        x = self._tokens(x)
        maps: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            if index > max(wanted, default=-1):
                break
            x = self._run(block, x)
            if index in wanted:
                patches = x[:, self.num_prefix_tokens :]
                maps[index] = patches.mT.view(x.shape[0], self.embed_dim, *self.grid_size)
        return [maps[index] for index in wanted]

    def forward(self, x: Tensor) -> Tensor:
        """One vector per volume, pooled (and normed) as the original does.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, embed_dim].

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for.
        """
        x = self.forward_features(x)
        if self.config.pool == "cls":
            pooled = x[:, 0]
        elif self.config.pool == "cls_dist":
            pooled = x[:, :2].mean(dim=1)
        else:
            pooled = x[:, self.num_prefix_tokens :].mean(dim=1)
        return self.fc_norm(pooled)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        dim, eps = config.embed_dim, config.norm_eps
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, config.num_heads, qkv_bias=config.qkv_bias)
        self.ls1 = LayerScale(dim) if config.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, config.mlp_dim, config.activation, gated=config.mlp == "swiglu")
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
