"""The report of a benchmark: a page, a Markdown text, drawings, all values, the ranking as JSON."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from inflate_zoo.bench.report import content, results_csv, results_json
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.output import drawing, markdown, page
from inflate_zoo.bench.report.results import Results, rank_trials
from inflate_zoo.errors import UsageError
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.files.writing.whole_files import filling, replace_text, replacing


def write_report(folders: Sequence[Path], out: Path) -> Results:
    """Read the trials of run folders, rank them and write the report.

    `out` gets `report.html`, `report.md`, `results.csv`, `results.json` and `plots`; each file is
    whole or as it was before.

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
    places = places_from(out, results)
    composed = content.compose(results, places)

    def refused(reason: str) -> UsageError:
        return UsageError(
            f"'{out.name}' cannot hold the report: {reason}",
            hint="choose another folder with --out",
        )

    plots = out / "plots"
    with filling(plots, refused):
        pictures = {}
        with drawing.styled():
            for name, draw in composed.drawings.items():
                pictures[name] = draw()
        for name, picture in pictures.items():
            replace_text(plots / f"{name}.svg", picture.svg)
            with replacing(plots / f"{name}.png") as temporary:
                temporary.write_bytes(picture.png)
        with replacing(out / "results.csv") as temporary, temporary.open("wb", 2**20) as file:
            file.writelines(line.encode("utf-8") for line in results_csv.csv_lines(results))
        told = results_json.report_form(results, composed.title, places)
        replace_text(out / "results.json", form_text(told))
        text = markdown.render(composed.title, composed.blocks, pictures)
        replace_text(out / "report.md", text)
        replace_text(out / "report.html", page.render(composed.title, composed.blocks, pictures))
    return results


def places_from(out: Path, results: Results) -> dict[str, str]:
    """Hash of each trial to its folder, seen from the report's, with `/` between its parts."""
    base = Path(os.path.realpath(out))
    above = {trial.folder.parent: "" for trial in results.trials}
    above = {
        folder: Path(os.path.relpath(os.path.realpath(folder), base)).as_posix() for folder in above
    }
    return {trial.hash: f"{above[trial.folder.parent]}/{trial.folder.name}"
            for trial in results.trials}  # fmt: skip
