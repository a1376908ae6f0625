"""Processes to run a command in, forked off one that has imported the libraries already.

To start Python and import torch, MONAI and transformers costs seconds of a core, each time.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent

# Not for a command whose environment is read when a library is imported, as the Hub's is.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "accelerate",
        "inflate_zoo.cli.app",
        "inflate_zoo.cli.bench.run",
        "inflate_zoo.bench.report.writing",
        "inflate_zoo.bench.scoring.evaluation",
        "inflate_zoo.bench.training.trainer",
        "inflate_zoo.bench.trials.attempt",
        "inflate_zoo.bench.trials.planning",
        "inflate_zoo.bench.engines.here",
        "monai.networks.nets",
    ]
)


class Child:
    """A running command of its own process, as `subprocess.Popen` shows one."""

    def __init__(
        self,
        words: Sequence[object],
        cwd: Path,
        outputs: Path,
        env: Mapping[str, str] | None = None,
        before: str = "",
    ) -> None:
        """Start it.

        Args:
            words: What follows `inflate-zoo`.
            cwd: Its working folder.
            outputs: An empty folder for what it prints.
            env: Changes of the environment.
            before: Python to run first, at any indentation.
        """
        outputs.mkdir(parents=True, exist_ok=True)
        self._files = [outputs / "stdout", outputs / "stderr"]
        arguments = (list(map(str, words)), str(cwd), dict(env or {}), dedent(before), self._files)
        self._process = _SERVER.Process(target=_run, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, below zero for a signal; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def wait(self, timeout: float) -> tuple[int, str, str]:
        """Exit code, stdout and stderr.

        Raises:
            TimeoutError: It was still running, and was killed.
        """
        self._process.join(timeout)
        if (code := self.poll()) is None:
            self.kill()
            raise TimeoutError(f"still running after {timeout} s: {self.printed()}")
        return code, *self.printed()

    def printed(self) -> tuple[str, str]:
        """Standard output and standard error so far."""
        out, err = (path.read_text() if path.exists() else "" for path in self._files)
        return out, err


def _run(words: list[str], cwd: str, env: dict[str, str], before: str, files: list[Path]) -> None:
    import torch

    from inflate_zoo.cli.app import main

    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Blocked where trials began the server, see `processes.get_ready`.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    torch.set_num_threads(1)
    os.environ.update({"OMP_NUM_THREADS": "1", **env})
    os.chdir(cwd)
    sys.argv = ["inflate-zoo", *words]
    exec(compile(before, "<before>", "exec"), {"os": os})
    main()
