"""A recorded file by its kind, for all tests of naming."""

import pytest

from tests.support.recorded import case


@pytest.fixture
def recorded(request):
    return case(request.param)
