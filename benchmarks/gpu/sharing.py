"""Kernels of several processes at once on a GPU, by NVIDIA's MPS, where its daemon is at hand.

Without it processes take turns: what a small network leaves of a GPU then stays idle.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

DAEMON = "nvidia-cuda-mps-control"
FIRST = "import torch; torch.ones(8, device='cuda').sum().item()"


@contextmanager
def mps() -> Iterator[bool]:
    """Processes that begin in the block share the GPU; whether they do, and else says why.

    The daemon needs no setting of the GPU, and ends with the block.
    """
    with ExitStack() as ends:
        lack = _start()
        if not lack:
            ends.callback(_quit)
            lack = _unused()
        if lack:
            print(f"without MPS: {lack}", flush=True)
            ends.close()
        yield not lack


def _start() -> str | None:
    """Start the daemon; why it does not run."""
    if shutil.which(DAEMON) is None:
        return f"there is no {DAEMON}"
    nothing = subprocess.DEVNULL  # it would keep pipes open for as long as it runs
    try:
        started = subprocess.run(
            [DAEMON, "-d"], stdin=nothing, stdout=nothing, stderr=nothing, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return "its daemon did not start within 30 s"
    return f"its daemon ended with {started.returncode}" if started.returncode else None


def _quit() -> None:
    """End the daemon, and within ten seconds what still uses it."""
    _ask("quit -t 10")


def _unused() -> str | None:
    """Why a process does not use the GPU through it."""
    try:
        done = subprocess.run([sys.executable, "-c", FIRST], check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return "a process that uses the GPU did not end within 60 s"
    if done.returncode != 0:
        return f"a process that uses the GPU ended with {done.returncode}"
    # One that cannot reach the daemon runs on without it, and no server begins.
    return None if _ask("get_server_list") else "processes go past its daemon, which has no server"


def _ask(what: str) -> str:
    """The daemon's answer; none where it does not answer."""
    with suppress(subprocess.TimeoutExpired):
        answer = subprocess.run(
            [DAEMON], input=f"{what}\n", stdout=subprocess.PIPE, text=True, timeout=60, check=False
        )
        return answer.stdout.strip() if answer.returncode == 0 else ""
    return ""
