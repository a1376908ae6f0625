from typing import get_args

import pytest
import torch

from inflate_zoo.inflation.recipe import Recipe
from inflate_zoo.inflation.roles import ROLES
from inflate_zoo.naming.definition import Role


@pytest.mark.parametrize("scheme", ["center", "average", "repeat"])
@pytest.mark.parametrize("side", [1, 3])
def test_a_necks_kernel_is_centred_whatever_the_scheme_and_as_deep_as_it_is_high(side, scheme):
    kernel = torch.randn(4, 5, side, side, dtype=torch.float16)
    made = ROLES["neck_kernel"].make([kernel], Recipe(scheme, 2, (2, 8, 8)))
    assert made.shape == (4, 5, side, side, side)
    assert made.dtype == torch.float16
    assert torch.equal(made[:, :, side // 2], kernel)
    assert int(made.count_nonzero()) == int(kernel.count_nonzero())


def test_every_role_that_a_definition_may_give_has_a_fate():
    assert set(ROLES) == {"copy", "stem_shift", *get_args(Role)}
