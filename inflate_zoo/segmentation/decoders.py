"""Decoders: from the feature maps of a backbone to one logit per voxel and class.

Dimensions: B batch, C channels, D H W voxels, d h w tokens, E embed_dim, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.errors import UsageError
from inflate_zoo.extras import install_hint
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.segmentation.norms import GroupNorm
from inflate_zoo.segmentation.resizing import resize
from inflate_zoo.segmentation.upernet import UpernetDecoder

GROUP = 8  # channels normalised together: more than one, so that a single position has a variance


def skip_blocks(depth: int) -> tuple[int, ...]:
    """The blocks after one, two, three and four quarters of `depth` blocks, as indices from 0."""
    return tuple(max(0, round(depth * quarter / 4) - 1) for quarter in (1, 2, 3, 4))


def level_size(grid: Sequence[int], patch: Sequence[int], level: int) -> tuple[int, ...]:
    """Positions (depth, height, width) of a level: the voxels at 0, halved four times at 4.

    No axis falls below the token grid, so a patch of one voxel keeps its size on all levels.

    Args:
        grid: Token grid (depth, height, width) of the map that the level reads.
        patch: Patch (depth, height, width) in voxels.
        level: 0 for voxels to 4 for tokens.
    """
    shrunk = [max(1, ceil(extent / 2**level)) if level < 4 else 1 for extent in patch]
    return tuple(tokens * parts for tokens, parts in zip(grid, shrunk, strict=True))


def normed(feature_map: Tensor) -> Tensor:
    """Every token with mean 0 and variance 1 over its channels; (B, E, d, h, w), same shape.

    Tokens of different sources differ in scale by orders of magnitude (some end in no norm, some
    norms are trained to large gains). Without one scale a learning rate would suit one source.
    """
    tokens = feature_map.movedim(1, -1)
    return F.layer_norm(tokens, tokens.shape[-1:]).movedim(-1, 1)


class LinearDecoder(nn.Module):
    """One linear layer on the final tokens, its logits interpolated to voxels.

    The linear segmentation of DINOv2 (Oquab et al. 2023, section 7.4), whose batch norm is the
    norm of every token here: that one depends on no other volume.

    Args:
        config: The backbone's.
        classes: K, with the background.
        features: Not used: there are no hidden channels.

    Attributes:
        blocks: `None`: it reads the tokens as `forward_features` ends.
    """

    blocks: tuple[int, ...] | None = None

    def __init__(self, config: BackboneConfig, classes: int, features: int) -> None:  # noqa: ARG002
        super().__init__()
        self.patch = config.levels[-1].stride
        self.head = nn.Linear(config.final_width, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, maps: Sequence[Tensor], x: Tensor | None) -> Tensor:  # noqa: ARG002
        """One (B, E, d, h, w) to (B, K, D, H, W); the volume `x` is not looked at."""
        logits = self.head(normed(maps[0]).movedim(1, -1)).movedim(-1, 1)
        return resize(logits, level_size(logits.shape[2:], self.patch, 0))


class UnetrDecoder(nn.Module):
    """3D convolutions from the token grid up to the voxels, with skips from four depths.

    UNETR (Hatamizadeh et al. 2022), with four changes. Maps are resized by interpolation, since
    transposed convolutions of stride 2 reach no patch such as 14. Channels are reduced at the
    token grid, where it costs least. Norms are over groups of channels: instance norm is
    undefined on a single position. The logits add a linear layer on the final tokens, from zero:
    tokens know where in the volume they are, which neighbouring classes that look alike differ by,
    and convolutions pass that on slowly.

    Args:
        config: The backbone's.
        classes: K, with the background.
        features: Channels at full resolution, a multiple of 8; level k has 2**k times as many.
        image_path: Whether the volume itself has convolutions, as UNETR's has; without, the decoder
            knows of the image what the backbone tells.

    Attributes:
        blocks: Blocks whose output is decoded.

    Raises:
        UsageError: MONAI is not installed.
    """

    def __init__(
        self, config: BackboneConfig, classes: int, features: int, image_path: bool = True
    ) -> None:
        super().__init__()
        block = _res_block()
        self.blocks: tuple[int, ...] | None = skip_blocks(len(config.levels))
        taps = [config.levels[index] for index in self.blocks]
        self.strides = [taps[index].stride for index in (2, 1, 0, 0)]  # of what level 3 to 0 reads
        dim, width = taps[3].width, [features * 2**level for level in range(4)]
        # From the tokens outwards: place i is level 3 - i.
        self.reduce_skip = nn.ModuleList(
            nn.Conv3d(tap.width, width[k], 1) for tap, k in zip(taps[2::-1], (3, 2, 1), strict=True)
        )
        below = [dim, width[3], width[2], width[1]]
        self.reduce_below = nn.ModuleList(
            nn.Conv3d(channels, width[k], 1)
            for channels, k in zip(below, (3, 2, 1, 0), strict=True)
        )
        joined = [2 * width[3], 2 * width[2], 2 * width[1], (1 + image_path) * width[0]]
        self.merge = nn.ModuleList(
            block(channels, width[k]) for channels, k in zip(joined, (3, 2, 1, 0), strict=True)
        )
        self.image = block(config.in_channels, width[0]) if image_path else None
        self.head = nn.Conv3d(width[0], classes, 1)
        self.shortcut = nn.Conv3d(dim, classes, 1, bias=False)
        nn.init.zeros_(self.shortcut.weight)

    def forward(self, maps: Sequence[Tensor], x: Tensor | None) -> Tensor:
        """Four (B, E, d, h, w) and the volume (B, C, D, H, W) to (B, K, D, H, W).

        Without image path the volume is not looked at.
        """
        grids = [maps[index].shape[2:] for index in (2, 1, 0, 0)]
        tokens = [normed(feature_map) for feature_map in maps]
        skips: list[Tensor | None] = [
            reduce(t) for reduce, t in zip(self.reduce_skip, tokens[2::-1], strict=True)
        ]
        skips.append(self._image_skip(x))
        feature_map = tokens[3]
        for level, grid, stride, reduce, skip, merge in zip(
            (3, 2, 1, 0), grids, self.strides, self.reduce_below, skips, self.merge, strict=True
        ):
            size = level_size(grid, stride, level)
            parts = [resize(part, size) for part in (reduce(feature_map), skip) if part is not None]
            feature_map = merge(torch.cat(parts, dim=1))
        logits: Tensor = self.head(feature_map)
        return logits + resize(self.shortcut(tokens[3]), logits.shape[2:])

    def _image_skip(self, x: Tensor | None) -> Tensor | None:
        """What the image's own convolutions see, at full resolution; `None` without them."""
        if self.image is None:
            return None
        if x is None:
            raise ValueError("the 'unetr' decoder reads the volume too: decode(maps, x)")
        seen: Tensor = self.image(x)
        return seen


Decoder = LinearDecoder | UnetrDecoder | UpernetDecoder
DECODERS: dict[str, type[Decoder]] = {
    "linear": LinearDecoder,
    "unetr": UnetrDecoder,
    "upernet": UpernetDecoder,
}


def _res_block() -> Callable[[int, int], nn.Module]:
    """MONAI's residual block as a function of its input and output channels."""
    try:
        from monai.networks.blocks.dynunet_block import UnetResBlock
    except ImportError as error:
        raise UsageError(
            f"the 'unetr' decoder needs MONAI, which cannot be imported: {error}",
            hint=install_hint(["monai"]),
        ) from error

    def block(inner: int, outer: int) -> nn.Module:
        norm = ("group", {"num_groups": outer // GROUP})
        made: nn.Module = UnetResBlock(3, inner, outer, kernel_size=3, stride=1, norm_name=norm)
        for name, part in list(made.named_children()):
            if isinstance(part, nn.GroupNorm):
                setattr(made, name, GroupNorm(part.num_groups, part.num_channels))
        return made

    return block
