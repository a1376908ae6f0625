"""The table of targets."""

from inflate_zoo.exporting.target import Export
from inflate_zoo.exporting.targets import TARGETS
from tests.support.commands import run


def test_each_target_is_told_by_help():
    told = run("export", "--help").output
    for name, kind in TARGETS.items():
        assert name in told
        assert issubclass(kind, Export)
        assert "torch" in kind.packages
