"""What one function does for all stands in one module: a second one would answer differently."""

from pathlib import Path

import pytest

import inflate_zoo

ONE_OF_EACH = {
    "unicode_escape": "errors.py",  # text of strangers made printable
    '"BF16"': "files/dtypes.py",
    "tomllib": "files/foreign.py",
    "yaml.load(": "files/foreign.py",
    "yaml.safe_dump(": "hub/cards.py",
    "os.umask(": "files/writing/whole_files.py",
    ".errors(include_": "texts.py",
    "resample_image(": "bench/data/preprocessing.py",
}
BESIDES = {
    "unicode_escape": {"bench/report/output/drawing.py"},  # what the font lacks
    ".errors(include_": {"bench/definitions/catalog.py"},  # one line for all forms of a union
    "resample_image(": {"bench/data/resampling.py"},
}


@pytest.mark.parametrize("sign", ONE_OF_EACH)
def test_there_is_one_of_each(sign):
    root = Path(inflate_zoo.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if sign in path.read_text(encoding="utf-8")
    }
    assert found - BESIDES.get(sign, set()) == {ONE_OF_EACH[sign]}
