"""Every value as a line."""

import csv
import io

from tests.support.reports import loaded


def test_hostile_names_are_text_in_the_table_of_values(hostile):
    rows = list(csv.reader(io.StringIO((hostile[0] / "results.csv").read_text())))
    assert {len(row) for row in rows} == {12}
    assert not [cell for row in rows for cell in row if cell.startswith(tuple("=+-@\t"))]
    assert {"'=1+1", "'+2", "'@x"} <= {row[7] for row in rows}


def test_the_table_of_values_holds_every_value_once(made):
    run, out, _ = made
    rows = list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))
    expected = {
        (each["hash"], case["case"], region, metric): value
        for each in loaded(run)
        for case in each["result"]["cases"]
        for region, metrics in case["regions"].items()
        for metric, value in metrics.items()
        if value is not None
    }
    found = {(r["hash"], r["case"], r["region"], r["metric"]): float(r["value"]) for r in rows}
    assert found == expected
    assert len(rows) == len(expected)
    units = {"hd95_mm": "mm", "volume_mm3": "mm3", "reference_volume_mm3": "mm3"}
    assert {row["metric"] for row in rows} > units.keys()
    assert all(row["unit"] == units.get(row["metric"], "") for row in rows)
