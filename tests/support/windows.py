"""Cases in memory, and what is to be changed of their windows."""

import numpy as np

from inflate_zoo.bench.data.cases import CachedCase
from inflate_zoo.bench.definitions.protocols import Augment
from inflate_zoo.bench.training.sampling import WindowRule

STILL = Augment(
    flip=0, turn=0, degrees=0, zoom=(1, 1), intensity=0, brightness=0, gamma=(1, 1), noise=0
)
ALL = Augment(
    flip=0.5, turn=0.7, degrees=25, zoom=(0.7, 1.4), intensity=0.7, brightness=0.3,
    gamma=(0.5, 2), noise=0.3,
)  # fmt: skip


def changed(**changes):
    return STILL.model_copy(update=changes)


def case_of(label, image=None, classes=None):
    """A case in memory; its image is the label unless given."""
    label = np.asarray(label, np.uint8)
    image = label[None] if image is None else image
    rows = [np.insert(np.argwhere(label == c), 0, c, axis=1) for c in range(1, label.max() + 1)]
    rows = [part for part in rows if classes is None or (len(part) and part[0, 0] in classes)]
    return CachedCase(
        name="case",
        key="0" * 64,
        image=np.asarray(image, np.float16),
        label=label,
        reference=label,
        spacing=(1.0, 1.0, 1.0),
        foreground=np.concatenate([np.empty((0, 4), int), *rows]).astype(np.int32),
    )


def random_case(seed=0, shape=(7, 19, 23), channels=2):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, shape)
    return case_of(label, rng.random((channels, *shape)))


def rule(size, foreground=0.0, augment=None):
    return WindowRule(size, foreground, augment)


def seeds(count):
    return range(1000, 1000 + count)
