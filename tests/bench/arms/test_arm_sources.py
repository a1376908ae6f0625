"""What stands behind a source's colons."""

import pytest

from inflate_zoo.bench.arms.arm_sources import ArmSource, parse_arm
from inflate_zoo.errors import UsageError

ARCH = "vit_base_patch16_224.mae"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("builtin/clip:average", ArmSource("builtin/clip", "average")),
        ("org/name:2d", ArmSource("org/name", "2d")),
        ("org/name@v1:repeat", ArmSource("org/name@v1", "repeat")),
        ("org/name", ArmSource("org/name")),
        ("C:\\models\\vit", ArmSource("C:\\models\\vit")),
        ("C:\\models\\a.pth:2d", ArmSource("C:\\models\\a.pth", "2d")),
        (":2d", ArmSource(":2d")),
        ("org/name:mean", ArmSource("org/name:mean")),
        (f"a.pth:arch={ARCH}", ArmSource("a.pth", arch=ARCH)),
        (f"a.pth:arch={ARCH}:2d", ArmSource("a.pth", "2d", arch=ARCH)),
        (f"a.pth:2d:arch={ARCH}", ArmSource("a.pth", "2d", arch=ARCH)),
        ("a.pth:family=dino:weights=student", ArmSource("a.pth", family="dino", weights="student")),
        ("org/name:patch_size=16,12", ArmSource("org/name", patch_size=(16, 12))),
        ("org/name:patch_size=8x8:2d", ArmSource("org/name", "2d", patch_size=(8, 8))),
        ("hf-hub:org/name", ArmSource("hf-hub:org/name")),
        ("hf-hub:org/name:2d", ArmSource("hf-hub:org/name", "2d")),
        ("https://huggingface.co/org/name:average",
         ArmSource("https://huggingface.co/org/name", "average")),
    ],
)  # fmt: skip
def test_a_source_and_what_it_says(text, expected):
    assert parse_arm(text) == expected


@pytest.mark.parametrize(
    "text, meant",
    [
        ("builtin/dino:2D", "builtin/dino:2d"),
        ("builtin/dino:averge", "builtin/dino:average"),
        ("org/name:Center", "org/name:center"),
        ("a.pth:archi=x", "a.pth:arch=x"),
        ("a.pth:weight=ema", "a.pth:weights=ema"),
        ("org/name:patchsize=8,8", "org/name:patch_size=8,8"),
    ],
)
def test_a_misspelt_ending_is_answered(text, meant):
    with pytest.raises(UsageError) as caught:
        parse_arm(text)
    assert caught.value.hint == f"did you mean '{meant}'?"


def test_an_option_without_a_value_is_refused():
    with pytest.raises(UsageError, match="gives no arch"):
        parse_arm("a.pth:arch=")


@pytest.mark.parametrize("value", ["8", "8,8,8", "8,", "0,8", "8,-8", "a,b", "8.5,8", "8,99999"])
def test_a_patch_is_two_numbers(value):
    with pytest.raises(UsageError, match="is not two numbers H,W"):
        parse_arm(f"org/name:patch_size={value}")


def test_what_tells_arms_of_one_source_apart_is_said_in_words():
    assert parse_arm("org/name:2d").told_apart == ()
    assert parse_arm("a.pth:patch_size=8,4:weights=ema").told_apart == ("ema", "patch 8x4")


def test_a_file_that_is_called_so_is_no_misspelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run:averge").mkdir()
    assert parse_arm("run:averge") == ArmSource("run:averge")


@pytest.mark.parametrize(
    "text", ["a:2d:average", "a:arch=x:arch=y", "a:patch_size=8,8:patch_size=4,4"]
)
def test_what_is_said_twice_is_refused(text):
    with pytest.raises(UsageError, match="says two things"):
        parse_arm(text)
