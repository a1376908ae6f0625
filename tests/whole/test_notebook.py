"""The notebook in benchmarks/examples: its cells in order, in one process, as Jupyter runs them."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.support.bench_command import run

NOTEBOOK = Path(__file__).parents[2] / "benchmarks" / "examples" / "convert_to_report.ipynb"
CONTENT = json.loads(NOTEBOOK.read_text("utf-8"))


def source(cell):
    return "".join(cell["source"])


def shell(line, names):
    """A line behind `!`, its `{name}` filled in."""
    words = shlex.split(line.removeprefix("!").format(**names))
    assert words[0] == "inflate-zoo"
    result = run(*words[1:], "--at-once", "1", "--device", "cpu")  # in this process
    assert result.exit_code == 0, result.output
    print(result.stdout, end="")


def execute(cell, names):
    code = source(cell)
    if code.startswith("!"):
        shell(code.replace("\\\n", " "), names)
    else:
        exec(compile(code, NOTEBOOK.name, "exec"), names)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each code cell prints."""
    import contextlib
    import io

    found, names = [], {}
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("notebook")
        patch.chdir(home)
        patch.setenv("TMPDIR", str(home))
        patch.setattr("tempfile.tempdir", None)
        patch.setenv("INFLATE_ZOO_CACHE", str(home / "of the user"))
        for cell in CONTENT["cells"]:
            if cell["cell_type"] == "code":
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    execute(cell, names)
                found.append(out.getvalue())
        assert [path for path in home.iterdir() if path != names["work"]] == []
    return found


def test_it_is_a_notebook_without_outputs():
    assert (CONTENT["nbformat"], CONTENT["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in CONTENT["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", each) for each in ids)
    for cell in CONTENT["cells"]:
        fields = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            fields |= {"execution_count", "outputs"}
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
        assert set(cell) == fields
        assert all(line.endswith("\n") for line in cell["source"][:-1])


def test_its_cells_run_from_convert_to_report(printed):
    _, converted, loaded, ranked, asked, standings, segmented = printed
    error = float(re.fullmatch(r"error (\S+)\n", converted)[1])
    assert 0 < error < 1e-4
    assert "depth, tokens of a slice, width: (4, 64, 144)" in loaded
    assert float(loaded.split()[-1]) < 1e-4
    assert "hippocampus-mini, protocol quick" in ranked
    assert 'dataset = "hippocampus-mini"' in asked
    assert re.search(r"builtin-clip center +0\.\d{3}", standings)
    assert re.search(r"random +0\.\d{3}", standings)
    assert Path(standings.split()[-1]).name == "report.html"
    assert "classes and voxels (3, 24, 36, 24)" in segmented
