"""The pages for people: links lead somewhere, commands exist, output shown is what comes out."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.cli import app

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "benchmarks", "benchmarks/*", "converters", "model_cards")
PAGES = sorted(page for folder in FOLDERS for page in ROOT.glob(f"{folder}/*.md"))
HAND_WRITTEN = [page for page in PAGES if page.name.isupper() or page.stem.isupper()]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALONE = {".gitignore", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md"}
KINDS = {
    ".ci": {"", ".txt"},
    "benchmarks": {"", ".gz", ".ipynb", ".json", ".jsonl", ".md", ".png", ".py"}
    | {".safetensors", ".sh", ".toml", ".yaml"},
    "converters": {".md", ".toml"},
    "inflate_zoo": {".py", ".typed"},
    "model_cards": {".md"},
    "tests": {".json", ".py"},
}
LINK = re.compile(r"\]\(([^()\s]+)\)")
OUTPUT = re.compile(r"\$ (inflate-zoo convert .*)\n((?:.+\n)+?)```")
# The error and the release of timm hang on the machine.
VARIES = (re.compile(r"error \S+ of"), re.compile(r"timm [\d.]+"))


def prose(page):
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page):
    """Those of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_what_pages_link_to_is_in_the_sdist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for page in HAND_WRITTEN:
        for link in LINK.findall(prose(page)):
            if link.startswith(("https://", "#")):
                continue
            target = (page.parent / link.partition("#")[0]).resolve().relative_to(ROOT)
            assert f"/{target.parts[0]}" in included, f"{page.name}: {link}"


def test_only_files_that_belong_here_are_committed():
    """A tool that is run by hand may leave others, and one was committed with them."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout, which alone says what is committed")
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [Path(name) for name in listed.split("\0")[:-1]]
    assert {file.name for file in files if len(file.parts) == 1} == {*ALONE, "pyproject.toml"}
    inside = [file for file in files if len(file.parts) > 1]
    assert not [file for file in inside if file.suffix not in KINDS.get(file.parts[0], ())]


def test_the_readme_is_short():
    assert len(README.splitlines()) < 190


def shown_commands():
    """What the pages have people type, from fenced and indented blocks and from code in a line."""
    pages = [page.read_text(encoding="utf-8") for page in HAND_WRITTEN]
    text = "\n".join(pages).replace("\\\n", " ")
    fenced = "".join(re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.M | re.S))
    lines = re.findall(r"^(?:\$ )?(inflate-zoo [a-z].*)", fenced, flags=re.M)
    lines += re.findall(r"^ {4}(inflate-zoo [a-z].*)", text, flags=re.M)
    lines += re.findall(r"(?<!`)`(inflate-zoo [a-z][^`]*)`", text)
    return sorted({line.replace("\n", " ") for line in lines})


def test_commands_that_are_shown_exist_with_their_options():
    assert len(shown_commands()) > 10
    for line in shown_commands():
        command = typer.main.get_command(app.app)
        words = shlex.split(line)[1:]
        while words and hasattr(command, "commands"):
            if words[0] not in command.commands:
                break
            command = command.commands[words.pop(0)]
        assert command.name != "inflate-zoo", line
        known = {flag for parameter in command.params for flag in parameter.opts}
        flags = {word for word in words if word.startswith("--")}
        assert flags <= known | {"--help"}, line


def test_tasks_that_are_shown_exist():
    names = set(re.findall(r"--dataset\s+([\w-]+)(?=\s)", README))
    assert names
    for name in names:
        load_task(name)


def test_the_readmes_conversion_prints_what_is_shown(tmp_path):
    ((line, shown),) = OUTPUT.findall(README)
    done = subprocess.run(
        [sys.executable, "-m", "inflate_zoo", *shlex.split(line)[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = done.stdout
    for varying in VARIES:
        found, shown = varying.sub("", found), varying.sub("", shown)
    assert found == shown


def test_the_readmes_python_prints_what_its_comments_say(tmp_path):
    """Both blocks, one after the other, on a smaller volume."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", README, flags=re.M | re.S))
    assert "64, 96, 128" in code
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.replace("64, 96, 128", "16, 24, 32")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    shown = "\n".join(re.findall(r"^(?:print.*  )?# (\(.*\))", code, flags=re.M))
    assert "16, 24, 32" in shown
    smaller = shown.replace("16, 24, 32", "4, 6, 8").replace("64, 96, 128", "16, 24, 32")
    assert done.stdout == smaller.replace("12289", str(1 + 4 * 6 * 8)) + "\n"
