"""The tables of a file, beside those made of them for another volume.

A backbone that was loaded for another volume than its file's shows tables that were resized. As
long as nothing trained them, the file's own say all that is known, and more: they are what is
written again, and what is resized for a third volume. Once trained, what is shown counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from inflate_zoo.networks.base import BackboneConfig

COMPILED = "_orig_mod."  # in names below a part that torch.compile stands for


@dataclass(frozen=True)
class FileTables:
    """What a file has where something else is shown.

    Attributes:
        config: The file's.
        tables: Its tables that are shown at another size, by name.
    """

    config: BackboneConfig
    tables: Mapping[str, Tensor]

    def holds(self, tensors: Mapping[str, Tensor], shown: Mapping[str, Tensor]) -> bool:
        """Whether tensors are all that such a file has, its tables of their size there.

        Args:
            tensors: By name.
            shown: Those of the network. A grid of as many places has tables of the same shape:
                what has that of both is the file's where it is just that.
        """
        if not self.config.shapes().keys() <= tensors.keys():
            return False
        if any(tensors[name].shape != table.shape for name, table in self.tables.items()):
            return False
        alike = all(n in shown and shown[n].shape == t.shape for n, t in self.tables.items())
        return not alike or all(
            torch.equal(table.to(tensors[name]), tensors[name])
            for name, table in self.tables.items()
        )


def file_tables(
    config: BackboneConfig, tensors: Mapping[str, Tensor], fitted: Mapping[str, Tensor]
) -> FileTables | None:
    """What has to be kept of a file, whose tensors `config.fit` made others of."""
    tables = {name: t for name, t in tensors.items() if fitted[name] is not t}
    return FileTables(config, tables) if tables else None


def without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names that they have where no part is compiled."""
    return {name.replace(COMPILED, ""): tensor for name, tensor in tensors.items()}


def as_in_file(
    config: BackboneConfig, tensors: Mapping[str, Tensor], kept: FileTables | None
) -> tuple[BackboneConfig, dict[str, Tensor]]:
    """Config and tensors of a network as files hold them.

    Args:
        config: The network's.
        tensors: The network's, tables as they are shown; named as if no part was compiled.
        kept: What its file has; `None` where it is shown.

    Returns:
        Those of the file where all its tables are as they were made of it; else the network's own.
        The volume is that of the network.
    """
    if kept is None or _trained(config, tensors, kept):
        return config.stored(tensors)
    theirs = {name: table.to(tensors[name]) for name, table in kept.tables.items()}
    return kept.config.with_volume(config.volume).stored({**tensors, **theirs})


def _trained(config: BackboneConfig, tensors: Mapping[str, Tensor], kept: FileTables) -> bool:
    """Whether tables are not what is made of the file's; those that were pruned count as such."""
    if not kept.tables.keys() <= tensors.keys():
        return True
    # What adapters have renamed, or what was pruned: no table, so that its values do not matter.
    absent = {n: torch.empty(s, device="meta") for n, s in kept.config.shapes().items()}
    shown = kept.config.fit(
        {n: kept.tables.get(n, tensors.get(n, t)) for n, t in absent.items()}, config
    )
    return not all(torch.equal(shown[n].to(tensors[n]), tensors[n]) for n in kept.tables)
