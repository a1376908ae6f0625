"""What holds for every test, and what many share; `tests.support.once` makes the rest once."""

import functools
import gc
import os
import signal

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import typer.testing
from hypothesis import settings

# What a shell starts in the background ignores it, and so would every command that is sent it here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The first call of torch is slow. What is tried by chance is the same in every run of the checks,
# so that none fails for what is not new; where there is time, others are tried each time.
settings.register_profile("tests", deadline=None, derandomize="INFLATE_ZOO_LONG" not in os.environ)
settings.load_profile("tests")

# Typer builds the whole command line anew for every call of it: more work than a small command.
typer.testing._get_command = functools.cache(typer.testing._get_command)

# What libraries hold stays, and would be gone through whenever garbage is looked for.
gc.disable()

LONGEST = ("tests/whole/", "tests/faults/")  # the folders whose files take longest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first: no process then waits for another that is left with one."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_collection_finish() -> None:
    """Look for garbage from here on, among what tests leave."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Two trials that differ in their seed, done: made once per process, not to be changed."""
    from inflate_zoo.bench.training.devices import Resources
    from inflate_zoo.bench.training.progress import Silent
    from inflate_zoo.bench.trials.running import run_trial
    from tests.support.trials import FROZEN, one_thread, tiny_run

    with one_thread():
        run = tiny_run(tmp_path_factory.mktemp("finished"), *FROZEN, seeds=2)
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
    return run
