"""Sources of the ranking, by whatever name they are given."""

import pytest

from inflate_zoo.bench.arms.sources import find_any
from inflate_zoo.errors import UsageError


@pytest.mark.parametrize(
    "source, meant",
    [("randm", "random"), ("Random", "random"), ("builtin-dino", "builtin/dino"),
     ("builtin/dnio", "builtin/dino")],
)  # fmt: skip
def test_a_misspelt_source_is_answered_without_the_hub(source, meant):
    with pytest.raises(UsageError) as caught:
        find_any(source)
    assert caught.value.hint == f"did you mean '{meant}'?"
