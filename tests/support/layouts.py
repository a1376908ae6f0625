"""What is found in a data set, and data sets with another dataset.json."""

import json

from inflate_zoo.bench.data.layouts import read_dataset
from tests.support.datasets import change_table, write_table


def told(dataset):
    return [f"{problem.case}: {problem.what}" for problem in dataset.problems]


def changed(decathlon, tmp_path, **changes):
    """The Decathlon data set with another dataset.json."""
    table = json.loads((decathlon / "dataset.json").read_text())
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).symlink_to(decathlon / name)
    write_table(tmp_path, table)
    return read_dataset(change_table(tmp_path, **changes))
