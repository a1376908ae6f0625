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
}
# The ranking's, next to get files of their own: what is tested leaves this set.
BENCH = {
    "bench/arms/sources.py",
    "bench/data/deriving.py",
    "bench/data/grids.py",
    "bench/data/label_table.py",
    "bench/data/web.py",
    "bench/definitions/datasets.py",
    "bench/definitions/progress.py",
    "bench/definitions/protocols.py",
    "bench/definitions/scores.py",
    "bench/definitions/tasks.py",
    "bench/definitions/trials.py",
    "bench/prediction/images.py",
    "bench/prediction/nnunet_summary.py",
    "bench/ranking/types.py",
    "bench/report/baselines.py",
    "bench/report/collect.py",
    "bench/report/output/document.py",
    "bench/report/output/drawing.py",
    "bench/report/output/markdown.py",
    "bench/report/output/page.py",
    "bench/report/overlays.py",
    "bench/report/plots.py",
    "bench/report/results.py",
    "bench/report/results_csv.py",
    "bench/report/tables.py",
    "bench/report/terminal.py",
    "bench/scoring/flops.py",
    "bench/scoring/inference.py",
    "bench/scoring/slices.py",
    "bench/training/augmentation.py",
    "bench/training/events.py",
    "bench/training/graphs.py",
    "bench/training/progress.py",
    "bench/trials/attempt.py",
    "bench/trials/folder.py",
    "cli/bench/asking.py",
    "cli/bench/data.py",
    "cli/bench/datasets.py",
    "cli/bench/options.py",
    "cli/bench/predict.py",
    "cli/bench/report.py",
    "cli/bench/trial.py",
    "cli/bench/watching.py",
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
    assert sorted(bare - UNTESTED.keys() - BENCH) == []


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
