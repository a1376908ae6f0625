"""An export on its way: translated in memory, written into a folder, proved from there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from inflate_zoo.exporting.graphs import Graph, graph_of
from inflate_zoo.exporting.record import ExportProof, MonaiVit, Tensor
from inflate_zoo.exporting.sources import ExportSource


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What is exported, and how.

    Attributes:
        source: The network.
        batch: Volumes at a time; `None` for any number.
    """

    source: ExportSource
    batch: int | None

    @property
    def graph(self) -> Graph:
        """The network as a function."""
        return graph_of(self.source.network, self.batch)


class Export(ABC):
    """One export to one target. Making it translates the network, and refuses what cannot be.

    Args:
        job: What is exported.

    Attributes:
        modules: What is imported besides our own libraries.
        packages: Whose versions are recorded.
        volume: Voxels (depth, height, width) that the result takes.
        files: Names of what is written, the main one first.
        inputs: What the result takes; likewise `outputs`.
        opset: Of ONNX; `None` elsewhere.
        notes: What a user should know, one sentence each.
        monai_vit: How MONAI's ViT is built; `None` for other targets.

    Raises:
        UsageError: This network cannot be exported so; says why.
    """

    modules: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    files: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opset: int | None = None
    notes: tuple[str, ...] = ()
    monai_vit: MonaiVit | None = None

    def __init__(self, job: ExportJob) -> None:
        self.job = job
        self.volume = job.source.volume

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the files into a folder that is there.

        Raises:
            OSError: The system refuses to.
        """

    @abstractmethod
    def prove(self, folder: Path) -> ExportProof:
        """Run the written files on random inputs beside our own network.

        Raises:
            VerificationError: They are not valid, or do not give what our network gives.
        """
