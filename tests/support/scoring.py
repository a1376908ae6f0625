"""A predictor, a task and cases in memory, for tests of scoring."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from inflate_zoo.bench.data.cases import CachedCase
from inflate_zoo.bench.definitions.protocols import Evaluation
from inflate_zoo.bench.definitions.tasks import Intensity, Task
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.segmentation.segmenter import segmenter
from tests.segmentation.test_segmenter import backbone

TASK = Task(
    name="boxes", title="Boxes", modality="MRI", channels=("a", "b"),
    labels={"background": 0, "inner": 2, "rim": 7, "cyst": 9},
    regions={"inner": (2,), "all": (2, 7, 9), "cyst": (9,)},
    intensity=Intensity(rule="percentiles", low=0, high=100), spacing=(1, 1, 1),
)  # fmt: skip


WINDOW = (6, 4, 6)
own_deprecation = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


def predictor(overlap=0.5, batch=4, classes=4):
    torch.manual_seed(1)
    network = segmenter(backbone(), classes=classes, decoder="linear")
    torch.nn.init.normal_(network.decoder.head.weight)
    return SlidingWindowPredictor(
        network, WINDOW, Evaluation(overlap=overlap, batch=batch), torch.device("cpu"), nullcontext
    )


def volume(*shape, seed=0):
    return np.random.default_rng(seed).random((2, *shape)).astype(np.float16)


def case_of(seed, shape=(9, 7, 13), classes=4, name=None, original=None):
    label = np.random.default_rng(seed).integers(0, classes, shape).astype(np.uint8)
    reference = label
    if original is not None:
        reference = np.random.default_rng(seed).integers(0, classes, original).astype(np.uint8)
    return CachedCase(
        name=name or f"case_{seed}",
        key=str(seed),
        image=volume(*shape, seed=seed),
        label=label,
        reference=reference,
        spacing=(1.0, 2.0, 1.5),
        foreground=np.empty((0, 4), np.int32),
    )
