"""Sources of the ranking: 2D checkpoints, and weights that are 3D already."""

from __future__ import annotations

import logging
from contextlib import suppress

from inflate_zoo.bench.arms.arm_sources import RANDOM
from inflate_zoo.conversion.sources import Source, find_source, refuse_mistyped
from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.files.reading import read_json
from inflate_zoo.hub.addresses import is_local, locate, parse_address
from inflate_zoo.networks.files import CONFIG, WEIGHTS, folder_of
from inflate_zoo.networks.known import CONFIGS, is_known
from inflate_zoo.registry.listing import find_card, matching
from inflate_zoo.registry.obtaining import kept

RECIPE = "conversion.json"
_LOG = logging.getLogger(__name__)


def find_any(source: str) -> Source:
    """What `convert` or `load` takes: zoo entries by their names too.

    Raises:
        UsageError: There is no such source, or it is of no use.
        HubError: The Hub could not be reached, or refused.
    """
    if "/" not in source and not is_local(source):
        with suppress(UnknownNameError):
            source = str(kept(find_card(source)[0], _LOG.warning))
    refuse_misspelt(source)
    try:
        return find_source(source)
    except ConfigError:
        if (found := _converted(source)) is None:
            raise
        return found


def refuse_misspelt(source: str) -> None:
    """Refuse a name that is plainly another's, without asking the Hub.

    Raises:
        UsageError: Says what was meant.
    """
    if not is_local(source) and source != RANDOM:
        names = [entry.name for entry in matching("")]
        if source not in names:
            refuse_mistyped(source, (RANDOM, *names))


def _converted(source: str) -> Source | None:
    with suppress(UsageError):
        if is_local(source):
            folder = folder_of(source, *CONFIGS.values())
            origin: tuple[str | None, str | None, str | None] = (None, None, None)
            name, inside = folder.resolve().name, ""
        else:
            place = locate(parse_address(source))
            snapshot, inside = place.snapshot, place.inside
            address = "/".join(filter(None, (snapshot.repo, inside)))
            folder = folder_of(place.address, *CONFIGS.values())
            place.fetch([RECIPE] if RECIPE in place.files else [])
            origin = (snapshot.repo, snapshot.revision, snapshot.commit)
            name = address.split("/")[-1]
        config = read_json(folder / CONFIG)
        if not is_known(config.get("model_type")):
            return None
        return Source(name, *origin, folder, folder / WEIGHTS, config, None, inside=inside)
    return None
