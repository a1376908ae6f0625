"""Cores and memory of this process, whatever limits them."""

import os
import re
import sys
from pathlib import Path

import psutil
import pytest

from inflate_zoo.bench.data import machine

GB = 1 << 30


def test_this_machine_says_something_sensible():
    assert 1 <= machine.usable_cores() <= (os.cpu_count() or 1)
    assert 0 < machine.free_memory() <= psutil.virtual_memory().total
    assert 0 < machine.memory_limit() <= psutil.virtual_memory().total
    assert machine.oom_kills() >= 0
    if sys.platform == "linux":
        assert machine.processor_name()


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Make control groups in a folder: mounts, memberships and files by path."""
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def make(mounts, memberships, files):
        lines = [
            f"{n} 1 0:{n} {root} {tmp_path / mount} rw - {kind} {kind} {options}"
            for n, (mount, root, kind, options) in enumerate(mounts)
        ]
        (tmp_path / "mountinfo").write_text("\n".join(lines))
        (tmp_path / "cgroup").write_text("\n".join(memberships))
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return make


def available(monkeypatch, free=20 * GB, total=24 * GB):
    memory = type("Memory", (), {"available": free, "total": total})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


TWO = [("g", "/", "cgroup2", "rw")]


@pytest.mark.parametrize(
    "files, cores",
    [
        ({"g/a/b/cpu.max": "max 100000"}, 8),
        ({"g/a/b/cpu.max": "250000 100000"}, 2),
        ({"g/a/b/cpu.max": "50000 100000"}, 1),
        ({"g/a/b/cpu.max": "max 100000", "g/a/cpu.max": "300000 100000"}, 3),
        ({"g/a/b/cpu.max": "800000 100000", "g/cpu.max": "100000 100000"}, 1),
        ({"g/a/b/cpu.max": "1600000 100000"}, 8),
        ({"g/a/b/cpu.max": "what"}, 8),
        ({}, 8),
    ],
)
def test_cores_of_version_two(group, files, cores):
    group(TWO, ["0::/a/b"], files)
    assert machine.usable_cores() == cores


def test_cores_of_version_one(group):
    mounts = [
        ("cpu", "/", "cgroup", "rw,cpu,cpuacct"), ("mem", "/", "cgroup", "rw,memory"),
        ("unified", "/", "cgroup2", "rw"),
    ]  # fmt: skip
    files = {"cpu/x/cpu.cfs_quota_us": "200000", "cpu/x/cpu.cfs_period_us": "100000",
             "unified/cpu.max": "300000 100000", "mem/x/cpu.cfs_quota_us": "1"}  # fmt: skip
    group(mounts, ["3:cpu,cpuacct:/x", "2:memory:/x", "0::/"], files)
    assert machine.usable_cores() == 2
    group(mounts, ["3:cpu,cpuacct:/x", "2:memory:/x"], {"cpu/x/cpu.cfs_quota_us": "-1"})
    assert machine.usable_cores() == 8


def test_memory_of_version_two(group, monkeypatch):
    available(monkeypatch)
    stat = f"anon 5\ninactive_file {GB}\n"
    files = {"g/a/memory.max": str(8 * GB), "g/a/memory.current": str(5 * GB),
             "g/a/memory.stat": stat, "g/memory.max": "max",
             "g/a/memory.events": "oom 3\noom_kill 2\n"}  # fmt: skip
    group(TWO, ["0::/a"], files)
    assert machine.memory_limit() == 8 * GB
    assert machine.free_memory() == 4 * GB
    before = machine.oom_kills()
    group(TWO, ["0::/a"], {"g/a/memory.events": "oom 3\noom_kill 3\n"})
    assert machine.oom_kills() == before + 1
    available(monkeypatch, free=2 * GB)
    assert machine.free_memory() == 2 * GB
    group(TWO, ["0::/a"], {"g/a/memory.current": str(10 * GB)})
    assert machine.free_memory() == 0


def test_memory_of_version_one_in_a_container_that_sees_its_hosts_path(group, monkeypatch):
    available(monkeypatch)
    mounts = [("mem", "/docker/1", "cgroup", "rw,memory")]
    files = {"mem/memory.limit_in_bytes": str(6 * GB), "mem/memory.usage_in_bytes": str(3 * GB),
             "mem/memory.stat": f"inactive_file 1\ntotal_inactive_file {GB}\n"}  # fmt: skip
    group(mounts, ["4:memory:/docker/1"], files)
    assert (machine.memory_limit(), machine.free_memory()) == (6 * GB, 4 * GB)
    group(mounts, ["4:memory:/elsewhere"], files)
    assert machine.memory_limit() == 6 * GB
    group(mounts, ["4:memory:/docker/1"], {"mem/memory.limit_in_bytes": str(2**63 - 4096)})
    assert (machine.memory_limit(), machine.free_memory()) == (24 * GB, 20 * GB)


def test_a_system_without_control_groups(tmp_path, monkeypatch):
    available(monkeypatch)
    monkeypatch.setattr(machine, "_PROC", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.usable_cores() == os.cpu_count()
    assert (machine.memory_limit(), machine.free_memory()) == (24 * GB, 20 * GB)


def test_a_processor_that_is_not_told_is_none(monkeypatch):
    real = Path.read_text

    def unknown(self, **words):
        text = real(self, **words)
        return re.sub(r"model name.*", "", text) if str(self) == "/proc/cpuinfo" else text

    monkeypatch.setattr(Path, "read_text", unknown)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    assert machine.processor_name() is None
