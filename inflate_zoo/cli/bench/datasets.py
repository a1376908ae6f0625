"""Where the data set of a benchmark is, fetched if that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.errors import UsageError

if TYPE_CHECKING:
    from inflate_zoo.cli.bench.watching import Board


def find_data(data: Path | None, dataset: str | None, shown: Board, *, download: bool) -> Path:
    """Folder of the data set.

    Args:
        data: The folder, or the one it is downloaded into.
        dataset: Task file or its name.
        shown: Told what is fetched.
        download: Whether it may be fetched.

    Raises:
        UsageError: No data set was named, or it is not there and may not be fetched.
        WorkError: It could not be fetched.
    """
    if data is not None and (not download or (data / "dataset.json").exists()):
        return data
    if dataset is None:
        raise UsageError(
            "no data set was named",
            hint="add --dataset, e.g. --dataset msd-task04"
            if download
            else "add --data DIR, a folder in the Decathlon or the nnU-Net raw layout",
        )
    from inflate_zoo.bench.data.fetching import data_root, fetch_dataset, fetched
    from inflate_zoo.bench.definitions.catalog import load_task
    from inflate_zoo.files.locations import data_folder

    task = load_task(dataset)
    if task.address.startswith("builtin/"):
        return data_folder(f"benchmarks/{task.address}")
    root = data_root(data)
    if download:
        return fetch_dataset(task, root, shown.say, shown.count)
    if (there := fetched(task, root)) is not None:
        return there
    raise UsageError(
        f"task '{task.name}' needs its data: {task.title}, {task.license}",
        hint=task.access
        or f"add --download to fetch it from {task.address}, or --data DIR if you have it unpacked",
    )
