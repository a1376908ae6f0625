"""A command that ends with the process that started it, however that ends.

Where a scheduler kills a task it kills the task's own process, and at most those that this one
started: what they started goes on, with the device and the trial. A tied command is asked to end
when its starter's end of a pipe closes, which no death can prevent, and is killed where it does not
end in time.

    starter ─ keeper ─ guard ─ command

The keeper only waits: a scheduler may kill what its task started, and then the guard still does
its work; and as it is the guard's parent, no ended process is left for anybody else to collect.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, NoReturn

from inflate_zoo import stops

_TO_PARENT_DEATH = 1  # PR_SET_PDEATHSIG, of Linux
_MARGIN = 5.0  # seconds that a guard may take beyond its command


class Tied:
    """A running command that ends with this process.

    Args:
        words: The command; what it prints goes to `log`.
        environment: Its environment.
        log: An open file.
        grace: Seconds between asking it to end and killing it.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], log: IO[bytes], grace: float
    ) -> None:
        self._grace = grace
        self._process = subprocess.Popen(  # noqa: S603 - the caller's own command
            [sys.executable, "-m", __name__, str(grace), *words],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=dict(environment),
            start_new_session=True,  # signals to this process's group are not for it
        )

    def poll(self) -> int | None:
        """Its exit code, above 128 where a signal ended it; `None` while it runs."""
        code = self._process.poll()
        if code is not None:
            self._close()  # a keeper that was killed left its guard, which then ends as well
        return 128 - code if code is not None and code < 0 else code

    def end(self) -> int:
        """Ask it to end, wait, and have it killed where it does not; gives its exit code."""
        self._close()
        until = time.monotonic() + self._grace + _MARGIN
        while (code := self.poll()) is None and time.monotonic() < until:
            time.sleep(0.05)
        if code is None:
            self._process.kill()
            code = 128 - self._process.wait()
        return code

    def _close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


def _main(words: Sequence[str]) -> NoReturn:
    grace, command = float(words[0]), words[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; it is the starter's
    # As the command's own start has it: one that comes before it listens stays pending.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops.SIGNALS)
    guard = os.fork()
    if guard:
        os.close(0)
        _, status = os.waitpid(guard, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(128 - code if code < 0 else code)
    os._exit(_guarded(command, grace))


def _guarded(command: Sequence[str], grace: float) -> int:
    """Run the command until it ends or standard input does."""
    process = subprocess.Popen(  # noqa: S603 - likewise
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    over, told = os.pipe()

    def wait() -> None:
        # Its number stays its own, and so does its group's, until it is collected below.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        os.close(told)

    threading.Thread(target=wait, daemon=True).start()
    ready, _, _ = select.select([0, over], [], [])
    if over not in ready:
        os.kill(process.pid, signal.SIGTERM)
        select.select([over], [], [], grace)
    with suppress(ProcessLookupError, PermissionError):  # macOS: nothing but what has ended
        os.killpg(process.pid, signal.SIGKILL)  # with what it started and left
    code = process.wait()
    return 128 - code if code < 0 else code


def _end_with_parent() -> None:
    """Should the guard itself be killed, the system asks the command to end."""
    ctypes.CDLL(None).prctl(_TO_PARENT_DEATH, int(signal.SIGTERM))


if __name__ == "__main__":
    _main(sys.argv[1:])
