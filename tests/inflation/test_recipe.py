"""What is decided before any tensor is read."""

import pytest

from inflate_zoo.errors import UnknownNameError, UsageError
from inflate_zoo.inflation.recipe import (
    Options,
    Recipe,
    backbone_config,
    checked_options,
    form_with_patch,
    make_recipe,
)
from inflate_zoo.naming.understanding import Understood
from inflate_zoo.networks.base import Windows
from inflate_zoo.networks.layers.grids import MOST_WINDOW
from tests.support.recorded import case, plan_of


def test_the_patch_is_as_deep_as_high_unless_said_otherwise():
    plan = plan_of(case("vit_rectangular_patch"))
    recipe, _ = make_recipe(Options(), Understood(plan, {}, "", {}), None, None)
    assert recipe.patch_depth == 8  # patch 8 x 4, grid 4 x 8
    assert recipe.volume == (8, 32, 32)


def understood(kind):
    return Understood(plan_of(case(kind)), {}, "", {})


def test_what_is_not_given_is_center_and_one_channel():
    recipe, _ = make_recipe(Options(), understood("vit"), None, None)
    assert (recipe.scheme, recipe.channels) == ("center", 1)
    recipe, _ = make_recipe(Options("average", channels=2), understood("vit"), None, None)
    assert (recipe.scheme, recipe.channels) == ("average", 2)


def test_a_source_that_is_3d_already_keeps_what_it_has():
    source = understood("swin3d")
    recipe, _ = make_recipe(Options(), source, None, None)
    windows = Windows(3, merge_depth=False)
    assert recipe == Recipe(None, 2, (6, 64, 64), 3, windows=windows)  # one window
    assert backbone_config(source.plan, recipe).shapes() == source.plan.architecture.shapes()
    recipe, _ = make_recipe(Options(volume=(2, 64, 32)), source, None, None)
    assert recipe.volume == (2, 64, 32)


@pytest.mark.parametrize(
    "options, names",
    [
        (Options("center"), "--scheme"),
        (Options(channels=3), "--channels"),
        (Options(patch_depth=2, merge_depth=True), "--patch-depth and --merge-depth"),
        (
            Options("repeat", 2, None, 3, depth_window=3),
            "--scheme, --channels, --patch-depth and --depth-window",
        ),
    ],
)
def test_what_says_how_to_inflate_it_is_refused(options, names):
    with pytest.raises(UsageError, match="nothing is inflated") as error:
        make_recipe(options, understood("swin3d"), None, None)
    assert error.value.hint == f"leave out {names}"


def test_a_volume_that_its_patches_do_not_divide_is_refused_without_a_patch_depth():
    with pytest.raises(
        UsageError, match="volume depth 5 is not divisible by the patch's 2"
    ) as error:
        make_recipe(Options(volume=(5, 64, 64)), understood("swin3d"), None, None)
    assert "--patch-depth" not in error.value.hint
    with pytest.raises(UsageError) as error:
        make_recipe(Options(volume=(5, 32, 32)), understood("vit"), None, None)
    assert "--patch-depth" in error.value.hint


def recipe_of(kind, **options):
    plan = plan_of(case(kind))
    return plan, make_recipe(Options(**options), Understood(plan, {}, "", {}), None, None)[0]


def test_with_another_patch_the_grid_stays_and_depth_and_volume_follow():
    plan, recipe = recipe_of("vit_rectangular_patch", patch_size=(6, 12))
    assert (recipe.patch_size, recipe.patch_depth) == ((6, 12), 6)
    assert recipe.volume == (6, 4 * 6, 8 * 12)
    config = backbone_config(plan, recipe)
    assert (config.patch, config.position_grid) == ((6, 6, 12), (4, 8))
    assert config.shapes()["patch_embed.weight"] == (48, 1, 6, 6, 12)


def test_the_sources_own_patch_is_none_to_resize_to():
    plan, recipe = recipe_of("vit_rectangular_patch", patch_size=(8, 4))
    assert recipe == recipe_of("vit_rectangular_patch")[1]
    assert recipe.patch_size is None
    assert form_with_patch(plan, (8, 4)) is plan.architecture


@pytest.mark.parametrize("patch", [(1, 8), (8, 1), (33, 8), (8, 33)])
def test_a_patch_far_from_the_sources_is_refused(patch):
    with pytest.raises(UsageError, match="is far from the source's 8x8"):
        form_with_patch(plan_of(case("vit")), patch)


@pytest.mark.parametrize("patch", [(2, 32), (32, 2)])
def test_four_times_as_long_or_as_short_is_near_enough(patch):
    assert form_with_patch(plan_of(case("vit")), patch).patch_size == patch


@pytest.mark.parametrize(
    "kind, own, why",
    [
        ("swin", 4, "its stages count"),
        ("swinv2", 4, "its stages count"),
        ("sam", 8, "its neck"),
        ("hiera", 4, "its stem"),
    ],
)
def test_a_stem_that_takes_no_other_patch_is_refused_by_name(kind, own, why):
    plan = plan_of(case(kind))
    told = f"the patch of network '{kind}' stays {own}x{own}: {why}"
    with pytest.raises(UsageError, match=told):
        form_with_patch(plan, (6, 6))
    assert form_with_patch(plan, (own, own)) is plan.architecture


def checked(**given):
    words = {"scheme": None, "patch_depth": None, "volume": None, "channels": None, "dtype": None}
    return checked_options(**(words | given), fold_normalization=False)


@pytest.mark.parametrize(
    "field, least, most",
    [
        ("patch_depth", 1, 1024), ("channels", 1, 1024), ("depth_window", 1, MOST_WINDOW),
        ("volume", (1, 1, 1), (1 << 20, 8, 1 << 20)),
    ],
)  # fmt: skip
def test_numbers_are_taken_up_to_their_bounds(field, least, most):
    for fits in (least, most):
        assert getattr(checked(**{field: fits}), field) == fits
    beyond = [(0, 1, 1), (1, 1, 1 + (1 << 20))] if field == "volume" else [least - 1, most + 1]
    for number in beyond:
        with pytest.raises(UsageError, match=field.replace("_", " ")):
            checked(**{field: number})


def test_what_no_table_knows_is_refused_by_name():
    with pytest.raises(UnknownNameError, match="no scheme named 'centre'"):
        checked(scheme="centre")
    with pytest.raises(UnknownNameError, match="no dtype named 'float61'"):
        checked(dtype="float61")


@pytest.mark.parametrize("patch", [(8,), (8, 8, 8), (0, 8), (8, -1)])
def test_a_patch_is_two_positive_numbers(patch):
    with pytest.raises(UsageError, match="is not two positive numbers"):
        checked_options("center", None, None, 1, None, fold_normalization=False, patch_size=patch)
