"""What tests are marked with in several files."""

import os

import pytest

takes_minutes = pytest.mark.skipif(
    "INFLATE_ZOO_LONG" not in os.environ, reason="takes minutes: .ci/long"
)
