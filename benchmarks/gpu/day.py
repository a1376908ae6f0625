"""Measure on a GPU what a GPU owes, in pieces of minutes that go on from each other.

    python benchmarks/gpu/day.py --minutes 9 --state DIR --data Task04_Hippocampus

Does the first parts that DIR/figures.jsonl has no figures of, as many as the minutes allow, and
stops by itself. DIR then holds the figures, and of trainings what the next piece goes on from.
Every figure bears card, commit and versions; ratios are medians of interleaved rounds. `--only
PART...` chooses parts, measured ones too. `--rehearse` goes through all of it with tiny sizes on a
CPU, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "speed")]

import torch  # noqa: E402 - the paths come first

from inflate_zoo.bench.data.machine import usable_cores  # noqa: E402

PACKAGES = ("torch", "monai", "timm", "transformers", "accelerate")
KEPT = 60 * 2**20  # bytes of the state that travel
NEVER_KEPT = ("events", "cases", "model.safetensors", "overlays.safetensors", "config.json")


@dataclass(frozen=True)
class Sizes:
    """What is measured at; the rehearsal's differ."""

    extent: int = 96
    dim: int = 768
    blocks: int = 12
    side: int = 512
    batch: int = 4
    slices: int = 16
    rounds: int = 5
    tokens: tuple[int, ...] = (128, 222, 512, 1024, 2048, 4096)
    sliding: tuple[int, int, int] = (144, 192, 192)
    steps: int = 2000
    seeds: int = 5
    settings: tuple[str, ...] = ()
    at_once: tuple[int, ...] = (1, 8, 4, 2)  # what is aimed at first


TINY = Sizes(
    extent=32, dim=48, blocks=4, side=64, batch=1, slices=4, rounds=1, tokens=(24, 40),
    sliding=(32, 40, 40), steps=2, seeds=1, at_once=(1,),
    settings=("train.batch=2", "train.validate_every=0", "evaluation.overlap=0.0"),
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One row of what was measured."""

    part: str
    what: str
    value: float | None
    unit: str
    detail: dict[str, Any] = field(default_factory=dict)


class Day:
    """The minutes there are, and what they gave."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sizes = TINY if options.rehearse else Sizes()
        self.device = "cpu" if options.rehearse else "cuda"
        self.state: Path = options.state
        self.state.mkdir(parents=True, exist_ok=True)
        self.end = time.monotonic() + 60 * options.minutes
        self._file = self.state / "figures.jsonl"

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    def done(self) -> set[str]:
        """Parts that are measured."""
        if not self._file.exists():
            return set()
        rows = map(json.loads, self._file.read_text().splitlines())
        return {row["what"] for row in rows if row["part"] == "done"}

    def note(self, part: str, what: str, value: float | None, unit: str, **detail: Any) -> None:
        """Keep a figure."""
        shown = "" if value is None else f"{value:.4g} {unit}"
        print(f"{part}: {what}: {shown} {detail or ''}", flush=True)
        row = {
            **asdict(Figure(part, what, value, unit, detail)),
            "card": torch.cuda.get_device_name() if self.device == "cuda" else "no GPU: rehearsal",
            "commit": self.options.commit or commit(),
            "versions": versions(),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")


def commit() -> str:
    """What is measured."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def right(day: Day) -> bool:
    """The tests of what only a GPU does."""
    if day.device == "cpu":
        day.note("right", "tests", None, "", outcome="the suite rehearses them itself")
        return True
    names = ["tests/whole/test_cuda.py", "tests/segmentation/test_norms.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider"]
    ran = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True)
    print(ran.stdout[-9000:], ran.stderr[-2000:], flush=True)
    outcome = ran.stdout.strip().splitlines()[-1:]
    day.note("right", "tests", float(ran.returncode), "exit status", outcome=outcome)
    return ran.returncode == 0


def step(day: Day) -> None:
    """The training step of `volume` against MONAI's UNETR."""
    import train
    from forward import Size, measure

    sizes = day.sizes
    size = Size(extent=sizes.extent, dim=sizes.dim, mlp_dim=4 * sizes.dim, blocks=sizes.blocks)
    shape = (sizes.extent,) * 3
    images = torch.rand(sizes.batch, 1, *shape, device=day.device)
    labels = torch.randint(train.CLASSES, (sizes.batch, *shape), device=day.device)
    labels = labels.to(torch.uint8)
    on_gpu = day.device == "cuda"
    kinds = {"graphed": on_gpu, "eager": False}
    for dtype in (torch.bfloat16, torch.float32):
        cast = train.caster(day.device, dtype)
        steps = {"MONAI": train.monai_step(train.theirs(size).to(day.device), cast)}
        nets = {name: train.ours(size).to(day.device) for name in kinds}
        for name, graphed in kinds.items():
            steps[name] = train.our_step(nets[name], "volume", cast, graphed=graphed)
        if on_gpu and dtype is torch.bfloat16:
            for name, graphed in (("compiled", False), ("compiled, graphed", True)):
                net = train.ours(size).to(day.device)
                net.compile(dynamic=False)
                steps[name] = train.our_step(net, "volume", cast, graphed=graphed)
        arms = {name: lambda run=run: run(images, labels) for name, run in steps.items()}
        times = measure(arms, sizes.rounds, 5 if on_gpu else 1, day.device)
        compare(day, "step", f"volume, {dtype}", times)
        if on_gpu and dtype is torch.bfloat16:
            profile(day, "step", "volume, graphed", arms["graphed"])
            profile(day, "step", "volume, compiled, graphed", arms["compiled, graphed"])
            profile(day, "step", "MONAI", arms["MONAI"])
        del steps, arms, nets
        release(day)


def release(day: Day) -> None:
    """Give back what networks held."""
    import gc

    torch.compiler.reset()
    gc.collect()
    if day.device == "cuda":
        torch.cuda.empty_cache()


def compare(day: Day, part: str, what: str, times: dict[str, list[float]]) -> None:
    """Milliseconds of each arm, and MONAI's over them."""
    theirs = times["MONAI"]
    day.note(part, f"{what}, MONAI", 1000 * statistics.median(theirs), "ms")
    for name, own in times.items():
        if name == "MONAI":
            continue
        each = [their / mine for their, mine in zip(theirs, own, strict=True)]
        spread = [round(min(each), 3), round(max(each), 3)]
        ratio = round(statistics.median(each), 3)
        day.note(
            part, f"{what}, {name}", 1000 * statistics.median(own), "ms", ratio=ratio, range=spread
        )


def profile(day: Day, part: str, what: str, run: Callable[[], object]) -> None:
    """Where a step's time on the GPU goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    run()
    with profiled(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(3):
            run()
        torch.cuda.synchronize()
    rows = [row for row in found.key_averages() if row.self_device_time_total > 0]
    rows.sort(key=lambda row: -row.self_device_time_total)
    busy = sum(row.self_device_time_total for row in rows) / 3000
    top = {
        row.key[:70]: [round(row.self_device_time_total / 3000, 2), row.count // 3]
        for row in rows[:14]
    }
    launched = sum(row.count for row in rows) // 3
    day.note(part, f"{what}: kernels' time", busy, "ms", kernels=launched, top=top)


def attention(day: Day) -> None:
    """Prefix keys repeated or masked, by tokens."""
    from forward import measure

    from inflate_zoo.bench.training.graphs import Graph
    from inflate_zoo.networks.layers.attention import attend_repeated, prefix_bias

    def masked(query: Any, key: Any, value: Any, prefix: int, copies: int) -> Any:
        bias = prefix_bias(key.shape[2], prefix, copies, key.dtype, key.device)
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    on_gpu = day.device == "cuda"
    for tokens in day.sizes.tokens:
        batch = max(1, 4096 // tokens) if on_gpu else 1
        packed = torch.randn(3, batch, 12, tokens, 64, device=day.device, dtype=torch.bfloat16)
        packed.requires_grad_()

        def both(packed: Any, way: Callable[..., Any]) -> Any:
            packed.grad = None
            found = way(*packed.unbind(0), 5, 6)
            found.backward(torch.ones_like(found))
            return found

        arms: dict[str, Callable[[], object]] = {}
        for name, way in (("masked", masked), ("repeated", attend_repeated)):
            arms[name] = lambda way=way, packed=packed: both(packed, way)
            if on_gpu:
                arms[f"{name}, graphed"] = Graph(arms[name])
        times = measure(arms, day.sizes.rounds, 20 if on_gpu else 1, day.device)
        for name, spent in times.items():
            what = f"{tokens} tokens, batch {batch}, forward and backward, {name}"
            day.note("attention", what, 1e6 * statistics.median(spent), "us")


def paper(day: Day) -> None:
    """The step of `paper` as a share of a matmul, and the hours of its 25,000 steps."""
    import train

    if day.device == "cpu":
        return day.note("paper", "step", None, "", outcome="needs a GPU")
    peak = train.matmul(torch.bfloat16)
    day.note("paper", "plain matmul, bfloat16", peak, "TFLOP/s")
    shape = (day.sizes.slices, 1, 5, day.sizes.side, day.sizes.side)
    images = torch.rand(shape, device="cuda")
    labels = torch.randint(14, (shape[0], 1, *shape[3:]), device="cuda", dtype=torch.uint8)
    for compiled in (False, True):
        net = train.paper(day.sizes.side).to("cuda")
        speed, spent = train.achieved("paper", net, images, labels, torch.bfloat16, compiled)
        detail = {"share": round(speed / peak, 3), "hours": round(25_000 * spent / 3600, 3)}
        memory = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        name = "graphed" + ", compiled" * compiled
        day.note("paper", f"step, bfloat16, {name}", 1000 * spent, "ms", **detail, GiB=memory)
        run = train.our_step(net, "paper", train.caster("cuda", torch.bfloat16), graphed=True)
        profile(day, "paper", name, partial(run, images, labels))
        del net, run
        release(day)
    return None


def loader(day: Day) -> None:
    """Steps with workers over steps on a batch that stays on the device."""
    import train
    from forward import Size

    sizes, on_gpu = day.sizes, day.device == "cuda"
    size = Size(extent=sizes.extent, dim=sizes.dim, mlp_dim=4 * sizes.dim, blocks=sizes.blocks)
    workers = 8 if on_gpu else 0
    options = argparse.Namespace(
        device=day.device, batch=sizes.batch, rounds=sizes.rounds, workers=workers
    )
    ratio = train.loader(size, options, torch.bfloat16 if on_gpu else torch.float32)
    day.note("loader", f"{workers} workers / resident", ratio, "")


def sliding(day: Day) -> None:
    """Sliding windows by us and by MONAI's inferer."""
    import train
    from forward import Size, measure

    sizes, on_gpu = day.sizes, day.device == "cuda"
    size = Size(extent=sizes.extent, dim=sizes.dim, mlp_dim=4 * sizes.dim, blocks=sizes.blocks)
    for dtype in (torch.float32, torch.bfloat16) if on_gpu else (torch.float32,):
        arms = train.sliders(size, day.device, dtype, sizes.sliding)
        times = measure(arms, sizes.rounds, 1, day.device)
        times["ours"] = times.pop(train.OURS)
        compare(day, "sliding", str(dtype), times)
        release(day)


def shown(day: Day) -> bool:
    """Trainings of `volume` on all of Task04: first by how many share the GPU, then the rest."""
    runs = day.state / "volume"
    trials = planned(day, runs)
    if (by_hand := runs / "at_once.json").exists():
        measured = json.loads(by_hand.read_text())
    else:
        measured = []
    left = [t for t in trials if not t.done]
    inflated = [t for t in left if t.spec.arm.kind == "inflated"]
    for count in day.sizes.at_once:
        if count in measured or len(inflated) < count:
            continue
        if day.left < 45:
            return False
        chosen, inflated = inflated[:count], inflated[count:]
        began = time.monotonic()
        train_trials(day, [[t.folder] for t in chosen], day.left - 15)
        if not all(t.done for t in chosen):
            return False
        spent = [t.believed().run.seconds for t in chosen]
        each = statistics.mean(seconds["this_attempt"] for seconds in spent)
        training = statistics.mean(seconds["training"] for seconds in spent)
        day.note(
            "shown", f"{count} trials at once", 3600 * count / each, "trials per hour",
            seconds=round(each, 1), training=round(training, 1), steps=day.sizes.steps,
            with_start=round(time.monotonic() - began, 1),
        )  # fmt: skip
        measured.append(count)
        by_hand.write_text(json.dumps(measured))
    left = [t.folder for t in trials if not t.done]
    most = max(day.sizes.at_once)
    parts = [left[at::most] for at in range(min(most, len(left)))]
    train_trials(day, parts, day.left - 15)
    left = [t for t in trials if not t.done]
    print(f"shown: {len(trials) - len(left)} of {len(trials)} trials done", flush=True)
    if left:
        return False
    table(day, runs)
    return True


def planned(day: Day, out: Path) -> list[Any]:
    """The trials of the table, planned on this machine."""
    from inflate_zoo.bench.arms.making import ArmRequest
    from inflate_zoo.bench.definitions.catalog import load_protocol
    from inflate_zoo.bench.trials.folder import plan_trial
    from inflate_zoo.bench.trials.planning import Request, plan

    sizes = day.sizes
    changes = (
        "network.window=[24,36,24]", f"train.steps={sizes.steps}", "train.learning_rate=1e-3",
        "train.warmup_ratio=0.1", "train.validate_every=1000", "train.validation_cases=4",
        "train.checkpoint_every=250", *sizes.settings,
    )  # fmt: skip
    sources = ("builtin/supervised", "random")
    if not day.options.rehearse:
        others = ("builtin/supervised:2d", "builtin/clip", "builtin/mae", "builtin/dino")
        sources = (*others, *sources)
    request = Request(
        data=day.options.data,
        dataset="hippocampus-mini" if day.options.rehearse else "msd-task04",
        wanted=ArmRequest(sources, ("center",)),
        protocol=load_protocol("volume", changes),
        seeds=sizes.seeds,
        folds=(0,),
        rule="sum",
        out=out,
        cache=day.options.work,
        command=("python", "benchmarks/gpu/day.py"),
    )
    began = time.monotonic()
    found = plan(request, lambda _: None, lambda *_: None)
    print(f"planned in {time.monotonic() - began:.0f} s", flush=True)
    return [plan_trial(found.out, spec, place) for spec, place in found.trials]


def train_trials(day: Day, parts: Sequence[Sequence[Path]], seconds: float) -> None:
    """Train lists of trials side by side; what is broken off in time goes on later."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[2:]])}
    environment["OMP_NUM_THREADS"] = str(max(1, usable_cores() // max(1, len(parts))))
    workers = "2" if day.device == "cuda" else "0"
    command = [sys.executable, "-m", "inflate_zoo", "bench-trial", "--device", day.device]
    logs = [(day.options.work / f"trainer-{index}.log").open("w") for index in range(len(parts))]
    running = [
        subprocess.Popen(
            [*command, "--workers", workers, *map(str, folders)],
            env=environment, stdout=log, stderr=subprocess.STDOUT,
        )
        for folders, log in zip(parts, logs, strict=True)
    ]  # fmt: skip
    end = time.monotonic() + max(0.0, seconds)
    while any(one.poll() is None for one in running) and time.monotonic() < end:
        time.sleep(0.2)
    for one in running:
        if one.poll() is None:
            one.send_signal(signal.SIGINT)
    for one, log in zip(running, logs, strict=True):
        try:
            one.wait(10)
        except subprocess.TimeoutExpired:
            one.kill()
        log.close()
        if one.returncode not in (0, 130):
            print(Path(log.name).read_text()[-1500:], flush=True)


def table(day: Day, runs: Path) -> None:
    """The ranking, as the report has it."""
    from inflate_zoo.bench.report.terminal import table as ranked
    from inflate_zoo.bench.report.writing import write_report

    results = write_report([runs], day.options.work / "report")
    text = ranked(results)
    print(text, flush=True)
    (day.state / "table.txt").write_text(text)


PARTS: dict[str, tuple[float, Callable[[Day], bool | None]]] = {  # seconds it needs at least
    "right": (60, right),
    "step": (60, step),
    "attention": (10, attention),
    "loader": (45, loader),
    "paper": (45, paper),
    "sliding": (30, sliding),
    "shown": (60, shown),
}


def parts(day: Day) -> Iterator[str]:
    """Those to do, in order."""
    chosen = day.options.only or [name for name in PARTS if name not in day.done()]
    yield from (name for name in PARTS if name in chosen)


def tidy(state: Path) -> None:
    """Leave what the next piece needs, and nothing over what may travel."""
    for folder in state.glob("*/trials/*"):
        finished = (folder / "record.json").exists()
        for name in NEVER_KEPT:
            path = folder / name
            if path.is_dir() and (finished or name == "cases"):
                shutil.rmtree(path)
            elif path.is_file() and finished:
                path.unlink()
    checkpoints = sorted(state.rglob("checkpoint.safetensors"), key=lambda p: p.stat().st_mtime)
    while checkpoints and sum(p.stat().st_size for p in state.rglob("*") if p.is_file()) > KEPT:
        checkpoints.pop(0).unlink()


def main(arguments: list[str] | None = None) -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--minutes", type=float, default=9.0)
    asked.add_argument("--state", type=Path, default=ROOT / "benchmarks" / "gpu" / "state")
    asked.add_argument("--data", type=Path, default=Path("Task04_Hippocampus"))
    asked.add_argument("--work", type=Path, default=Path("runs") / "gpu", help="what may be lost")
    asked.add_argument("--commit", help="where there is no repository to ask")
    asked.add_argument("--only", nargs="*", choices=list(PARTS))
    asked.add_argument("--rehearse", action="store_true")
    options = asked.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.rehearse:
        options.data = ROOT / "benchmarks" / "builtin" / "hippocampus-mini"
    day = Day(options)
    for name in parts(day):
        needed, run = PARTS[name]
        if day.left < needed and not options.rehearse:
            print(f"{name}: left for the next piece, {day.left:.0f} s are too few", flush=True)
            continue
        began = time.monotonic()
        finished = run(day)
        release(day)
        if finished is not False:
            day.note("done", name, time.monotonic() - began, "s")
    tidy(day.state)


if __name__ == "__main__":
    main()
