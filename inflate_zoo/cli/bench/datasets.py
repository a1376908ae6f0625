"""Where the data set of a benchmark is, fetched if that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.errors import UsageError

if TYPE_CHECKING:
    from inflate_zoo.bench.definitions.tasks import Task
    from inflate_zoo.cli.bench.watching import Board


@dataclass(frozen=True, slots=True)
class DataPlace:
    """Where a data set is, or is to be fetched to.

    Attributes:
        folder: Where it is; where it is to be fetched, the folder that it goes into.
        fetched: The task whose data are to be fetched; `None` where nothing is.
    """

    folder: Path
    fetched: Task | None = None

    def found(self, shown: Board) -> Path:
        """Folder of the data set, fetched if that was asked for.

        Args:
            shown: Told what is fetched.

        Raises:
            WorkError: It could not be fetched.
        """
        from inflate_zoo.bench.data.fetching import fetch_dataset

        if self.fetched is None:
            return self.folder
        return fetch_dataset(self.fetched, self.folder, shown.say, shown.count)


def find_data(data: Path | None, dataset: str | None, *, download: bool) -> DataPlace:
    """Where the data set is; nothing is fetched yet.

    Args:
        data: The folder, or the one it is downloaded into.
        dataset: Task file or its name.
        download: Whether it may be fetched.

    Raises:
        UsageError: No data set was named, or it is not there and may not be fetched.
    """
    if data is not None and (not download or _holds_one(data)):
        return DataPlace(data)
    if dataset is None:
        raise UsageError(
            "no data set was named",
            hint="add --dataset, e.g. --dataset msd-task04"
            if download
            else "add --data DIR, a folder in the Decathlon or the nnU-Net raw layout",
        )
    from inflate_zoo.bench.data.fetching import data_root, fetched
    from inflate_zoo.bench.definitions.catalog import load_task
    from inflate_zoo.files.locations import data_folder

    task = load_task(dataset)
    if task.address.startswith("builtin/"):
        return DataPlace(data_folder(f"benchmarks/{task.address}"))
    root = data_root(data)
    if download:
        return DataPlace(root, task)
    if (there := fetched(task, root)) is not None:
        return DataPlace(there)
    raise UsageError(
        f"task '{task.name}' needs its data: {task.title}, {task.license}",
        hint=task.access
        or f"add --download to fetch it from {task.address}, or --data DIR if you have it unpacked",
    )


def _holds_one(folder: Path) -> bool:
    """Whether a folder is a data set already, in any layout that is read."""
    from inflate_zoo.bench.data.published import read_published

    if (folder / "dataset.json").exists():
        return True
    return folder.is_dir() and read_published(folder) is not None
