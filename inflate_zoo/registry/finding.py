"""A network of ours where a user names it: a folder, a Hub repo, or an entry of the zoo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.hub.addresses import is_local, locate, parse_address
from inflate_zoo.networks.base import NetworkConfig
from inflate_zoo.networks.files import folder_of
from inflate_zoo.registry.listing import find_card
from inflate_zoo.registry.obtaining import kept


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A folder with a network, and where on the Hub it is from.

    Attributes:
        name: What to call it: no path.
        folder: Where its files are.
        repo: Hub repo; `None` for a folder or an entry of the zoo.
        revision: As it was asked for.
        commit: That the files are of.
        inside: Its folder in the repo; empty for the repo itself.
    """

    name: str
    folder: Path
    repo: str | None = None
    revision: str | None = None
    commit: str | None = None
    inside: str = ""


def find_network(
    source: str,
    kinds: Sequence[type[NetworkConfig]],
    say: Callable[[str], None],
    beside: Sequence[str] = (),
) -> FoundNetwork:
    """Find a network; fetch it, or make it, where it is not here.

    Args:
        source: A folder, a Hub repo or a folder in one, or the name of a zoo entry.
        kinds: What its config may be.
        say: Told whether a zoo entry's weights are fetched or made, and why.
        beside: Files that are fetched too where a repo has them, of the same commit.

    Raises:
        UnknownNameError: No such folder, and no such zoo entry.
        UsageError: It is no folder of a network.
        ConfigError: The repo's config is not that of such a network.
        WorkError: It could not be fetched or made.
    """
    if is_local(source):
        folder = folder_of(source, *kinds)
        return FoundNetwork(folder.resolve().name, folder)
    if "/" not in source:
        entry = find_card(source)[0]
        return FoundNetwork(entry.name, kept(entry, say))
    place = locate(parse_address(source))
    folder = folder_of(place.address, *kinds)
    place.fetch([name for name in beside if name in place.files])
    snapshot, inside = place.snapshot, place.start.rstrip("/")
    name = (inside or snapshot.repo).rpartition("/")[2]
    return FoundNetwork(name, folder, snapshot.repo, snapshot.revision, snapshot.commit, inside)
