"""Options in groups."""

import re

from tests.support.commands import run


def sections(text):
    """Heading to the lines below it."""
    found = {}
    for line in text.splitlines():
        if re.fullmatch(r"\S.*:", line):
            found[line[:-1]] = current = []
        elif found and line:
            current.append(line)
    return found


def test_the_options_of_bench_stand_in_groups_and_the_plain_ones_come_last():
    found = sections(run("bench", "--help").stdout)
    assert list(found)[-1] == "Options"
    names = {
        group: {line.split()[0] for line in lines if line.startswith("  -")}
        for group, lines in found.items()
    }
    assert {"--data", "--dataset", "--download"} <= names["Data"]
    assert {"--source", "--scheme", "--suite"} <= names["What is compared"]
    assert {"--protocol", "--set", "--seeds", "--folds"} <= names["Training"]
    assert {"--device", "--threads", "--per-gpu"} <= names["Resources"]
    assert {"--out", "--cache", "--plan"} <= names["The run"]
    assert names["Options"] == {"--format", "-q,", "--debug", "-h,"}


def test_texts_begin_in_one_column_through_all_groups():
    for words in (("bench",), ("convert",)):
        lines = [
            line for lines in sections(run(*words, "--help").stdout).values() for line in lines
        ]
        starts = {match.end() for line in lines if (match := re.match(r"  \S+( \S+)*  +", line))}
        assert len(starts) == 1


def test_arguments_come_first_and_nothing_is_said_twice():
    text = run("convert", "--help").stdout
    assert next(iter(sections(text))) == "Arguments"
    for flag in ("--scheme", "--mean", "--revision", "--format"):
        assert len(re.findall(rf"^  {flag}\b", text, flags=re.M)) == 1


def test_a_command_without_groups_looks_as_ever():
    assert list(sections(run("status", "--help").stdout)) == ["Arguments", "Options"]


def test_types_are_told_without_python():
    text = run("bench", "--help").stdout
    assert "  --seeds N " in text
    assert "list[" not in text
    assert "range>" not in text


def test_commands_to_copy_are_broken_at_spaces_alone():
    lines = run("convert", "--help").stdout.splitlines()
    (start,) = [n for n, line in enumerate(lines) if "--volume 32,224,224" in line]
    assert lines[start].endswith("--patch-depth 4")
    assert lines[start + 1] == "      --fold-normalization"
