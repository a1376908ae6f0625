"""A run as a file: read, written, repeated."""

import json
import tomllib
from pathlib import Path

import pytest
import typer

from inflate_zoo.bench.engines.flags import HereFlags, SlurmFlags
from inflate_zoo.cli.app import app
from inflate_zoo.cli.bench import run as command
from inflate_zoo.cli.bench.options import On
from inflate_zoo.cli.bench.run_file import write_run_file
from tests.support.bench_command import FEW, run
from tests.support.trials import TINY

SMALL = [*TINY, *FEW]


@pytest.fixture
def seen(monkeypatch):
    """What the command would run, in place of running it."""
    found = []

    def bench(asked, side, shape, words, fields, *, until):
        found.append((asked, side, words, fields, until))

    monkeypatch.setattr(command, "_bench", bench)
    return found


def write(folder, text, name="my.toml"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


FILE = """
data = "sets/one"
source = ["vit:2d", "builtin/dino", "org/name", "./gone", "random"]
scheme = ["average"]
mean = [0.5, 0.4, 0.3]
std = 0.25
set = ["train.steps=3"]
protocol = "mine.toml"
seeds = 2
folds = [0, 3]
at-once = 1
on = "here"
compile = true
download = false
tracker = []
out = "../out"
"""


def test_a_file_says_what_flags_say_with_paths_from_its_folder(tmp_path, monkeypatch, seen):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project" / "vit").mkdir(parents=True)
    (tmp_path / "org" / "name").mkdir(parents=True)  # beside the command, not beside the file
    write(tmp_path / "project", FILE)
    result = run("bench", "--config", "project/my.toml")
    assert result.exit_code == 0, result.output
    ((asked, side, *_),) = seen
    assert asked.data == Path("project/sets/one")
    near = ["./project/vit:2d", "./project/gone"]
    assert asked.sources == [near[0], "builtin/dino", "org/name", near[1], "random"]
    assert (asked.schemes, asked.changes, asked.seeds, asked.folds) == (
        ["average"], ["train.steps=3"], 2, "0,3",
    )  # fmt: skip
    assert (asked.mean, asked.std) == ((0.5, 0.4, 0.3), (0.25,))
    assert (asked.protocol, asked.out) == ("./project/mine.toml", Path("./out"))
    assert side.on is On.here
    assert (side.here.at_once, side.resources.compiled, asked.download) == (1, True, False)


def test_what_is_typed_goes_first(tmp_path, seen):
    path = write(tmp_path, 'seeds = 2\nsource = ["random"]\nfolds = "all"\n')
    run("bench", "--config", path, "--seeds", "7", "--source", "builtin/mae")
    ((asked, *_),) = seen
    assert (asked.seeds, asked.sources, asked.folds) == (7, ["builtin/mae"], "all")


def test_what_is_typed_takes_the_place_of_what_cannot_stand_beside_it(tmp_path, seen):
    """Every run.toml without sources has a suite: of it no other source could be compared."""
    cluster = 'suite = "builtin"\non = "slurm"\njobs = 3\ntime = "1:00"\nsetup = "module load x"\n'
    path = write(tmp_path, cluster)
    result = run("bench", "--config", path, "--source", "random", "--on", "here", "--dry-run")
    assert result.exit_code == 0, result.output
    ((asked, side, words, fields, until),) = seen
    assert (asked.sources, asked.suite, until) == (["random"], None, "estimate")
    assert (side.on, side.slurm) == (On.here, SlurmFlags())
    assert not {"suite", "jobs", "time", "setup"} & {*fields}
    assert "--jobs" not in words
    run("bench", "--config", path, "--on", "slurm", "--jobs", "5")
    assert (seen[-1][1].slurm.jobs, seen[-1][1].slurm.time) == (5, "1:00")
    path = write(tmp_path, 'source = ["random"]\nat-once = 2\n', "other.toml")
    run("bench", "--config", path, "--suite", "builtin", "--on", "ray")
    assert (seen[-1][0].sources, seen[-1][0].suite) == ((), "builtin")
    assert seen[-1][1].here == HereFlags()


def test_the_command_that_is_recorded_says_what_the_file_says(tmp_path, monkeypatch, seen):
    path = write(tmp_path, 'seeds = 2\nfolds = [0, 1]\nsource = ["random", "builtin/mae"]\n')
    words = ["x", "bench", "--config", str(path), "--seeds", "7", "--plan"]
    monkeypatch.setattr("sys.argv", words)
    run(*words[1:])
    expected = ["x", "bench", "--seeds", "7", "--plan", "--source", "random", "--source",
                "builtin/mae", "--folds", "0,1"]  # fmt: skip
    assert seen[-1][2] == expected
    monkeypatch.setattr("sys.argv", ["x", "bench", f"--config={path}", "--plan"])
    run("bench", f"--config={path}", "--plan")
    assert seen[-1][2][:3] == ["x", "bench", "--plan"]


@pytest.mark.parametrize(
    "text, told",
    [
        ("seed = 3", ("a run has no field 'seed'", "did you mean 'seeds'?")),
        ("at_once = 3", ("no field 'at_once'", "did you mean 'at-once'?")),
        ("zebra = 1", ("no field 'zebra'", "known: data, dataset")),
        ("plan = true", ("no field 'plan'", "--config my.toml --plan")),
        ("dry-run = true", ("no field 'dry-run'", "where the run is begun")),
        ('seeds = "3"', ("seeds: must be a whole number",)),
        ("seeds = true", ("seeds: must be a value, not true or false",)),
        ("seeds = 0", ("'my.toml': seeds: ",)),
        ("compile = 1", ("compile: must be true or false",)),
        ('source = "random"', ("source: must be a list of texts",)),
        ("source = [1]", ("source: must be a list of texts",)),
        ("data = 3", ("data: must be a path",)),
        ('mean = ["x"]', ("my.toml': mean: 'x' is no number",)),
        ("mean = [[1]]", ("mean: must be a text, a number or a list of numbers",)),
        ("seeds = ", ("'my.toml' is no valid TOML",)),
        ("seeds = 3\nseeds = 4", ("'my.toml' is no valid TOML",)),
        ("[train]\nsteps = 3", ("no field 'train'",)),
        ('source = ["builtin/dino:2D"]', ("did you mean 'builtin/dino:2d'?",)),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, monkeypatch, seen, text, told):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, text)
    result = run("bench", "--config", "my.toml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    assert 2 <= len(result.stderr.splitlines()) <= 10
    for words in told:
        assert words in result.stderr
    assert seen == []


def test_two_faults_are_told_together(tmp_path, seen):
    result = run("bench", "--config", write(tmp_path, 'seeds = "3"\ncompile = 1\n'))
    assert "seeds: must" in result.stderr
    assert "compile: must" in result.stderr


def test_a_file_that_is_not_there(tmp_path, seen):
    result = run("bench", "--config", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert "'none.toml' cannot be read" in result.stderr


def test_what_is_written_reads_as_the_same_run(tmp_path, monkeypatch, seen):
    """Paths inside the working folder are told from the run folder, so that both can move."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit").mkdir()
    write(tmp_path, 'extends = "quick"\n', "p.toml")
    words = ["--data", "data", "--source", "vit:2d", "--source", "/elsewhere/vit", "--source",
             "random", "--mean", "0.5,0.25,1", "--std", "1", "--protocol", "p.toml", "--set",
             'train.select="last"', "--seeds", "3", "--threads", "2", "--compile", "--out", "r/x",
             "--plan", "--format", "json", "-q"]  # fmt: skip
    assert run("bench", *words).exit_code == 0
    first, side, _, fields, _ = seen[-1]
    out = tmp_path / "r" / "x"
    out.mkdir(parents=True)
    write_run_file(Path("r/x"), fields)
    table = tomllib.loads((out / "run.toml").read_text())
    assert table == {
        "data": "../../data",
        "source": ["../../vit:2d", "/elsewhere/vit", "random"],
        "mean": [0.5, 0.25, 1.0],
        "std": [1.0],
        "protocol": "../../p.toml",
        "set": ['train.select="last"'],
        "seeds": 3,
        "folds": "0",
        "channel-rule": "sum",
        "threads": 2,
        "compile": True,
        "out": ".",
    }
    moved = out.rename(tmp_path / "r" / "y")
    assert run("bench", "--config", "r/y/run.toml").exit_code == 0
    second, again, _, told, until = seen[-1]
    assert second.data == Path("./data")
    assert second.sources == ["./vit:2d", "/elsewhere/vit", "random"]
    assert (second.out, until) == (Path("r/y"), "report")
    for name in ("schemes", "mean", "std", "changes", "seeds", "folds", "rule"):
        assert getattr(second, name) == getattr(first, name)
    assert again == side
    write_run_file(moved, told)
    assert tomllib.loads((moved / "run.toml").read_text()) == table


NAMED = ("--dataset", "hippocampus-mini", "--suite", "builtin", "--protocol", "quick")


def test_folders_with_the_names_of_what_is_bundled_change_nothing(tmp_path, monkeypatch, seen):
    """Whether they lie where the command runs or beside a file: only a .toml is a path there."""
    monkeypatch.chdir(tmp_path)
    for name in ("hippocampus-mini", "builtin", "quick", "random"):
        (tmp_path / name).mkdir()
        (tmp_path / "r" / name).mkdir(parents=True)
    run("bench", *NAMED, "--out", "r")
    first, _, _, fields, _ = seen[-1]
    write_run_file(tmp_path / "r", fields)
    assert run("bench", "--config", "r/run.toml").exit_code == 0
    second = seen[-1][0]
    for asked in (first, second):
        assert (asked.dataset, asked.suite, asked.protocol) == NAMED[1::2]


def test_a_folder_named_random_is_not_the_random_weights(tmp_path, monkeypatch, seen):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r" / "random").mkdir(parents=True)
    (tmp_path / "random").mkdir()
    run("bench", "--source", "random", "--source", "./random", "--out", "r")
    write_run_file(tmp_path / "r", seen[-1][3])
    table = tomllib.loads(Path("r/run.toml").read_text())
    assert table["source"] == ["random", "../random"]
    run("bench", "--config", "r/run.toml")
    assert seen[-1][0].sources == ["random", "./random"]


def test_paths_elsewhere_are_whole(tmp_path, monkeypatch, seen):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run("bench", "--data", tmp_path / "data", "--source", "random", "--out", "x")
    (tmp_path / "work" / "x").mkdir()
    write_run_file(Path("x"), seen[-1][3])
    assert tomllib.loads(Path("x/run.toml").read_text())["data"] == str(tmp_path / "data")


def test_nought_is_written_and_what_is_not_asked_for_is_not(tmp_path, seen):
    run("bench", "--workers", "0", "--on", "ray", "--gpus", "0", "--out", tmp_path)
    write_run_file(tmp_path, seen[-1][3])
    table = tomllib.loads((tmp_path / "run.toml").read_text())
    assert (table["workers"], table["gpus"]) == (0, 0)
    assert not table.keys() & {"download", "compile", "tracker", "source"}


def test_the_embedded_default_is_written_by_name(tmp_path, seen):
    run("bench", "--out", tmp_path)
    write_run_file(tmp_path, seen[-1][3])
    assert tomllib.loads((tmp_path / "run.toml").read_text()) == {
        "dataset": "hippocampus-mini",
        "suite": "builtin",
        "protocol": "quick",
        "seeds": 5,
        "folds": "0",
        "channel-rule": "sum",
        "out": ".",
    }


def test_texts_that_toml_would_read_otherwise_are_escaped(tmp_path):
    odd = 'a "quoted" \\ back\nline \x7f \x01 ü'
    write_run_file(tmp_path, {"dataset": odd})
    assert tomllib.loads((tmp_path / "run.toml").read_text("utf-8"))["dataset"] == odd
    (tmp_path / "run.toml").unlink()
    write_run_file(tmp_path, {"dataset": "\udcff"})  # a path that is no text
    assert not (tmp_path / "run.toml").exists()


def test_every_flag_but_how_a_run_is_begun_is_a_field(tmp_path, seen):
    """Those that other commands add later are fields without being named here."""
    (bench,) = [c for n, c in typer.main.get_command(app).commands.items() if n == "bench"]
    result = run("bench", "--config", write(tmp_path, "zebra = 1"))
    told = set(result.stderr.split("known: ")[1].strip().split(", "))
    flags = {max(p.opts, key=len).removeprefix("--") for p in bench.params}
    begun = {"config", "plan", "dry-run", "detach", "format", "quiet", "debug"}
    assert flags - told == begun


def test_a_run_repeated_by_its_own_file_trains_nothing_anew(home, tmp_path, monkeypatch):
    """Written by a real run, read from another folder; no local path gets into the report."""
    monkeypatch.chdir(home)
    changes = [word for change in SMALL for word in ("--set", change)]
    words = ["--data", "data", "--source", "vit", "--source", "random", "--seeds", "1",
             "--protocol", "quick", "--device", "cpu", "--workers", "0", "--at-once", "1",
             "--cache", "cache", "--out", "again"]  # fmt: skip
    first = run("bench", *words, *changes)
    assert first.exit_code == 0, first.output
    monkeypatch.chdir(tmp_path)
    second = run("bench", "--config", home / "again" / "run.toml", "--format", "json")
    assert second.exit_code == 0, second.output
    assert "training" not in second.stderr
    assert {trial["state"] for trial in json.loads(second.stdout)["trials"]} == {"done"}
    assert len(list((home / "again" / "trials").iterdir())) == 2
    assert not (tmp_path / "runs").exists()
    for name in ("report.html", "report.md", "results.json", "results.csv"):
        assert str(home) not in (home / "again" / name).read_text()
    for record in (home / "again").glob("trials/*/record.json"):
        assert str(home) not in record.read_text()
