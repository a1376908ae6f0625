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
        ("org/name:patch_depth=1", ArmSource("org/name", patch_depth=1)),
        ("a.pth:patch_depth=1024:average", ArmSource("a.pth", "average", patch_depth=1024)),
        ("org/swin:depth_window=4", ArmSource("org/swin", depth_window=4)),
        ("org/swin:merge_depth:average:depth_window=12",
         ArmSource("org/swin", "average", depth_window=12, merge_depth=True)),
        ("hf-hub:org/name", ArmSource("hf-hub:org/name")),
        ("hf-hub:org/name:2d", ArmSource("hf-hub:org/name", "2d")),
        ("https://huggingface.co/org/name:average",
         ArmSource("https://huggingface.co/org/name", "average")),
    ],
)  # fmt: skip
def test_a_source_and_what_it_says(text, expected):
    assert parse_arm(text) == expected


@pytest.mark.parametrize(
    "text, plain, label",
    [
        ("run1/checkpoint-500:label=early", "run1/checkpoint-500", "early"),
        ("a.pth:label=lr 1e-4:2d", "a.pth", "lr 1e-4"),
        ("hf://org/name@v1:label=a/b", "hf://org/name@v1", "a/b"),
        ("a=b:label=x=y", "a=b", "x=y"),
    ],
)
def test_a_label_makes_no_other_source(text, plain, label):
    found = parse_arm(text)
    assert (found.plain, found.label, found.bare.label) == (plain, label, label)
    assert found == parse_arm(text.replace(f":label={label}", ""))


@pytest.mark.parametrize("label", [" x", "x ", "a\nb", "\x1b[31m", "x" * 61, "\udcff"])
def test_a_label_that_cannot_be_is_refused(label):
    with pytest.raises(UsageError, match="gives no label of at most 60 characters"):
        parse_arm(f"org/name:label={label}")


@pytest.mark.parametrize(
    "text, meant",
    [
        ("org/name:lable=mine", "org/name:label=mine"),
        ("builtin/dino:2D", "builtin/dino:2d"),
        ("builtin/dino:averge", "builtin/dino:average"),
        ("org/name:Center", "org/name:center"),
        ("a.pth:archi=x", "a.pth:arch=x"),
        ("a.pth:weight=ema", "a.pth:weights=ema"),
        ("org/name:patchsize=8,8", "org/name:patch_size=8,8"),
        ("org/name:patch-depth=4", "org/name:patch_depth=4"),
        ("org/swin:depth-window=4", "org/swin:depth_window=4"),
        ("org/swin:merge-depth", "org/swin:merge_depth"),
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
    assert parse_arm("org/name:2d").words == ()
    assert parse_arm("a.pth:patch_size=8,4:weights=ema").words == ("ema", "patch_size=8,4")
    assert parse_arm("a:merge_depth:patch_size=8,4").words == ("patch_size=8,4", "merge_depth")
    assert parse_arm("a:merge_depth:patch_size=8,4").bare == parse_arm("a:patch_size=8,4")


def test_a_file_that_is_called_so_is_no_misspelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run:averge").mkdir()
    assert parse_arm("run:averge") == ArmSource("run:averge")


@pytest.mark.parametrize(
    "text",
    [
        "a:2d:average",
        "a:arch=x:arch=y",
        "a:patch_size=8,8:patch_size=4,4",
        "a:patch_depth=2:patch_depth=4",
    ],
)
def test_what_is_said_twice_is_refused(text):
    with pytest.raises(UsageError, match="says two things"):
        parse_arm(text)


@pytest.mark.parametrize("text", ["random:2d", "random:center", "random:weights=ema"])
def test_of_random_weights_nothing_can_be_said(text):
    """The Hub would be asked for a repo of that name."""
    with pytest.raises(UsageError, match=f"'{text}': random weights are one arm") as caught:
        parse_arm(text)
    assert caught.value.hint == "write 'random' alone"
    assert parse_arm("random") == ArmSource("random")
    assert parse_arm("./random:2d") == ArmSource("./random", "2d")


@pytest.mark.parametrize("window", ["0", "-1", "129", "4.0", "four", "9" * 40, "\u0664"])
def test_a_depth_that_windows_cannot_have_is_refused(window):
    with pytest.raises(UsageError, match="gives no depth of windows in 1 to 128") as caught:
        parse_arm(f"org/swin:depth_window={window}")
    assert caught.value.hint == "write it in tokens, e.g. :depth_window=4"


@pytest.mark.parametrize("depth", ["0", "-1", "1025", "4.0", "four", "9" * 40, "4,4", "\u0664"])
def test_a_depth_that_patches_cannot_have_is_refused(depth):
    with pytest.raises(UsageError, match="gives no patch depth in 1 to 1024") as caught:
        parse_arm(f"org/name:patch_depth={depth}")
    assert caught.value.hint == "write it in voxels, e.g. :patch_depth=4"


@pytest.mark.parametrize(
    "text",
    ["org/swin:2d:depth_window=4", "org/swin:merge_depth:2d", "org/name:patch_depth=4:2d"],
)
def test_slice_by_slice_there_are_neither_patches_nor_windows_over_depth(text):
    with pytest.raises(UsageError, match="is taken slice by slice, without depth"):
        parse_arm(text)


def test_windows_are_told_as_they_are_written_and_left_out_of_the_2d_network():
    source = parse_arm("org/swin:merge_depth:weights=ema:depth_window=4:repeat")
    assert source.windows == ("depth_window=4", "merge_depth")
    assert source.bare == ArmSource("org/swin", weights="ema")


def test_a_patch_depth_is_told_and_left_out_of_the_2d_network():
    source = parse_arm("org/swin:patch_size=8,8:depth_window=4:patch_depth=2")
    assert source.words == ("patch_size=8,8", "patch_depth=2", "depth_window=4")
    assert source.bare == parse_arm("org/swin:patch_size=8,8")
    assert parse_arm("org/swin").windows == ()
