"""What is decided before any tensor is read."""

import pytest

from inflate_zoo.errors import UsageError
from inflate_zoo.inflation.recipe import (
    Options,
    backbone_config,
    checked_options,
    form_with_patch,
    make_recipe,
)
from inflate_zoo.naming.understanding import Understood
from tests.support.recorded import case, plan_of


def test_the_patch_is_as_deep_as_high_unless_said_otherwise():
    plan = plan_of(case("vit_rectangular_patch"))
    recipe, _ = make_recipe(Options(), Understood(plan, {}, "", {}), None, None)
    assert recipe.patch_depth == 8  # patch 8 x 4, grid 4 x 8
    assert recipe.volume == (8, 32, 32)


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


@pytest.mark.parametrize("kind", ["swin", "swinv2"])
def test_a_stem_that_takes_no_other_patch_is_refused_by_name(kind):
    plan = plan_of(case(kind))
    why = f"the patch of network '{kind}' stays 4x4: its stages count"
    with pytest.raises(UsageError, match=why):
        form_with_patch(plan, (8, 8))
    assert form_with_patch(plan, (4, 4)) is plan.architecture


@pytest.mark.parametrize("patch", [(8,), (8, 8, 8), (0, 8), (8, -1)])
def test_a_patch_is_two_positive_numbers(patch):
    with pytest.raises(UsageError, match="is not two positive numbers"):
        checked_options("center", None, None, 1, None, fold_normalization=False, patch_size=patch)
