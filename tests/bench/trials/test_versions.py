"""Versions of what decides a result."""

from importlib.metadata import version

from inflate_zoo.bench.trials.versions import unlike, versions
from inflate_zoo.version import __version__


def test_what_runs_here_is_named():
    found = versions()
    assert found["torch"] == version("torch")
    assert found["inflate-zoo"] == __version__
    assert {"python", "monai", "numpy", "scipy", "accelerate"} < found.keys()


def test_what_differs_is_said_and_what_was_not_noted_is_not():
    planned = {"torch": "2.11", "monai": "1.6.1", "numpy": "2.3"}
    assert unlike(planned, planned | {"scipy": "1.15"}) == []
    assert unlike({}, planned) == []
    assert unlike(planned, {"torch": "2.10", "numpy": "2.3"}) == [
        "torch 2.10 instead of 2.11",
        "monai absent instead of 1.6.1",
    ]
