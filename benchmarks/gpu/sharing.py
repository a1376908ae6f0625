"""Kernels of several processes at once on a GPU, by NVIDIA's MPS, where its daemon is at hand.

Without it processes take turns: what a small network leaves of a GPU then stays idle.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DAEMON = "nvidia-cuda-mps-control"
FIRST = "import torch; torch.ones(8, device='cuda').sum().item()"


@contextmanager
def mps() -> Iterator[bool]:
    """Processes that begin in the block share the GPU; whether they do.

    The daemon needs no setting of the GPU, and ends with the block.
    """
    if not _start():
        yield False
        return
    try:
        yield True
    finally:
        _quit()


def _start() -> bool:
    """Start the daemon, unless no process could use the GPU through it."""
    if shutil.which(DAEMON) is None:
        return False
    if subprocess.run([DAEMON, "-d"], capture_output=True, check=False).returncode != 0:
        return False
    if not _works():
        _quit()
        return False
    return True


def _quit() -> None:
    subprocess.run([DAEMON], input="quit\n", text=True, timeout=60, check=False)


def _works() -> bool:
    """Whether a process can use the GPU through it."""
    try:
        done = subprocess.run([sys.executable, "-c", FIRST], check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
