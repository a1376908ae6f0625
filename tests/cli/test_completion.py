"""What the shell offers: asked as bash and zsh ask, through Typer's protocol and through bash."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from inflate_zoo.bench.definitions.catalog import bundled, protocol_fields
from inflate_zoo.bench.prediction.choosing import Choice, find_trials
from inflate_zoo.cli.app import app
from inflate_zoo.conversion.sources import builtin_sources
from inflate_zoo.errors import UsageError
from inflate_zoo.exporting.targets import TARGETS
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.naming.catalog import family_names
from inflate_zoo.registry.listing import names
from tests.support.trials import tiny_run

BUILTIN = list(builtin_sources())


def asked(env):
    result = CliRunner().invoke(app, [], prog_name="inflate-zoo", env=env)
    assert result.exit_code == 0, result.output
    return result.stdout


def bash(*words):
    """What bash is offered for the last word."""
    env = {
        "_INFLATE_ZOO_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("inflate-zoo", *words)),
        "COMP_CWORD": str(len(words)),
    }
    return asked(env).split("\n")[:-1] if asked(env) != "\n" else []


def zsh(*words):
    env = {
        "_INFLATE_ZOO_COMPLETE": "complete_zsh",
        "_TYPER_COMPLETE_ARGS": " ".join(("inflate-zoo", *words)),
    }
    return re.findall(r'^"([^"]*)"', asked(env).replace("((", "\n"), flags=re.M)


def fish(*words):
    env = {
        "_INFLATE_ZOO_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": " ".join(("inflate-zoo", *words)),
    }
    return asked(env).splitlines()


VALUES = [
    (("convert", "--scheme", ""), list(SCHEMES)),
    (("bench", "--scheme", ""), list(SCHEMES)),
    (("convert", "--family", "swin"), [n for n in family_names() if n.startswith("swin")]),
    (("convert", "built"), BUILTIN),
    (("inspect", "built"), BUILTIN),
    (("convert", "--dtype", "b"), ["bfloat16"]),
    (("pull", "builtin-d"), [n for n in names() if n.startswith("builtin-d")]),
    (("zoo", "show", "rad"), [n for n in names() if n.startswith("rad")]),
    (("zoo", "build", "rad"), [n for n in names() if n.startswith("rad")]),
    (("bench", "--source", "builtin/"), BUILTIN),
    (("bench", "--source", "rand"), ["random"]),
    (("bench", "--dataset", "msd-task0"), [n for n in bundled("task") if "task0" in n]),
    (("bench", "--protocol", ""), list(bundled("protocol"))),
    (("bench", "--suite", ""), list(bundled("suite"))),
    (("bench", "--channel-rule", ""), ["sum", "rgb"]),
    (("bench", "--set", "train.s"), [f"{n}=" for n in protocol_fields() if n[:7] == "train.s"]),
    (("bench", "--device", "cu"), ["cuda"]),
    (("bench", "--tracker", ""), ["mlflow", "wandb"]),
    (("schemes", "--format", ""), ["human", "json"]),
    (("export", "x", "--to", ""), list(TARGETS)),
    (("cache", "prune", "--kind", "w"), ["weights"]),
]


@pytest.mark.parametrize(("words", "expected"), VALUES, ids=lambda value: " ".join(value))
def test_values_are_offered_to_every_shell(words, expected):
    assert expected
    assert bash(*words) == expected
    assert zsh(*words) == expected
    assert [line.partition("\t")[0] for line in fish(*words)] == expected


def test_a_value_behind_an_equals_sign_is_completed_too():
    assert bash("convert", "--scheme", "=") == list(SCHEMES)
    assert zsh("convert", "--scheme=ce") == ["center"]


def test_commands_and_flags_are_offered():
    assert bash("sche") == ["schemes"]
    assert "--merge-depth" in bash("convert", "--m")


def test_what_is_no_name_is_left_to_the_shells_files():
    assert bash("convert", "./vit") == []
    assert bash("bench", "--data", "") == []


def test_summaries_are_shown_where_a_shell_shows_them():
    assert any(
        line.startswith("center\tPut the 2D kernel") for line in fish("convert", "--scheme", "")
    )


def call(trial, label):
    """Give a planned trial's arm another label."""
    path = trial.folder / "trial.json"
    told = json.loads(path.read_text())
    told["arm"]["label"] = label
    path.write_text(json.dumps(told))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    run = tiny_run(tmp_path, kinds=("inflated", "random"), seeds=2)
    for trial in run.trials:
        call(trial, {"inflated": "builtin-dino center", "random": "random"}[trial.spec.arm.kind])
    monkeypatch.chdir(tmp_path)
    return ["builtin-dino center", "random"]


def test_arms_of_a_run_are_offered_as_one_word(runs):
    escaped = [label.replace(" ", "\\ ") for label in runs]
    assert bash("report", "run", "--compare", "") == escaped
    assert bash("report", "run", "--compare", "random", "b") == escaped[:1]
    assert zsh("report", "run", "--compare", "") == runs
    assert bash("report", "nowhere", "--compare", "") == []
    assert bash("predict", "run", "--arm", "r") == ["random"]
    assert bash("predict", "run", "scans", "--out", "x", "--arm", "") == escaped


def test_an_arm_that_commands_called_differently_is_offered_as_other_commands_take_it(tmp_path):
    run = tiny_run(tmp_path, seeds=2)
    call(run.trials[1], "vit center with more")
    assert zsh("predict", str(run.out), "scans", "--arm", "") == ["vit center with more"]
    with pytest.raises(UsageError, match="has no arm"):
        find_trials(run.out, Choice(arms=("vit center",)))
    with pytest.raises(UsageError, match="2 of the 2 trials that are asked for are not done"):
        find_trials(run.out, Choice(arms=("vit center with more",)))


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_what_is_offered_for_the_label_whatever_is_in_it(tmp_path):
    """A label is what a person wrote behind `:label=`: with a parenthesis it was a syntax error."""
    labels = ["run1 (early) & <b> center", 'it\'s $HOME "or" `not`; ~*? 2d', "é\\ #1 average"]
    run = tiny_run(tmp_path, kinds=("inflated", "2d", "random"))
    for trial, label in zip(run.trials, labels, strict=True):
        call(trial, label)
    offered = bash("report", str(tmp_path / "run"), "--compare", "")
    script = f"printf '%s\\n' {' '.join(offered)}"
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (sorted(labels), "")


@pytest.mark.parametrize("content", ["{", "[]", '{"arm": 3}', '{"arm": {"label": []}}'])
def test_a_damaged_trial_offers_nothing_and_says_nothing(tmp_path, content):
    run = tiny_run(tmp_path, kinds=("inflated", "random"))
    for kind, left in (("inflated", ["random"]), ("random", [])):
        (run.trial(kind).folder / "trial.json").write_text(content)
        assert zsh("report", str(run.out), "--compare", "") == left


SCRIPT = """
eval "$(_INFLATE_ZOO_COMPLETE=source_bash inflate-zoo)"
COMP_WORDS=(inflate-zoo $@); COMP_CWORD=$#
_inflate_zoo_completion inflate-zoo
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    "words, offered",
    [("bench --protocol p", ["paper", "probe"]), ("report run --compare r", ["random"])],
)
def test_bash_itself_completes_and_nothing_heavy_is_imported(tmp_path, words, offered):
    tiny_run(tmp_path, kinds=("inflated", "random"))
    program = tmp_path / "inflate-zoo"
    program.write_text(
        f"#!{sys.executable}\n"
        "import atexit, sys\n"
        "from inflate_zoo.cli.app import app\n"
        "@atexit.register\n"
        "def told():\n"
        "    heavy = {'torch', 'timm', 'transformers', 'huggingface_hub', 'numpy', 'monai'}\n"
        "    print(*(heavy & set(sys.modules)), file=sys.stderr, end='')\n"
        "app(prog_name='inflate-zoo')\n"
    )
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", SCRIPT, "bash", *words.split()],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == offered
    assert done.stderr == ""
