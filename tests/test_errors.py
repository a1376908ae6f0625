import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo import errors
from inflate_zoo.errors import (
    ConfigError,
    InflateZooError,
    UnknownNameError,
    UsageError,
    WorkError,
    out_of_memory,
    without_password,
)


@settings(max_examples=30)
@given(
    message=st.text(min_size=1),
    details=st.lists(st.text(), max_size=30),
    hint=st.text(min_size=1),
)
def test_an_error_takes_ten_lines_at_most_whatever_it_quotes(message, details, hint):
    text = str(ConfigError(message, details=details, hint=hint))
    assert len(text.splitlines()) <= 10
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("count", [0, 1, 8])
def test_short_details_are_all_shown(count):
    details = [f"detail {index}" for index in range(count)]
    shown = ConfigError("wrong", details=details, hint="do this").lines()
    assert shown == ["wrong", *(f"  {line}" for line in details), "do this"]


@pytest.mark.parametrize("count", [9, 10, 1234])
def test_long_details_are_counted(count):
    details = [f"detail {index}" for index in range(count)]
    shown = ConfigError("wrong", details=details, hint="do this").lines()
    assert len(shown) == 10
    assert shown[1:8] == [f"  {line}" for line in details[:7]]
    assert shown[8] == f"  ... and {count - 7} more"
    assert shown[9] == "do this"


def test_a_name_from_a_file_cannot_drive_the_terminal():
    text = str(ConfigError("tensor '\x1b[2J\n\u202eä'", hint="none"))
    assert text == "tensor '\\x1b[2J\\n\\u202eä'\nnone"


def test_one_endless_name_does_not_flood_the_terminal():
    assert len(str(ConfigError("x" * 100_000, hint="none"))) < 1100


def test_exit_codes_follow_the_tree():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    ours = [kind for kind in kinds if issubclass(kind, InflateZooError)]
    leaves = [kind for kind in ours if kind not in (InflateZooError, UsageError, WorkError)]
    assert len(leaves) >= 11
    for kind in leaves:
        assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1), kind
        assert issubclass(kind, UsageError) != issubclass(kind, WorkError), kind
        assert f"── {kind.__name__}" in errors.__doc__


def test_a_typo_is_answered_with_the_name_that_was_meant():
    error = UnknownNameError("scheme", "centre", ["average", "center", "repeat"])
    assert error.lines() == ["no scheme named 'centre'", "did you mean 'center'?"]


def test_a_name_unlike_any_is_answered_with_the_known_ones():
    error = UnknownNameError("scheme", "zzz", ["repeat", "average"])
    assert error.hint == "known: average, repeat"
    many = UnknownNameError("entry", "zzz", [f"name{index:02}" for index in range(20)])
    assert many.hint.endswith("name11, ...")


def of_the_driver(number):
    error = torch.AcceleratorError("CUDA error")
    error.error_code = number
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (of_the_driver(2), True),
        (of_the_driver(700), False),
        (torch.AcceleratorError("out of memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't"), True),
        (RuntimeError("cannot reallocate a name"), False),
        (ValueError("DefaultCPUAllocator: is no scheme"), False),
        (KeyError("allocated"), False),
    ],
)
def test_memory_that_ran_out_is_known_by_its_type_or_number_or_torchs_allocator(error, expected):
    assert out_of_memory(error) is expected


def test_what_looks_alike_is_kept():
    for text in ("org/name@main", "https://hub.org/org/name@main", "me@hub.org", "a://b c@d"):
        assert without_password(text) == text
