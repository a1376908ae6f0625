"""What is decided before any tensor is read."""

from inflate_zoo.inflation.recipe import Options, make_recipe
from inflate_zoo.naming.understanding import Understood
from tests.support.recorded import case, plan_of


def test_the_patch_is_as_deep_as_high_unless_said_otherwise():
    plan = plan_of(case("vit_rectangular_patch"))
    recipe, _ = make_recipe(Options(), Understood(plan, {}, "", {}), None, None)
    assert recipe.patch_depth == 8  # patch 8 x 4, grid 4 x 8
    assert recipe.volume == (8, 32, 32)
