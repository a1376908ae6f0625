"""Which backbones are one network: what is left of them where weights are drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

from inflate_zoo.architecture import BackboneConfig


def one_line(config: BackboneConfig) -> str:
    """A backbone in a few words."""
    patch = "x".join(map(str, (config.patch_depth, *config.patch_size)))
    return f"{config.depth} blocks of width {config.embed_dim}, patch {patch}"


def network_of(config: BackboneConfig) -> BackboneConfig:
    """A backbone without what weights alone bring, and what a segmenter does not use."""
    patch = (config.patch_depth, *config.patch_size)
    free = {"position_grid": (1, 1), "depth_positions": 0, "volume": patch}
    return config.model_copy(update={**free, "pool": "mean", "norm_eps": 1e-6})


def peculiar(config: BackboneConfig, all_of_them: Sequence[BackboneConfig]) -> list[str]:
    """What tells a network from the others, in words; nothing where it is the only one."""
    if len(all_of_them) == 1:
        return []
    line = one_line(config)
    alike = [other.model_dump() for other in all_of_them if one_line(other) == line]
    own = config.model_dump()
    differing = [name for name in own if any(own[name] != other[name] for other in alike)]
    return [line, *(f"{name}={own[name]}" for name in differing)]
