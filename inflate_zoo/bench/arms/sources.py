"""Sources of the ranking: 2D checkpoints, and weights that are 3D already."""

from __future__ import annotations

import logging
from contextlib import suppress

from inflate_zoo.bench.arms.arm_sources import RANDOM
from inflate_zoo.conversion.sources import Source, find_source, refuse_mistyped
from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.files.reading import read_json
from inflate_zoo.hub.addresses import is_local
from inflate_zoo.networks.files import CONFIG, WEIGHTS
from inflate_zoo.networks.known import CONFIGS, is_known
from inflate_zoo.registry.finding import find_network
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
    """Weights that are 3D already; `None` where a source is no network of ours."""
    with suppress(UsageError):
        found = find_network(source, tuple(CONFIGS.values()), _LOG.warning, (RECIPE,))
        config = read_json(found.folder / CONFIG)
        if not is_known(config.get("model_type")):
            return None
        origin = (found.repo, found.revision, found.commit)
        weights = found.folder / WEIGHTS
        return Source(found.name, *origin, found.folder, weights, config, None, inside=found.inside)
    return None
