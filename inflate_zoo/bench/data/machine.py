"""What this process may use of the machine: its cores and memory, control groups counted."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self")
_UNLIMITED = 1 << 60  # version 1 has no word for it, but a number near 2**63


def usable_cores() -> int:
    """Cores that this process may keep busy, by its affinity and its control groups."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    shares = [share for folder in _groups("cpu") if (share := _share(folder)) is not None]
    return max(1, int(min([cores, *shares])))


def memory_limit() -> int:
    """Bytes that this process may use where nothing else runs."""
    import psutil

    limits = [limit for folder in _groups("memory") if (limit := _limit(folder)) is not None]
    return min([int(psutil.virtual_memory().total), *limits])


def free_memory() -> int:
    """Bytes that this process may still use now; what the system only caches counts as free."""
    import psutil

    free = [room for folder in _groups("memory") if (room := _room(folder)) is not None]
    return max(0, min([int(psutil.virtual_memory().available), *free]))


def oom_kills() -> int:
    """How many processes the system has ended so far because memory ran out; 0 if it never says."""
    files = [Path("/proc/vmstat"), *(group / "memory.events" for group in _groups("memory"))]
    return sum(_field(file, "oom_kill") or 0 for file in files)


def processor_name() -> str | None:
    """The processor's model; `None` where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Hardware"):
                return value.strip() or None
    return platform.processor() or None


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, its own first, then those above."""
    with suppress(OSError, ValueError, IndexError):
        paths = dict(_memberships())
        for mount, root, controllers in _mounts():
            name = controller if controller in controllers else ""
            if name not in paths or (name == "" and controllers):
                continue
            path = PurePosixPath(paths[name])
            # A container may see its host's path, and mounted only what lies below it.
            inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath(".")
            folder = mount / inside
            yield from (each for each in (folder, *folder.parents) if each.is_relative_to(mount))


def _memberships() -> Iterator[tuple[str, str]]:
    """Controller to path; version 2 has one path and no controller's name."""
    for line in (_PROC / "cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        yield from ((controller, path) for controller in controllers.split(","))


def _mounts() -> Iterator[tuple[Path, str, frozenset[str]]]:
    """Where control groups are mounted, from which of them on, and which controllers."""
    for line in (_PROC / "mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        _, _, _, root, mount, *_ = before.split(" ")
        if kind == "cgroup2":
            yield Path(mount), root, frozenset()
        elif kind == "cgroup":
            yield Path(mount), root, frozenset(options.split(","))


def _share(folder: Path) -> float | None:
    """Cores of a group; `None` for all."""
    words = (_text(folder / "cpu.max") or "").split()
    if not words:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        words = [quota or "", period or ""]
    if len(words) != 2 or not all(word.isdecimal() for word in words) or not int(words[1]):
        return None  # "max", or -1
    return int(words[0]) / int(words[1])


def _limit(folder: Path) -> int | None:
    """Bytes of a group; `None` for all."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        text = _text(folder / name)
        if text is not None and text.isdecimal():
            return int(text) if int(text) < _UNLIMITED else None
    return None


def _room(folder: Path) -> int | None:
    """Bytes of a group that are not in use, cached files aside; `None` where it has no limit."""
    limit = _limit(folder)
    if limit is None:
        return None
    used = next(filter(None, map(_text, (folder / "memory.current",
                                         folder / "memory.usage_in_bytes"))), "0")  # fmt: skip
    cached = _field(folder / "memory.stat", "total_inactive_file")
    if cached is None:
        cached = _field(folder / "memory.stat", "inactive_file") or 0
    return limit - int(used) + cached


def _field(file: Path, name: str) -> int | None:
    for line in (_text(file) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
