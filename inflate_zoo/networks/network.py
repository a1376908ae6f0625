"""What every 3D backbone can do. It is called as timm's networks are, on volumes.

Dimensions: B batch, C channels, D H W voxels, P prefix tokens, E width of the final tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Self

from torch import Tensor, nn

from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.layers.features import taken

POOLS = ("own", "avg", "token", "")
Maps = list[Tensor] | list[tuple[Tensor, Tensor]]
Matcher = dict[str, str | list[tuple[str, tuple[int, ...] | None]]]


def counted(module: nn.Module) -> str:
    """How many parameters a module has, and how many of them are trained, where not all are."""
    total = sum(p.numel() for p in module.parameters())
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return f"parameters={total:,}" + (f" ({trained:,} trained)" if trained < total else "")


class Network3D(nn.Module, ABC):
    """A 3D backbone for volumes of one size, or of any.

    Attributes:
        config: What it was made of; its `volume` is the size it takes.
        embed_dim: Width of a final token; `num_features` and `head_hidden_size` as timm calls it.
        grid_size: Grid (depth, height, width) of the final tokens of that volume.
        num_prefix_tokens: Tokens before the patch tokens.
        tables: Names of parameters that are tokens or tables, or make tables, on which no weight
            decay falls.
        dynamic_img_size: Whether it takes volumes of any size that the patch divides: tables are
            then resized in each pass.
        num_classes: Of the classifier; 0 without one.
        global_pool: How `forward` pools tokens: `own` (as the original does), `avg` (the mean of
            the patch tokens), `token` (the first token) or an empty text (not at all).
        head: The classifier; without one, tokens or vectors pass it as they are.
        decoder_reads_maps: What the decoder reads that it was given to: `forward_intermediates`, or
            (`False`) `forward_features`; `None` without a decoder.
    """

    config: BackboneConfig
    tables: frozenset[str] = frozenset()
    decoder_reads_maps: bool | None = None
    _put_aside: tuple[str, ...] = ()  # parameters that were trained until its decoder came

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_dim = self.num_features = self.head_hidden_size = config.final_width
        self.grid_size = config.grid_size
        self.num_prefix_tokens = config.num_prefix_tokens
        self.dynamic_img_size = False
        self.num_classes = 0
        self.global_pool = "own"
        self.head: nn.Module = nn.Identity()

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """All tokens, where the original's token sequence ends.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, prefix + tokens, embed_dim]: the prefix tokens, then the patch tokens in
            depth, height, width order.

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for, or of another
                type than the weights.
        """

    @abstractmethod
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        *,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Literal["NCHW", "NLC"] = "NCHW",
        intermediates_only: bool = False,
    ) -> Maps | tuple[Tensor, Maps]:
        """Feature maps, as timm's networks give them, arguments in the order of timm's.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.
            indices: Of `config.levels`: `None` for all, a number for so many of the last, or each;
                negative ones count from the last.
            return_prefix_tokens: Give pairs of a map and its prefix tokens, where there are any.
            norm: Maps as the network ends: normed, where their width is that of the end.
            stop_early: Run no block more than the last map needs.
            output_fmt: `NCHW` for [batch, width, depth, height, width], `NLC` for [batch, tokens,
                width].
            intermediates_only: Leave the final tokens out.

        Returns:
            The final tokens, as `forward_features` ends (of the last block that was run), and a
            list of maps from the stem upwards, each index once; or the list alone.

        Raises:
            ValueError: An index is out of range, or the volume does not fit.
        """

    @abstractmethod
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool tokens and classify.

        Args:
            x: As `forward_features` gives them.
            pre_logits: Leave the classifier out.

        Returns:
            Shape [batch, embed_dim], with a classifier [batch, num_classes]; tokens, where they are
            not pooled.
        """

    def forward(self, x: Tensor) -> Tensor:
        """One vector per volume, pooled as the original does; with a classifier, its logits.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, embed_dim] or [batch, num_classes].

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for, or of another
                type than the weights.
        """
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The classifier; an identity without one."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier of random weights behind the pooling, or take it off.

        Our files have no place for one: `save_pretrained` wants it taken off.

        Args:
            num_classes: Its classes; 0 for none.
            global_pool: How tokens are pooled from now on: `own`, `avg`, `token` or an empty text,
                as the attribute says; `None` leaves it.

        Raises:
            ValueError: There is no such pooling, or no token to take.
        """
        if global_pool is not None:
            if global_pool not in POOLS:
                known = ", ".join(map(repr, POOLS))
                raise ValueError(f"global_pool {global_pool!r} is none of {known}")
            if global_pool == "token" and not self.num_prefix_tokens:
                raise ValueError("global_pool 'token' needs a prefix token, and there is none")
            self.global_pool = global_pool
        self.num_classes = num_classes
        like = self.get_parameter(self.config.stem)
        del self.head  # to stand last again
        self.head = (
            nn.Linear(self.embed_dim, num_classes, device=like.device, dtype=like.dtype)
            if num_classes
            else nn.Identity()
        )

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Of each level what timm tells: module, channels and reduction, the greatest stride.

        `stride` adds what differs by axis. Levels that were pruned are left out.
        """
        return [
            {
                "module": module,
                "num_chs": level.width,
                "reduction": max(level.stride),
                "stride": level.stride,
            }
            for module, level in zip(self.level_modules(), self.config.levels, strict=False)
        ]

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] | None = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Drop what maps of chosen levels do not need, as timm's networks do.

        What is left is for `forward_intermediates` alone, and no backbone that can be saved.

        Args:
            indices: As `forward_intermediates` takes them.
            prune_norm: Drop also what ends the tokens.
            prune_head: Drop also the classifier.

        Returns:
            Indices of the levels, from 0.

        Raises:
            ValueError: One is out of range.
        """
        wanted = taken(indices, len(self.level_modules()), "level")
        unread = self.unread(maps=True) if prune_norm else ()
        for name, part in list(self.named_children()):
            if part in unread:
                setattr(self, name, nn.Identity())
        self.drop_levels(wanted[-1])
        if prune_head:
            self.reset_classifier(0)
        return wanted

    def drop_levels(self, last: int) -> None:
        """Drop the modules after those of a level; none, unless overridden."""

    @abstractmethod
    def level_modules(self) -> list[str]:
        """Name of the module that each level is the output of."""

    def no_weight_decay(self) -> set[str]:
        """Names of parameters on which no weight decay falls whatever their shape: `tables`."""
        return set(self.tables)

    @abstractmethod
    def group_matcher(self, coarse: bool = False) -> Matcher:
        """Expressions that sort parameters from the stem upwards, as timm's optimizers take them.

        Args:
            coarse: By level, not by block.
        """

    def extra_repr(self) -> str:
        """Volume, stem and parameters."""
        channels, patch = self.config.in_channels, self.config.patch
        size = "any" if self.dynamic_img_size else self.config.volume
        return f"volume={size}, in_channels={channels}, patch={patch}, {counted(self)}"

    def set_config(self, config: BackboneConfig) -> None:
        """Take volumes of the config's size; its tables are those of `config` already."""
        self.config = config
        self.grid_size = config.grid_size

    @property
    def layers(self) -> int:
        """Blocks with a learning rate of their own, from the stem to the head: one a level."""
        return len(self.level_modules())

    @abstractmethod
    def layer_of(self, name: str) -> int:
        """Depth of a parameter, for layer-wise learning rates.

        Args:
            name: A parameter's name.

        Returns:
            0 in the stem, index + 1 in block `index` of `layers`, and one more after the last.
        """

    @abstractmethod
    def unread(self, *, maps: bool) -> Sequence[nn.Module]:
        """What a decoder does not read of the network.

        Args:
            maps: Whether it reads `forward_intermediates`, instead of `forward_features`.
        """

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all parameters be trained, or none; never those that its decoder does not read."""
        super().requires_grad_(requires_grad)
        self.freeze_unread()
        return self

    def serve_decoder(self, *, maps: bool) -> None:
        """Be read by a decoder from now on, and by none before it: what it does not read is frozen.

        What only the decoder before did not read is trained again, if it was before that one.

        Args:
            maps: Whether it reads `forward_intermediates`, instead of `forward_features`.
        """
        for name, parameter in self.named_parameters():
            if name in self._put_aside:
                parameter.requires_grad_(True)
        self.decoder_reads_maps = maps
        self.freeze_unread()

    def freeze_unread(self) -> None:
        """Freeze what the decoder does not read of the network, if it has one."""
        if self.decoder_reads_maps is None:
            return
        unread = self.unread(maps=self.decoder_reads_maps)
        own = {id(parameter) for part in unread for parameter in part.parameters()}
        aside = {n: p for n, p in self.named_parameters() if id(p) in own and p.requires_grad}
        for parameter in aside.values():
            parameter.requires_grad_(False)
        self._put_aside = tuple(aside)

    @abstractmethod
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass: less memory, about a third more time."""

    @abstractmethod
    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth while training, growing linearly from 0 to `rate` over the blocks.

        Args:
            rate: Probability, at least 0 and below 1, of dropping a branch of the last block.

        Raises:
            ValueError: `rate` is out of range.
        """

    @property
    @abstractmethod
    def drop_shape(self) -> tuple[int, ...]:
        """Shape of the draws that decide what a sample drops; empty where nothing is."""

    @abstractmethod
    def fix_drops(self, draws: Tensor) -> None:
        """Decide what the next forward passes drop.

        Args:
            draws: Uniform, shape (*drop_shape, B).
        """
