"""A module's tests are found by its name."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE, TESTS = ROOT / "inflate_zoo", ROOT / "tests"
CROSSING = ("faults", "whole")  # folders of tests that belong to no single module

UNTESTED = {
    "__main__.py": "starts the commands: test_interrupts.py and cli/test_output.py run it",
    "version.py": "one text, which cli/test_app.py asks the command for",
    "files/budgets.py": "numbers alone; each reader is tested with what exceeds its own",
    "naming/readers/reader.py": "the form that a reader fills, without behaviour of its own",
    "exporting/target.py": "the form of an export: the tests of each target fill it",
    "bench/definitions/progress.py": "the form of a function that is told of progress",
    "bench/training/progress.py": "the form of a watcher, and one that does nothing",
    "naming/configs/known_fields.py": "tables alone: test_gate.py asks what they admit",
    "cli/bench/options.py": "declarations alone: cli/test_app.py asks each command for its options",
}


def modules(home):
    """All modules below a folder, by their path in it."""
    found = {path.relative_to(home) for path in home.rglob("*.py")}
    return {path.as_posix() for path in found if path.name != "__init__.py"}


def file_of(module):
    """Where the tests of a module are."""
    path = Path(module)
    return TESTS / path.with_name(f"test_{path.name}")


def test_every_module_has_a_test_file_of_its_name_or_a_reason():
    bare = {module for module in modules(PACKAGE) if not file_of(module).exists()}
    assert sorted(bare - UNTESTED.keys()) == []


def test_what_needs_no_tests_is_there_and_has_none():
    assert UNTESTED.keys() <= modules(PACKAGE)
    assert [module for module in UNTESTED if file_of(module).exists()] == []


def test_every_test_file_has_its_module():
    known = modules(PACKAGE) | modules(TESTS)  # what only tests use is tested beside it
    files = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    of = {
        file.as_posix(): file.with_name(file.name.removeprefix("test_")).as_posix()
        for file in files
        if file.parts[0] not in CROSSING
    }
    assert sorted(file for file, module in of.items() if module not in known) == []
