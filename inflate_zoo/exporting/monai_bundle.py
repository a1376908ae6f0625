"""Target monai-bundle: a trained trial as `python -m monai.bundle` runs it.

Weights are safetensors, which `inflate_zoo.load` reads. The pickled `model.pt` of MONAI's own
bundles is left out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.definitions.trials import window_of
from inflate_zoo.errors import UsageError
from inflate_zoo.exporting.bundle_files import (
    INFERENCE,
    METADATA,
    inference,
    license_text,
    metadata,
    readme,
)
from inflate_zoo.exporting.proving import proof_of
from inflate_zoo.exporting.record import ExportProof, Tensor, versions_of
from inflate_zoo.exporting.target import Export, ExportJob
from inflate_zoo.extras import version_of
from inflate_zoo.files.writing.contents import json_text, write_text
from inflate_zoo.networks.files import CONFIG, WEIGHTS

MODELS = "models"
README, LICENSE = "docs/README.md", "docs/license.txt"
_PLACES = ("batch", "channels", "depth", "height", "width")


class MonaiBundleExport(Export):
    """A bundle that segments as `predict` does."""

    modules = ("accelerate", "monai", "nibabel", "psutil", "scipy")
    packages = ("torch", "monai", "numpy", "nibabel", "scipy")

    def __init__(self, job: ExportJob) -> None:
        super().__init__(job)
        trial = job.source.trial
        if trial is None:
            raise UsageError(
                f"'{job.source.name}' is no trained trial: a bundle needs its task",
                hint="name a folder below <run>/trials, or use another target",
            )
        self._trial: TrialFolder = trial
        self._spec = trial.spec
        window = window_of(self._spec)
        own = (1, *window[1:]) if self._spec.arm.kind == "2d" else window
        if job.batch is not None or job.source.volume != own:
            raise UsageError(
                "a bundle segments in the trial's own windows: --volume and --batch do not belong "
                "to monai-bundle",
                hint="leave them out",
            )
        self.volume = window
        versions = versions_of(self.packages)
        result = trial.believed(moved=True).result
        self._texts = {
            METADATA: json_text(metadata(self._spec, result, versions)),
            INFERENCE: json_text(inference(self._spec)),
            README: readme(self._spec),
            LICENSE: license_text(self._spec),
        }
        self.files = (f"{MODELS}/{WEIGHTS}", f"{MODELS}/{CONFIG}", *self._texts)
        told = window if not self._spec.protocol.network.centre_slice else (1, *window[1:])
        channels, classes = len(self._spec.task.channels), len(self._spec.task.values)
        self.inputs = (Tensor(name="image", axes=_PLACES, shape=("batch", channels, *window)),)
        self.outputs = (Tensor(name="pred", axes=_PLACES, shape=("batch", classes, *told)),)
        self.notes = tuple(_notes(trial))

    def write(self, folder: Path) -> None:
        """Copy the weights, and write what describes them."""
        for name in self.files:
            (folder / name).parent.mkdir(exist_ok=True)
        for name in (WEIGHTS, CONFIG):
            shutil.copyfile(self._trial.folder / name, folder / MODELS / name)
        for name, text in self._texts.items():
            write_text(folder / name, text)

    def prove(self, folder: Path) -> ExportProof:
        """Segment a random image by the written configs and by `predict`, and compare both."""
        from inflate_zoo.exporting.bundle_proof import compare

        by = f"monai {version_of('monai')} bundle, {INFERENCE}"
        return proof_of({f"{by}: probabilities": compare(folder, self._trial)}, [by])


def _notes(trial: TrialFolder) -> Iterator[str]:
    yield "There is no model.pt: the weights are safetensors, which inflate_zoo.load reads."
    yield "Run it where inflate-zoo[bench], pytorch-ignite and fire are installed."
    if trial.spec.protocol.train.precision == "bf16":
        yield (
            "On a GPU 'predict' computes in bfloat16, as the trial was trained; the bundle in "
            "float32 everywhere."
        )
