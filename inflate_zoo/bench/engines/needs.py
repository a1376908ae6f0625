"""What trials need of main memory on a CPU: estimated, until one of their kind has been measured.

Estimates are rather too many than too few: a trial that memory does not hold is lost time, one that
waits for its turn is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from math import prod
from pathlib import Path

from inflate_zoo.bench.data.cases import open_case
from inflate_zoo.bench.definitions.protocols import Protocol, Voxels
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.definitions.trials import TrialSpec, window_of
from inflate_zoo.errors import UsageError
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.texts import size

_BARE_BYTES = 1 << 30  # a process that has imported everything, and the volumes it reads
_TRAINED = 16  # bytes of a parameter: itself, its gradient and two moments
_MAPS = 24  # maps of the window's size and the decoder's width that training keeps, in float32
_LOGITS = 8  # the same of one value for each class
_CLASSES = 4  # where the task is not known yet
_SCORED = 80  # bytes of a voxel of the file's grid: distances between surfaces
_SPREAD = 1.1  # of one kind of trial, some take that much more than the first one took


class Needs:
    """Which trials memory holds beside each other.

    Args:
        trials: Those that are to run.
        budget: Bytes that they may take together.
        most: Trials at a time that the cores are for.
    """

    def __init__(self, trials: Sequence[TrialFolder], budget: int, most: int) -> None:
        self._budget, self._most = budget, most
        self._kinds = {trial.folder: _kind(trial.spec) for trial in trials}
        self._left = Counter(self._kinds.values())
        first = {self._kinds[trial.folder]: trial for trial in reversed(trials)}
        self._bytes = {kind: trial_bound(trial) for kind, trial in first.items()}
        self._measured: set[str] = set()
        self.at_once = self._fitting()

    def fits(self, trial: TrialFolder, running: Collection[Path]) -> bool:
        """Whether a trial may start beside those that run; alone it always may."""
        return not running or sum(map(self._of, (*running, trial.folder))) <= self._budget

    def ended(self, trial: TrialFolder) -> str:
        """Learn from a trial that is over, also from one that was over before.

        Returns:
            What is to be said of it: another number of trials runs at a time from now on; or "".
        """
        kind, before = self._kinds.pop(trial.folder, None), self.at_once
        if kind is not None:
            self._left[kind] -= 1
        kind = kind or _kind(trial.spec)
        if kind in self._bytes.keys() - self._measured and (peak := _peak(trial)) is not None:
            self._measured.add(kind)
            self._bytes[kind] = int(peak * _SPREAD)
        self.at_once = self._fitting()
        if self.at_once == before or not self._left.total():
            return ""
        return f"trials take up to {size(self._largest())} of memory: {self.at_once} at a time"

    def _of(self, folder: Path) -> int:
        """Bytes of a trial; nothing of one that is over already."""
        kind = self._kinds.get(folder)
        return 0 if kind is None else self._bytes[kind]

    def _largest(self) -> int:
        return max((self._bytes[kind] for kind, left in self._left.items() if left), default=1)

    def _fitting(self) -> int:
        """How many of the largest that are left run at a time."""
        return max(1, min(self._most, self._budget // self._largest()))


def _kind(spec: TrialSpec) -> str:
    """Trials of one kind need the same; folds differ in the volumes that they score."""
    return f"{spec.task.name} {spec.fold} {spec.arm.kind} {spec.arm.config.model_dump_json()}"


def _peak(trial: TrialFolder) -> int | None:
    """Bytes that a trial took on a CPU; `None` where it has not ended, or nobody could tell."""
    try:
        run = trial.believed().run
    except UsageError:
        return None
    return int(run.peak_memory_bytes) if run.peak_memory_bytes and run.device == "cpu" else None


def memory_bound(
    configs: Iterable[BackboneConfig], protocol: Protocol, task: Task | None = None
) -> int:
    """Bytes of a trial, before data are read.

    Args:
        configs: The backbones that are compared; their patches count as deep as they are high,
            unless the protocol says.
        protocol: How trials run.
        task: If it is known.
    """
    depth, height, width = protocol.network.window
    if protocol.data.whole_slices:
        height = width = task.slice_size if task else height
    window = (height if depth == "spacing" else depth, height, width)
    classes = len(task.values) if task else _CLASSES
    return max((_trained(c, window, 1, classes, protocol) for c in configs), default=_BARE_BYTES)


def trial_bound(trial: TrialFolder) -> int:
    """Bytes of a planned trial.

    Raises:
        UsageError: It is no trial, or its data are gone from the cache.
    """
    spec = trial.spec
    depth, height, width = window_of(spec)
    classes = len(spec.task.values)
    flat = spec.arm.kind == "2d"
    window, copies = ((1, height, width), depth) if flat else ((depth, height, width), 1)
    training = _trained(spec.arm.config, window, copies, classes, spec.protocol)
    return training + _scoring(spec, Path(trial.place.cache), classes)


def _trained(
    config: BackboneConfig, window: Voxels, copies: int, classes: int, protocol: Protocol
) -> int:
    """Bytes while a network trains.

    Args:
        config: Of the backbone.
        window: That the backbone sees.
        copies: How many of them a window of the protocol is.
        classes: Of the task.
        protocol: How it trains.
    """
    settings, train = protocol.network, protocol.train
    steps = config.levels[-1].stride
    tokens = prod(-(-extent // step) for extent, step in zip(window, steps, strict=True))
    widest, kept = config.memory(tokens + config.num_prefix_tokens)
    parameters = sum(prod(shape) for shape in config.shapes().values())
    voxels = prod(window) * copies
    maps = voxels * 4 * (settings.features * _MAPS * (settings.decoder != "linear"))
    logits = voxels * 4 * classes * _LOGITS
    if settings.freeze:  # one window at a time, and nothing kept of it
        return _BARE_BYTES + parameters * 4 + widest * copies + logits * train.dice_group
    whole = ((kept + widest) * copies + maps + logits) * train.dice_group
    return _BARE_BYTES + parameters * _TRAINED + whole


def _scoring(spec: TrialSpec, cache: Path, classes: int) -> int:
    """Bytes while the largest case is scored."""
    names = (*spec.cases.test, *spec.cases.validation)
    sizes = [_voxels(cache, spec.entries[name]) for name in names]
    return max((2 * classes * seen * 4 + _SCORED * own for seen, own in sizes), default=0)


@lru_cache(maxsize=1024)
def _voxels(cache: Path, key: str) -> tuple[int, int]:
    """Of a case, on the grid that networks see and on the file's own."""
    case = open_case(cache, key)
    return prod(case.image.shape[1:]), prod(case.reference.shape)
