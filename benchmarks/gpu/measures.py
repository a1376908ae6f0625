"""Single operations, steps and windows on a GPU, against MONAI's and a plain matmul."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import train
from figures import ROOT, Day, compare, release
from forward import Size, measure
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiled

from inflate_zoo.bench.training.graphs import Graph
from inflate_zoo.networks.layers.attention import attend_repeated, prefix_bias


def right(day: Day) -> None:
    """The tests of what only a GPU does."""
    if day.device == "cpu":
        return day.note("right", "tests", None, "", outcome="the suite rehearses them itself")
    names = ["tests/whole/test_cuda.py", "tests/segmentation/test_norms.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider"]
    ran = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True)
    print(ran.stdout[-9000:], ran.stderr[-2000:], flush=True)
    outcome = ran.stdout.strip().splitlines()[-1:]
    day.note("right", "tests", float(ran.returncode), "exit status", outcome=outcome)
    if ran.returncode:
        raise SystemExit(f"tests on the GPU: {' '.join(outcome) or 'nothing was said'}")
    return None


def step(day: Day) -> None:
    """The training step of `volume` against MONAI's UNETR."""
    sizes = day.sizes
    size = Size(extent=sizes.extent, dim=sizes.dim, mlp_dim=4 * sizes.dim, blocks=sizes.blocks)
    shape = (sizes.extent,) * 3
    images = torch.rand(sizes.batch, 1, *shape, device=day.device)
    labels = torch.randint(train.CLASSES, (sizes.batch, *shape), device=day.device)
    labels = labels.to(torch.uint8)
    on_gpu = day.device == "cuda"
    kinds = {"graphed": on_gpu, "eager": False}
    # A CPU without instructions for bfloat16 takes half a minute for each of its steps.
    for dtype in (torch.bfloat16, torch.float32) if on_gpu else (torch.float32,):
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


def profile(day: Day, part: str, what: str, run: Callable[[], object]) -> None:
    """Where a step's time on the GPU goes."""
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
    sizes, on_gpu = day.sizes, day.device == "cuda"
    size = Size(extent=sizes.extent, dim=sizes.dim, mlp_dim=4 * sizes.dim, blocks=sizes.blocks)
    for dtype in (torch.float32, torch.bfloat16) if on_gpu else (torch.float32,):
        arms = train.sliders(size, day.device, dtype, sizes.sliding)
        times = measure(arms, sizes.rounds, 1, day.device)
        times["ours"] = times.pop(train.OURS)
        compare(day, "sliding", str(dtype), times)
        release(day)
