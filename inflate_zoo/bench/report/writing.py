"""The report of a benchmark: a page, a Markdown text, drawings, a table of all values."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from inflate_zoo.bench.report import content, results_csv
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.output import drawing, markdown, page
from inflate_zoo.bench.report.results import Results, rank_trials
from inflate_zoo.errors import UsageError
from inflate_zoo.files.writing.whole_files import filling, replace_text, replacing


def write_report(folders: Sequence[Path], out: Path) -> Results:
    """Read the trials of run folders, rank them and write the report.

    `out` gets `report.html`, `report.md`, `results.csv` and `plots`; each file is whole or as it
    was before.

    Args:
        folders: Folders that `bench` wrote.
        out: Folder of the report.

    Returns:
        The ranking with its trials, for `table`.

    Raises:
        UsageError: A folder without trials, damaged or contradicting trials, no usable `out`.
        WriteError: Disk full, read-only folder, I/O error.
    """
    with _no_collection():
        return _write(folders, out)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of values in no cycle: Python would go through them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _write(folders: Sequence[Path], out: Path) -> Results:
    results = rank_trials(collect(folders))
    blocks, drawings = content.compose(results)

    def refused(reason: str) -> UsageError:
        return UsageError(
            f"'{out.name}' cannot hold the report: {reason}",
            hint="choose another folder with --out",
        )

    plots = out / "plots"
    with filling(plots, refused):
        pictures = {}
        with drawing.styled():
            for name, draw in drawings.items():
                pictures[name] = draw()
        for name, picture in pictures.items():
            replace_text(plots / f"{name}.svg", picture.svg)
            with replacing(plots / f"{name}.png") as temporary:
                temporary.write_bytes(picture.png)
        with replacing(out / "results.csv") as temporary, temporary.open("wb", 2**20) as file:
            file.writelines(line.encode("utf-8") for line in results_csv.csv_lines(results))
        replace_text(out / "report.md", markdown.render(content.TITLE, blocks, pictures))
        replace_text(out / "report.html", page.render(content.TITLE, blocks, pictures))
    return results
