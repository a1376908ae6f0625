"""What a Ray cluster's nodes run: a look at what is there, and trials in processes of their own.

Nothing here needs Ray; tests call it directly.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.bench.data.machine import oom_kills
from inflate_zoo.bench.definitions.trial_folder import FAILURE, TrialFolder
from inflate_zoo.bench.engines.tether import Tied

GRACE_SECONDS = 20.0  # between asking a trial to save and leave, and killing it
LOOK_SECONDS = 300.0  # the first import of torch from a shared disk may take minutes
REFUSED = 2  # exit code of a command that cannot begin
_POLL_SECONDS = 0.2
_TAIL_LINES, _TAIL_BYTES = 5, 4000
_VISIBLE = "CUDA_VISIBLE_DEVICES"

_looked: dict[Check, Sight] = {}  # by this process


@dataclass(frozen=True, slots=True)
class Check:
    """What a node must have.

    Attributes:
        out: The run folder.
        token: Name of a file that was just written there.
        words: The rest of the command that looks more closely, behind `inflate-zoo`.
        threads: Of a trial.
    """

    out: str
    token: str
    words: tuple[str, ...]
    threads: int


@dataclass(frozen=True, slots=True)
class Sight:
    """What was found on a node.

    Attributes:
        host: Its name.
        lacks: Why it cannot take trials, in lines; empty if it can.
    """

    host: str
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """What a task is to do.

    Attributes:
        trials: Folders, each with the moment from which on a failure counts, as it would fail here
            as well; in seconds since 1970.
        words: Options of `bench-trial`.
        log: What it prints is added to this file.
        check: What the node must have, unless it was looked at before.
        known: Nodes that were.
    """

    trials: tuple[tuple[str, float], ...]
    words: tuple[str, ...]
    log: str
    check: Check
    known: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task ended.

    Attributes:
        host: Where.
        code: The exit code of its command.
        tail: The last lines of what that printed.
        memory: Whether the system ended it because memory ran out.
    """

    host: str
    code: int
    tail: tuple[str, ...] = ()
    memory: bool = False


def look(check: Check) -> Sight:
    """Whether this node can take trials; looked up once by each process."""
    if check not in _looked:
        _looked[check] = Sight(socket.gethostname(), _lacks(check))
    return _looked[check]


def _lacks(check: Check) -> tuple[str, ...]:
    token = Path(check.out) / check.token
    if not token.exists():
        there = "has another folder there" if token.parent.is_dir() else "does not have it"
        return (f"the run folder is not shared: this node {there}",)
    command, environment = _command(check.words), _environment(check.threads)
    if environment.get(_VISIBLE) == "":  # as Ray has it for what takes no GPU
        del environment[_VISIBLE]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, env=environment, timeout=LOOK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return (f"'{' '.join(check.words[:1])}' did not answer within {LOOK_SECONDS:.0f} s",)
    if not done.returncode:
        return ()
    return _last_lines(done.stderr) or (f"the look at it ended with code {done.returncode}",)


def run(order: Order) -> Ending | Sight:
    """Run the trials of a task, those that are over aside; a node that lacks something says so."""
    if _node() not in order.known and (seen := look(order.check)).lacks:
        return seen
    host = socket.gethostname()
    folders = [folder for folder, since in order.trials if not _over(Path(folder), since)]
    if not folders:
        return Ending(host, 0)
    log, kills = Path(order.log), oom_kills()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        began = stream.tell()
        command = _command(("bench-trial", *folders, *order.words))
        child = Tied(command, _environment(order.check.threads), stream, GRACE_SECONDS)
        try:
            while (code := child.poll()) is None:
                time.sleep(_POLL_SECONDS)
        finally:  # Ray was asked to cancel the task
            child.end()
    with log.open("rb") as stream:
        stream.seek(max(began, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
        tail = _last_lines(stream.read())
    return Ending(host, code, tail, memory=code == 128 + 9 and oom_kills() > kills)


def _over(folder: Path, since: float) -> bool:
    """Whether a trial is done, or failed meanwhile."""
    if TrialFolder(folder).done:
        return True
    with suppress(OSError):
        return (folder / FAILURE).stat().st_mtime > since
    return False


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "inflate_zoo", *words]


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


def _last_lines(content: bytes) -> tuple[str, ...]:
    lines = content.decode(errors="replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())[-_TAIL_LINES:]


def _node() -> str:
    """Ray's name of this node."""
    import ray

    return str(ray.get_runtime_context().get_node_id())
