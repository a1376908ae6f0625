"""What holds for every test; what many of them share is made by `tests.support`."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("tests", deadline=None)  # the first call of torch is slow
settings.load_profile("tests")
