from typing import get_args

from inflate_zoo.inflation.roles import ROLES
from inflate_zoo.naming.definition import Role


def test_every_role_that_a_definition_may_give_has_a_fate():
    assert set(ROLES) == {"copy", *get_args(Role)}
