"""What holds for every test; what many of them share is made by `tests.support`."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# No deadline: the first call of torch is slow. Few examples: a test that needs more says so.
settings.register_profile("inflate-zoo", deadline=None, max_examples=20)
settings.load_profile("inflate-zoo")
