"""Faults while writing: the target is old or whole, and a second run succeeds."""

import errno
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import inflate_zoo
from inflate_zoo.cli.app import app
from inflate_zoo.errors import UsageError
from inflate_zoo.files.writing import staging
from tests.support.checkpoints import save_transformers

OURS = {"model.safetensors", "config.json", "README.md", "conversion.json"}
OLD, NEW = "average", "center"


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked child must not wait for threads it does not have
    folder = tmp_path_factory.mktemp("vit") / "vit"
    yield save_transformers("vit", folder, num_hidden_layers=1, hidden_size=12)
    torch.set_num_threads(threads)


def convert(vit: Path, out: Path, *, scheme: str = NEW, force: bool = False) -> int:
    args = ["convert", str(vit), "--out", str(out), "--scheme", scheme, "--no-verify"]
    got = CliRunner().invoke(app, [*args, *(["--force"] if force else [])])
    lines = got.stderr.splitlines()
    assert len(lines) <= 10
    if got.exit_code == 1:
        assert lines[-2].startswith("error: cannot write") or "half-way" in lines[-2], got.stderr
    for leak in ("Traceback", "this is a bug", str(out.parent)):
        assert leak not in got.stderr, got.stderr
    return got.exit_code


def whole(out: Path) -> str | None:
    """The scheme of a whole conversion; `None` where there is none."""
    if not out.exists() or not any(out.iterdir()):
        return None
    assert {path.name for path in out.iterdir()} - {"note"} == OURS
    record = json.loads((out / "conversion.json").read_text())
    for name, entry in record["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == entry["sha256"], name
    return str(record["recipe"]["scheme"])


def old_conversion(vit: Path, home: Path, out: Path) -> None:
    assert convert(vit, out, scheme=OLD) == 0
    (out / "note").write_text("mine")


class Faults:
    """Counts the operations that write below a folder, and does something at the N-th."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.count, self.at, self.act = 0, 0, lambda: None
        self.forever = False
        self.home = str(home)
        monkeypatch.setattr(Path, "open", self._opening(Path.open))
        monkeypatch.setattr(tempfile, "mkdtemp", self._counted(tempfile.mkdtemp))
        for name in ("rename", "replace", "mkdir", "rmdir", "chmod"):
            monkeypatch.setattr(Path, name, self._counted(getattr(Path, name)))

    def arm(self, at: int, act: Callable[[], Any], *, forever: bool = False) -> None:
        self.count, self.at, self.act, self.forever = 0, at, act, forever

    def step(self) -> None:
        self.count += 1
        if self.count == self.at or (self.forever and 0 < self.at < self.count):
            self.act()

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if self.home in f"{args}{kwargs}":
                self.step()
            return function(*args, **kwargs)

        return run

    def _opening(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if "w" not in mode or self.home not in str(path):
                return function(path, mode, *args, **kwargs)
            self.step()
            file = function(path, mode, *args, **kwargs)
            return _Writes(file, self.step)

        return run


class _Writes:
    """A file whose writes are counted."""

    def __init__(self, file: Any, step: Callable[[], None]) -> None:
        self.file, self.step = file, step

    def __enter__(self) -> "_Writes":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        self.file.write(data[: len(data) // 2])  # a part gets through
        self.step()
        return int(self.file.write(data[len(data) // 2 :]))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch, home: Path, vit: Path) -> Faults:
    return Faults(monkeypatch, home)


def fail(code: int) -> Callable[[], None]:
    def act() -> None:
        raise OSError(code, os.strerror(code), "/somewhere/secret")

    return act


def no_temporary_file(home: Path) -> None:
    assert not [path for path in home.rglob("*") if path.name.endswith(".partial")]
    assert not list(home.rglob(staging.MARKER))


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_an_error_at_any_operation_leaves_nothing(
    vit: Path, home: Path, faults: Faults, code: int, forever: bool
) -> None:
    for at in range(1, 200):
        out = home / "deep" / str(at)
        faults.arm(at, fail(code), forever=forever)
        got = convert(vit, out)
        reached, faults.at = faults.count >= at, 0
        if got == 0:
            assert whole(out) == NEW
        else:
            assert got == 1
            # While everything fails, empty folders above the target cannot be removed either.
            assert not out.exists()
            assert forever or not (home / "deep").exists() or any((home / "deep").iterdir())
            assert convert(vit, out) == 0
            assert whole(out) == NEW
        no_temporary_file(home)
        if not reached:
            return
    raise AssertionError("no end of operations")


@pytest.mark.parametrize("forever", [False, True])
def test_an_error_at_any_operation_keeps_the_old_conversion(
    vit: Path, home: Path, faults: Faults, forever: bool
) -> None:
    out = home / "out"
    old_conversion(vit, home, out)
    for at in range(1, 200):
        faults.arm(at, fail(errno.ENOSPC), forever=forever)
        got = convert(vit, out, force=True)
        reached, faults.at = faults.count >= at, 0
        assert got in ((0, 1) if reached else (0,))  # an error beside the folder is got over
        assert (out / "note").read_text() == "mine"
        if forever and (out / staging.MARKER).exists():
            with pytest.raises(UsageError, match="two conversions"):
                inflate_zoo.load(out)
        else:
            assert whole(out) == (OLD if got else NEW)
            no_temporary_file(home)
        if not reached:
            return
        assert convert(vit, out, scheme=OLD, force=True) == 0
        assert whole(out) == OLD
        no_temporary_file(home)
    raise AssertionError("no end of operations")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def start(work: Callable[[], int]) -> int:
    """Run in a forked child, whose exit code is the result."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            code = work()
        finally:
            os._exit(code)
    return child


def end(child: int) -> int:
    """Its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_kill_at_any_operation_of_a_new_conversion(vit: Path, home: Path, faults: Faults) -> None:
    assert convert(vit, home / "warm") == 0
    for at in range(1, 200):
        out = home / str(at)
        faults.arm(at, kill)
        lived = end(start(functools.partial(convert, vit, out))) == 0
        faults.at = 0
        assert whole(out) == (NEW if lived else None)
        if lived:
            no_temporary_file(home)
            return
        assert convert(vit, out) == 0
        assert whole(out) == NEW
        no_temporary_file(home)
    raise AssertionError("no end of operations")


def test_kill_at_any_operation_of_a_replacement(vit: Path, home: Path, faults: Faults) -> None:
    out = home / "out"
    old_conversion(vit, home, out)
    marked = 0
    for at in range(1, 200):
        faults.arm(at, kill)
        lived = end(start(lambda: convert(vit, out, force=True))) == 0
        faults.at = 0
        if (out / staging.MARKER).exists():
            marked += 1
            with pytest.raises(UsageError, match="two conversions"):
                inflate_zoo.load(out)
        else:
            assert whole(out) == (NEW if lived else OLD)
        if lived:
            no_temporary_file(home)
            assert marked == 9  # before each of the two renames of four files, and the end
            return
        assert convert(vit, out, force=True) == 0
        assert whole(out) == NEW
        assert (out / "note").read_text() == "mine"
        no_temporary_file(home)
        assert convert(vit, out, scheme=OLD, force=True) == 0
    raise AssertionError("no end of operations")


def test_an_interruption_at_any_operation_is_undone(vit: Path, home: Path, faults: Faults) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    out = home / "out"
    old_conversion(vit, home, out)
    for at in range(1, 200):
        faults.arm(at, interrupt)
        got = convert(vit, out, force=True)
        reached, faults.at = faults.count >= at, 0
        assert got == (130 if reached else 0)
        assert whole(out) == (OLD if reached else NEW)
        no_temporary_file(home)
        if not reached:
            return
    raise AssertionError("no end of operations")


# The writer sleeps at its first tensor until the signal comes.
SLOW = """
import signal, sys, time
from pathlib import Path
from inflate_zoo.cli import app as cli; from inflate_zoo.conversion import converting as conversion
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit ignoring it
ready = Path(sys.argv.pop())
def pause(*_):
    ready.touch()
    time.sleep(30)
conversion._require_finite = pause
cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing(
    vit: Path, home: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    ready = tmp_path / "ready"
    args = ["convert", str(vit), "--out", str(home / "a" / "out"), "--no-verify"]
    command = [sys.executable, "-c", SLOW, *args, str(ready)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(home.rglob("*.partial"))
        child.send_signal(number)
        errors = child.communicate(timeout=30)[1]
    finally:
        child.kill()
    assert child.returncode == code
    assert "Traceback" not in errors
    assert not list(home.iterdir())
    assert convert(vit, home / "a" / "out") == 0


def both(vit: Path, out: Path, *, force: bool) -> dict[str, int]:
    """Exit codes of two conversions at once, by scheme."""
    children = {
        scheme: start(functools.partial(convert, vit, out, scheme=scheme, force=force))
        for scheme in (OLD, NEW)
    }
    return {scheme: end(child) for scheme, child in children.items()}


def test_two_writers_of_one_new_folder_never_mix(vit: Path, home: Path) -> None:
    for number in range(6):
        codes = both(vit, home / str(number), force=False)
        assert sorted(codes.values()) == [0, 2]
        winner = whole(home / str(number))
        assert winner is not None
        assert codes[winner] == 0
        no_temporary_file(home)


def test_two_replacements_of_one_folder_never_mix(vit: Path, home: Path) -> None:
    out = home / "out"
    old_conversion(vit, home, out)
    for _ in range(4):
        assert set(both(vit, out, force=True).values()) == {0}
        assert whole(out) in (OLD, NEW)
        no_temporary_file(home)


@pytest.fixture
def walled(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """A folder as a mount point is: no rename leads into it, out of it, or to its place."""
    out, rename = home / "out", Path.rename
    out.mkdir()

    def refuse(path: Path, target: Path) -> Path:
        if path.is_relative_to(out) != Path(target).is_relative_to(out) or out in (path, target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(staging, "_mount", lambda folder: folder.is_relative_to(out))
    return out


def publishing(vit: Path, out: Path, faults: Faults) -> range:
    """The numbers of the last operations of a conversion; what comes before is like elsewhere."""
    faults.arm(0, kill)
    assert convert(vit, out) == 0
    empty(out)
    return range(faults.count - 20, faults.count + 2)


def empty(out: Path) -> None:
    for path in out.iterdir():
        path.unlink()


def test_an_error_at_any_operation_inside_a_mount_point(
    vit: Path, walled: Path, faults: Faults
) -> None:
    for at in publishing(vit, walled, faults):
        faults.arm(at, fail(errno.ENOSPC))
        got = convert(vit, walled)
        assert got == (1 if faults.count >= at else 0)
        faults.at = 0
        assert whole(walled) == (None if got else NEW)
        no_temporary_file(walled.parent)
        empty(walled)
    assert got == 0


def test_kill_at_any_operation_inside_a_mount_point(
    vit: Path, walled: Path, faults: Faults
) -> None:
    marked = 0
    for at in publishing(vit, walled, faults):
        faults.arm(at, kill)
        lived = end(start(functools.partial(convert, vit, walled))) == 0
        faults.at = 0
        if (walled / staging.MARKER).exists():
            marked += 1
            with pytest.raises(UsageError, match="two conversions"):
                inflate_zoo.load(walled)
        if not lived:
            assert convert(vit, walled) == 0
        assert whole(walled) == NEW
        no_temporary_file(walled.parent)
        empty(walled)
    assert lived
    assert marked == 9


@pytest.fixture(params=["tmpfs", "bind"])
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on which another file system, or another folder of this one, is mounted."""
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    how = ["--bind", other] if request.param == "bind" else ["-t", "tmpfs", "tmpfs"]
    if (
        not shutil.which("mount")
        or subprocess.run(["mount", *how, out], capture_output=True).returncode
    ):
        pytest.skip("this process may not mount")
    yield out
    subprocess.run(["umount", out], check=True)


def test_a_mount_point_is_filled_and_filled_anew(vit: Path, mounted: Path) -> None:
    assert convert(vit, mounted) == 0
    assert whole(mounted) == NEW
    assert convert(vit, mounted, scheme=OLD) == 2
    assert convert(vit, mounted, scheme=OLD, force=True) == 0
    assert whole(mounted) == OLD
    no_temporary_file(mounted.parent)


def test_an_own_folder_in_one_that_may_not_be_written(
    vit: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, make = home / "mine", tempfile.mkdtemp
    out.mkdir()

    def refuse(**words: Any) -> str:
        if Path(words["dir"]) == home:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return make(**words)

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert convert(vit, out) == 0
    assert convert(vit, out, scheme=OLD, force=True) == 0
    assert whole(out) == OLD
    no_temporary_file(home)


def test_a_conversion_is_on_the_disk_before_and_after_its_rename(
    vit: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(staging, "sync", lambda path: told.append(path.name))
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda *a: (told.append("rename"), rename(*a))[1])
    assert convert(vit, home / "out") == 0
    assert set(told[:4]) == OURS
    assert told[4].endswith(".partial")
    assert told[5:] == ["rename", "home"]


def test_a_read_only_folder_is_told(vit: Path, home: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere; EROFS is injected above instead")
    home.chmod(0o555)
    try:
        assert convert(vit, home / "out") == 1
    finally:
        home.chmod(0o755)
    assert not list(home.iterdir())


def test_names_that_are_patterns_or_long_are_cleaned_up(vit: Path, home: Path) -> None:
    for name in ("[ab]*?", "n" * 255, "größe"):
        stale = Path(
            tempfile.mkdtemp(suffix=".partial", prefix=staging._stage_start(Path(name)), dir=home)
        )
        other = home / ".a.x.partial"  # a pattern taken literally would fit it
        other.mkdir(exist_ok=True)
        assert convert(vit, home / name) == 0
        assert not stale.exists()
        assert other.exists()


def test_file_systems_without_locks_are_written_too(
    vit: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    assert convert(vit, home / "out") == 0
    assert convert(vit, home / "out", force=True) == 0
    assert whole(home / "out") == NEW
    no_temporary_file(home)
