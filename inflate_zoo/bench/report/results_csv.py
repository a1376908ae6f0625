"""Every value as a line of text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from functools import cache

from inflate_zoo.bench.report.output.text import for_csv
from inflate_zoo.bench.report.results import Results

_UNIT = {"hd95_mm": "mm", "volume_mm3": "mm3", "reference_volume_mm3": "mm3"}
_COLUMNS = ("task", "protocol", "arm", "kind", "seed", "fold", "hash", "case", "region", "metric",
            "unit", "value")  # fmt: skip


def csv_lines(results: Results) -> Iterator[str]:
    """One line per trial, case, region and metric that has a value; some lines at a time."""
    yield _line(_COLUMNS) + "\n"
    for trial in results.trials:
        told = trial.described
        names = (told.task.name, told.protocol.name, told.arm.label, told.arm.kind)
        row = _line([*map(for_csv, names), told.seed, told.fold, for_csv(trial.hash)])
        for scores in trial.record.result.cases if trial.record else ():
            case = _cell(scores.case)
            for region, metrics in scores.regions.items():
                start = f"{row},{case},{_cell(region)},"
                yield "".join(
                    [
                        f"{start}{_METRICS[metric]}{value!r}\n"
                        for metric, value in metrics.items()
                        if value is not None
                    ]
                )


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


@cache  # there are millions of lines, and few names
def _cell(name: str) -> str:
    """A name as it stands between two commas."""
    return _line(["", for_csv(name)])[1:]


class _Metrics(dict[str, str]):
    """A metric and its unit, with what separates the value from them; made when asked for."""

    def __missing__(self, name: str) -> str:
        self[name] = f"{_cell(name)},{_UNIT.get(name, '')},"
        return self[name]


_METRICS = _Metrics()
