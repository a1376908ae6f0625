"""What holds for every test."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")
