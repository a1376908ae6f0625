"""The harness of `tests.fuzz` finds what it is there to find."""

import faulthandler
import os
import time
from random import Random

import pytest

from inflate_zoo.errors import UsageError
from tests.fuzz.__main__ import _fuzz
from tests.fuzz.parsers import PARSERS, Parser


def ours(folder, random):
    raise UsageError("'file' is damaged", hint="download it again")


def foreign(folder, random):
    raise KeyError("x")


def path_told(folder, random):
    raise UsageError(f"'{folder}' is damaged", hint="download it again")


def wide(folder, random):
    if random.getstate() != Random(0).getstate():  # the first call is for what it imports
        b"x" * (500 << 20)


def dead(folder, random):
    faulthandler.disable()  # no dump among what the tests print
    os.kill(os.getpid(), 11)


@pytest.mark.parametrize(
    ("run", "told"),
    [(ours, None), (foreign, "KeyError at the harness"), (path_told, "a message that is none"),
     (wide, "took more than 300 MB"), (dead, "killed by SIGSEGV")],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_what_is_wrong_is_found(run, told):
    began = time.monotonic()
    count, findings = _fuzz(Parser("x", run), 0, 2.0, 0, 2)
    assert count == 2
    assert time.monotonic() - began < 10
    assert [what.startswith(told) for what in findings] == ([True] if told else [])


def test_every_parser_has_its_own_name():
    assert len({parser.name for parser in PARSERS}) == len(PARSERS)
