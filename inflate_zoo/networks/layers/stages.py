"""Hierarchical transformers: stages of residual blocks, tokens merged between them.

Dimensions: B batch, d h w grid of tokens of a stage, E width.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor, nn

from inflate_zoo.networks.base import BackboneConfig, Triple
from inflate_zoo.networks.layers.features import Layout, laid_out, require_layout, taken
from inflate_zoo.networks.layers.grids import Clipping, Padding, Placement, place, stage_grids
from inflate_zoo.networks.layers.residual import ResidualBlock, ResidualNetwork
from inflate_zoo.networks.network import Maps, Matcher
from inflate_zoo.networks.staged import StagedConfig

_WITH_LAST = (99999,)  # timm's mark of what goes with the block before
_PLACE = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.|merges\.(\d+)\.")


class Stage(nn.Module):
    """Blocks on one grid."""

    def __init__(self, blocks: Sequence[ResidualBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def each(self) -> list[ResidualBlock]:
        """The blocks, in order."""
        return [block for block in self.blocks if isinstance(block, ResidualBlock)]


class WindowBlock(ResidualBlock):
    """A block whose attention is inside windows.

    Args:
        config: The network's.
        stage: Whose block it is.
        grid: D, H, W of the stage's tokens for the config's volume.
        shifted: Whether its windows lie half a window further on.
    """

    def __init__(self, config: StagedConfig, stage: int, grid: Triple, *, shifted: bool) -> None:
        super().__init__()
        self.window: Triple = (config.depth_window, *config.windows[stage])
        self.shifted = shifted
        self.clipping: Clipping = config.clipping
        self.padding: Padding = config.padding
        self.set_grid(grid)

    def set_grid(self, grid: Triple) -> None:
        """Know where windows lie on the grid that is usual from now on."""
        self.usual = self._placed(grid)

    def placement(self, grid: Triple) -> Placement:
        """Where windows lie on a grid."""
        return self.usual if grid == self.usual.grid else self._placed(grid)

    def _placed(self, grid: Triple) -> Placement:
        return place(
            grid,
            self.window,
            shifted=self.shifted,
            clipping=self.clipping,
            padding=self.padding,
        )


class StageMaps(ResidualNetwork):
    """A network whose levels are what its stages end with, and a norm of the last tokens.

    Whoever derives from it makes the norm, and says what enters the first stage, and what each ends
    with.
    """

    norm: nn.Module

    @abstractmethod
    def _entering(self, x: Tensor) -> Tensor:
        """The tokens of volumes that enter the first block, shape (B, d h w, E)."""

    @abstractmethod
    def _maps(self, x: Tensor, last: int) -> list[Tensor]:
        """What the stages up to `last` end with, each (B, d, h, w, E)."""

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's tokens, normed where the original norms them.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, depth * height * width, embed_dim], in depth, height, width order.

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for, or of another
                type than the weights.
        """
        last = self._maps(x, len(self.level_modules()) - 1)[-1]
        return self.norm(last.flatten(1, 3))  # type: ignore[no-any-return]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Layout = "NCHW",
        intermediates_only: bool = False,
        return_prefix_tokens: bool = False,  # noqa: ARG002 - there are none, as in some of timm's
    ) -> Maps | tuple[Tensor, Maps]:
        """Tokens after chosen stages, before they are merged, as timm's `SwinTransformer`'s.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.
            indices: Of stages: `None` for all, a number for so many of the last, or each; negative
                ones count from the last.
            norm: Norm the last stage's, whose width alone the norm has.
            stop_early: Run no stage more than the last map needs.
            output_fmt: `NCHW` for [batch, width, depth, height, width], `NLC` for [batch, tokens,
                width].
            intermediates_only: Leave the final tokens out.
            return_prefix_tokens: Changes nothing: there are none.

        Returns:
            The final tokens, normed (those of the last stage that was run, if it is no other), and
            a list of maps of the width and stride that `config.levels` states, each stage once,
            from the stem upwards; or the list alone.

        Raises:
            ValueError: An index is out of range, or the volume does not fit.
        """
        require_layout(output_fmt)
        count = len(self.level_modules())
        wanted = taken(indices, count, "stage")
        states = self._maps(x, max(wanted, default=-1) if stop_early else count - 1)
        tokens = [state.flatten(1, 3) for state in states]
        if len(tokens) == count:
            final = self.norm(tokens[-1])
        elif tokens:
            final = tokens[-1]
        else:
            final = self._entering(x)
        grids = stage_grids(self.config, self._grid_of(x))
        maps: Maps = [
            laid_out(final if norm and i == count - 1 else tokens[i], grids[i], output_fmt)
            for i in wanted
        ]
        return maps if intermediates_only else (final, maps)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The mean of the last tokens, classified.

        Args:
            x: As `forward_features` gives them.
            pre_logits: Leave the classifier out.

        Returns:
            Shape [batch, embed_dim], with a classifier [batch, num_classes]; tokens, where they are
            not pooled.
        """
        pooled = x.mean(dim=1) if self.global_pool else x
        return pooled if pre_logits else self.head(pooled)


class StagedNetwork(StageMaps):
    """A stem, `stages` with `merges` between them, and a norm of the last tokens.

    Whoever derives from it makes these. Blocks take tokens (B, d h w, E) and their grid;
    merges take a grid of them (B, d, h, w, E) to the next stage's.
    """

    norm_pre: nn.Module
    stages: nn.ModuleList
    merges: nn.ModuleList

    def _stages(self) -> list[Stage]:
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    def _blocks(self) -> list[ResidualBlock]:
        return [block for stage in self._stages() for block in stage.each()]

    def set_config(self, config: BackboneConfig) -> None:
        """Take volumes of the config's size."""
        super().set_config(config)
        grids = stage_grids(config, self.grid_size)
        for stage, grid in zip(self._stages(), grids, strict=False):  # fewer where some were pruned
            for block in stage.each():
                if isinstance(block, WindowBlock):
                    block.set_grid(grid)

    def _entering(self, x: Tensor) -> Tensor:
        return self.norm_pre(self.patch_embed(x))  # type: ignore[no-any-return]

    def _maps(self, x: Tensor, last: int) -> list[Tensor]:
        grids = stage_grids(self.config, self._grid_of(x))
        x = self._entering(x)
        maps: list[Tensor] = []
        for index, stage in enumerate(self._stages()[: last + 1]):
            if index:
                x = self.merges[index - 1](maps[-1]).flatten(1, 3)
            for block in stage.each():
                x = self._run(block, x, (grids[index],))
            maps.append(x.reshape(x.shape[0], *grids[index], x.shape[-1]))
        return maps

    def drop_levels(self, last: int) -> None:
        """Drop the stages after one, and with any of them the norm, which has another width."""
        if last + 1 < len(self.stages):
            self.norm = nn.Identity()
        self.stages, self.merges = self.stages[: last + 1], self.merges[:last]

    def level_modules(self) -> list[str]:
        """The stages."""
        return [f"stages.{index}" for index in range(len(self.stages))]

    def group_matcher(self, coarse: bool = False) -> Matcher:
        """As timm's `SwinTransformer` has it: merges go with the stage after them."""
        inner: tuple[int, ...] = () if coarse else (0,)
        merges: list[tuple[str, tuple[int, ...] | None]] = [
            (rf"^merges\.{index}\.", (index + 1, *inner)) for index in range(len(self.merges))
        ]
        blocks = r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.blocks\.(\d+)"
        named = [*merges, (blocks, None)]
        if not coarse:
            named.append((r"^norm\.", _WITH_LAST))
        return {"stem": r"^(?:patch_embed|norm_pre)\.", "blocks": named}

    @property
    def layers(self) -> int:
        """The blocks of all stages."""
        return len(self._blocks())

    def layer_of(self, name: str) -> int:
        """0 in the stem; the blocks of all stages, merges with the block after; the norm."""
        before = [0, *accumulate(len(stage.blocks) for stage in self._stages())]
        if place := _PLACE.match(name):
            stage, block, merge = place.groups()
            return before[int(merge) + 1] + 1 if merge else before[int(stage)] + int(block) + 1
        return before[-1] + 1 if name.startswith(("norm.", "head.")) else 0

    def unread(self, *, maps: bool) -> Sequence[nn.Module]:
        """The last norm, where maps are read."""
        return (self.norm,) if maps else ()


def merge_parts(x: Tensor, *, depth: bool) -> Tensor:
    """Tokens of 2 x 2 places, or 2 x 2 x 2, side by side in one.

    Args:
        x: Shape (B, d, h, w, E).
        depth: Whether depth halves too.

    Returns:
        Shape (B, d or d / 2, h / 2, w / 2, 4 E or 8 E): depth outermost, then width, then height,
        as Liu et al. 2021 order the plane.
    """
    batch, d, h, w, dim = x.shape
    deep = 2 if depth else 1
    parts = x.reshape(batch, d // deep, deep, h // 2, 2, w // 2, 2, dim)
    return parts.permute(0, 1, 3, 5, 2, 6, 4, 7).flatten(4)
