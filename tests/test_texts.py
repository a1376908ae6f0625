"""Times and sizes in words."""

import os
from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel, ValidationError, field_validator

from inflate_zoo.texts import (
    as_text,
    duration,
    is_text,
    millions,
    problems_of,
    size,
    validated,
)


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (0, "0.0 s"),
        (4.25, "4.2 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (150, "2.5 min"),
        (7000, "117 min"),
        (9000, "2.5 h"),
        (172_799, "48.0 h"),
        (172_800, "2.0 days"),
        (2_000_000, "23 days"),
    ],
)
def test_a_duration(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    "count, shown",
    [(0, "0 MiB"), (3 * 2**20, "3 MiB"), (2**30, "1.0 GiB"), (1536 * 2**30, "1,536.0 GiB")],
)
def test_a_size(count, shown):
    assert size(count) == shown


class Odd(BaseModel):
    size: int

    @field_validator("size")
    @classmethod
    def _even(cls, size):
        if size % 2:
            raise ValueError("Value error, as it were: odd")
        return size


def test_our_own_findings_are_said_as_they_are():
    with pytest.raises(ValidationError) as caught:
        Odd(size=1)
    assert problems_of(caught.value) == ["size: Value error, as it were: odd"]
    with pytest.raises(ValidationError) as caught:
        Odd.model_validate([])
    assert problems_of(caught.value, "whole")[0].startswith("whole: ")


@pytest.mark.parametrize(
    "count, shown",
    [
        (1_636_992, "1.6 M"),
        (99_949_999, "99.9 M"),
        (99_950_000, "100 M"),
        (1_136_480_768, "1,136 M"),
    ],
)
def test_a_number_of_parameters(count, shown):
    assert millions(count) == shown


def one_of_two(word):
    if word not in ("one", "other"):
        raise ValueError(f"no such word: {word}")
    return word


class Chosen(BaseModel):
    word: Annotated[str, AfterValidator(one_of_two)]


def test_half_a_character_that_is_quoted_is_no_valid_form_either():
    """JSON may hold one as an escape."""
    assert validated(Chosen, {"word": "one"}) == Chosen(word="one")
    for word in ("\ud800", "neither"):
        with pytest.raises(ValidationError):
            validated(Chosen, {"word": word})
    with pytest.raises(UnicodeEncodeError):  # as pydantic has it
        Chosen.model_validate({"word": "\ud800"})


def test_a_name_of_other_bytes_is_told_and_shown():
    name = os.fsdecode(b"x\xff")
    assert not is_text(name)
    assert (as_text(name), as_text("ü")) == ("x\\udcff", "ü")
    assert is_text(as_text(name))
