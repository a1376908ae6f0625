"""`python -m tests.fuzz --seconds 60 --seed 0`: spoilt inputs for every parser.

Nothing but our own errors may leave a reader, in at most ten lines without the folder's path; none
may take more than two seconds of a processor or 300 MB. Each parser runs in a process of its own,
and input number N of a seed is always the same: `--parser pickles --first N --count 1` shows it.
"""

import argparse
import json
import logging
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

from tests.fuzz.parsers import PARSERS, Parser

SECONDS, MEGABYTES = 2.0, 300
MOST_CPU, PATIENCE = 15.0, 180.0  # seconds of a processor, and of a machine that others use too


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60, help="for all parsers together")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--parser", action="append", choices=[p.name for p in PARSERS])
    options.add_argument("--skip", action="append", default=[], choices=[p.name for p in PARSERS])
    options.add_argument("--first", type=int, default=0, help="number of the first input")
    options.add_argument("--count", type=int, default=1 << 60, help="inputs of each parser at most")
    chosen = options.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    _import()
    parsers = [
        p for p in PARSERS if p.name in (chosen.parser or [p.name]) and p.name not in chosen.skip
    ]
    total = sum(parser.share for parser in parsers)
    executed, failed = 0, 0
    for parser in parsers:
        seconds = chosen.seconds * parser.share / total
        count, findings = _fuzz(parser, chosen.seed, seconds, chosen.first, chosen.count)
        print(f"{parser.name:<20}{count:>9} executions {len(findings):>4} findings", flush=True)
        for what, (times, first) in sorted(findings.items()):
            print(f"  {what} ({times} times, first input {first})", flush=True)
        executed, failed = executed + count, failed + len(findings)
    print(f"{'all':<20}{executed:>9} executions {failed:>4} findings", flush=True)
    return 1 if failed else 0


def _import() -> None:
    """What readers import when they run is no part of what an input costs."""
    import nibabel
    import timm
    import torch
    import transformers

    import inflate_zoo
    from inflate_zoo.bench.arms import making as arms
    from inflate_zoo.bench.data import layouts, volumes
    from inflate_zoo.bench.definitions import catalog
    from inflate_zoo.bench.definitions import trial_folder as records
    from inflate_zoo.bench.report import collect
    from inflate_zoo.bench.report.drawings import overlays
    from inflate_zoo.conversion import inspection
    from inflate_zoo.files import archives
    from inflate_zoo.registry import loading, parcels
    from inflate_zoo.registry import obtaining as registry

    torch.set_num_threads(1)
    del nibabel, timm, transformers, inflate_zoo, inspection, loading, parcels, registry, archives
    del arms, catalog, layouts, records, volumes, collect, overlays


def _fuzz(parser: Parser, seed: int, seconds: float, first: int, most: int):
    """Executions, and findings with how often and at which input first."""
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    state = mmap.mmap(-1, 24)  # number of the input being read, since when, and CPU time then
    findings: dict[str, tuple[int, int]] = {}
    end, number = time.monotonic() + seconds, first
    try:
        while time.monotonic() < end and number < first + most:
            reader, writer = os.pipe()
            if (child := os.fork()) == 0:
                os.close(reader)
                _child(parser, seed, home, (number, first + most), end, state, writer)
            os.close(writer)
            killed = _wait(child, state)
            with os.fdopen(reader) as told:
                lines = [json.loads(line) for line in told]
            number, _, _ = struct.unpack("qdd", state)
            if killed:
                lines.append([killed, number])
            number += 1
            for what, at in lines:
                times, earliest = findings.get(what, (0, at))
                findings[what] = (times + 1, earliest)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return number - first, findings


def _wait(child: int, state: mmap.mmap) -> str:
    """Wait for a child; why it did not end by itself."""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            if os.WIFSIGNALED(status):
                return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
            return "" if status == 0 else "the harness failed"
        _, since, used = struct.unpack("qdd", state)
        waited = since and time.monotonic() - since
        if waited > PATIENCE or (since and waited > MOST_CPU and _cpu(child) - used > MOST_CPU):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"hangs: more than {MOST_CPU:.0f} s of a processor"
        time.sleep(0.05)


def _cpu(pid: int) -> float:
    """Seconds of a processor that a process used; 0 where that cannot be told."""
    path = Path(f"/proc/{pid}/stat")
    fields = path.read_text().rpartition(")")[2].split() if path.exists() else ["0"] * 14
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _child(parser, seed, home, numbers, end, state, writer) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    code = 1
    try:
        used = Path("/proc/self/statm").read_text().split()[0] if sys.platform == "linux" else "0"
        if int(used):  # a bomb shall not take the machine along
            most = int(used) * mmap.PAGESIZE + (4 << 30)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        struct.pack_into("qdd", state, 0, numbers[0], 0.0, 0.0)
        _one(parser, Random(0), home)  # what a first call alone costs
        for number in range(*numbers):
            struct.pack_into("qdd", state, 0, number, time.monotonic(), time.process_time())
            what = _one(parser, Random(f"{seed} {parser.name} {number}"), home)
            if what:
                os.write(writer, json.dumps([what, number]).encode() + b"\n")
            if time.monotonic() > end or what.startswith(
                "took"
            ):  # memory once had is not given back
                break
        code = 0
    except BaseException:  # noqa: BLE001 - told, and the harness fails
        traceback.print_exc()
    finally:
        os._exit(code)


def _one(parser: Parser, random: Random, home: Path) -> str:
    """Read one spoilt input; what is wrong, or nothing."""
    from inflate_zoo.errors import InflateZooError

    folder = home / "work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    what = ""
    try:
        parser.run(folder, random)
    except InflateZooError as error:
        lines = error.lines()
        whole = 2 <= len(lines) <= 10 and all(line.isprintable() for line in lines)
        if not whole or str(home) in "".join(lines) or not error.hint:
            what = f"a message that is none: {lines!r}"[:300]
        if isinstance(error.__cause__, MemoryError):
            what = f"asked for more memory than there is: {lines[0]}"
    except BaseException as error:  # noqa: BLE001 - whatever it is
        frames = traceback.extract_tb(error.__traceback__)
        places = [frame for frame in frames if "/inflate_zoo/" in frame.filename]
        place = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "the harness"
        what = f"{type(error).__name__} at {place}: {str(error)[:120]!r}"
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    seconds = time.process_time() - began
    if seconds > SECONDS:
        what = f"took more than {SECONDS:.0f} s; {what}"
    if used > MEGABYTES:
        what = f"took more than {MEGABYTES} MB; {what}"
    return what


if __name__ == "__main__":
    sys.exit(main())
