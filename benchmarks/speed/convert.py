"""Time and weigh `inflate-zoo convert` and the command line as whole processes.

Rounds are interleaved: each round runs every arm once, in rotating order, after a sync of the disk,
and a ratio is taken inside the round. The tables hold medians over rounds. Sources are random
weights in a temporary folder (TMPDIR says where); they are in the page cache when the clock runs.

Memory is the peak of RssAnon (anonymous pages; mapped files do not count), sampled every 2 ms from
/proc in runs of their own, so this script needs Linux.

Usage: python benchmarks/speed/convert.py [--giant] [--network NAME] [--rounds 5]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from math import prod
from pathlib import Path

INFLATE_ZOO = str(Path(sys.executable).with_name("inflate-zoo"))
IMPORT_TORCH = (sys.executable, "-c", "import torch")
QUIET = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
MIB = 2**20
COPY = """  # by os.sendfile, read and written in the kernel: not a reflink, not a link
import os, sys, torch
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as target:
    left = os.fstat(source.fileno()).st_size
    while left:
        left -= os.sendfile(target.fileno(), source.fileno(), None, left)
"""
BY_HAND = """
import sys, torch, transformers
from safetensors.torch import save_file
kind = getattr(transformers, sys.argv[3])
state = kind.from_pretrained(sys.argv[1], add_pooling_layer=False).state_dict()
name = "embeddings.patch_embeddings.projection.weight"
kernel = state[name].sum(dim=1, keepdim=True)
inflated = kernel.new_zeros(*kernel.shape[:2], kernel.shape[-1], *kernel.shape[2:])
inflated[:, :, kernel.shape[-1] // 2] = kernel
save_file({**state, name: inflated}, sys.argv[2])
"""
MAKE_BASE = """
import json, sys, torch, transformers
torch.manual_seed(0)
kind = getattr(transformers, sys.argv[2])
config = kind.config_class(**json.loads(sys.argv[3]))
kind(config, add_pooling_layer=False).save_pretrained(sys.argv[1])
"""
NETWORKS: dict[
    str, tuple[str, dict[str, object]]
] = {  # transformers' classes, what is not theirs by default
    "ViT-B/16": ("ViTModel", {}),
    "BEiT-B/16": ("BeitModel", {"use_relative_position_bias": True}),
    "Swin-B/4": (
        "SwinModel",
        {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    ),
}
LIGHT = """
import sys
from inflate_zoo.cli.app import app
app(sys.argv[1:], standalone_mode=False)
heavy = {"torch", "timm", "transformers", "huggingface_hub", "numpy"} & set(sys.modules)
sys.exit(f"imported: {sorted(heavy)}" if heavy else 0)
"""


@dataclass(frozen=True)
class Run:
    """One process: wall and processor seconds, peak of anonymous memory in bytes if sampled."""

    wall: float
    processor: float
    anonymous: int


def anonymous_bytes(pid: int) -> int:
    """RssAnon of a process; 0 once it has ended."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    kibibytes = status.partition("RssAnon:")[2].split(maxsplit=1)
    return 1024 * int(kibibytes[0]) if kibibytes else 0


def run(command: Sequence[str], *, sample: bool = False) -> Run:
    """Run a process to its end; raises if it fails."""
    peak = 0
    start = time.perf_counter()
    with tempfile.TemporaryFile() as told:
        child = subprocess.Popen(command, stdout=told, stderr=told, env=QUIET)
        while not (ended := os.wait4(child.pid, os.WNOHANG if sample else 0))[0]:
            peak = max(peak, anonymous_bytes(child.pid))
            time.sleep(0.002)
        wall, usage = time.perf_counter() - start, ended[2]
        child.returncode = os.waitstatus_to_exitcode(ended[1])
        if child.returncode:
            told.seek(0)
            raise SystemExit(f"failed: {command}\n{told.read().decode()}")
    return Run(wall, usage.ru_utime + usage.ru_stime, peak)


def interleave(
    arms: Mapping[str, Sequence[str]], rounds: int, before: Callable[[], None], *, sample: bool
) -> dict[str, list[Run]]:
    """Every arm once per round, in rotating order, after one round that does not count."""
    found: dict[str, list[Run]] = {name: [] for name in arms}
    names = list(arms)
    for _ in range(1 + rounds):
        for name in names:
            before()
            found[name].append(run(arms[name], sample=sample))
        names.append(names.pop(0))
    return {name: runs[1:] for name, runs in found.items()}


def make_giant(folder: Path) -> None:
    """DINOv2 giant in float32 (4.5 GB), streamed into its file; no model is built."""
    import torch

    from inflate_zoo.files.writing.contents import write_safetensors

    width, hidden = 1536, 4096
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.patch_embeddings.projection.bias": (width,),
        "embeddings.patch_embeddings.projection.weight": (width, 3, 14, 14),
        "embeddings.position_embeddings": (1, 1 + 37 * 37, width),
    }
    linear = {f"attention.attention.{part}": (width, width) for part in ("query", "key", "value")}
    linear |= {"attention.output.dense": (width, width)}
    linear |= {"mlp.weights_in": (2 * hidden, width), "mlp.weights_out": (width, hidden)}
    vectors = ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"]
    vectors += ["layer_scale1.lambda1", "layer_scale2.lambda1"]
    for stem in (f"encoder.layer.{block}." for block in range(40)):
        for name, shape in linear.items():
            shapes |= {f"{stem}{name}.weight": shape, f"{stem}{name}.bias": shape[:1]}
        shapes |= {f"{stem}{name}": (width,) for name in vectors}
    shapes |= {"layernorm.weight": (width,), "layernorm.bias": (width,)}
    config = {"model_type": "dinov2", "hidden_size": width, "num_hidden_layers": 40}
    config |= {"num_attention_heads": 24, "use_swiglu_ffn": True, "image_size": 518}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    entries = [(name, "F32", shapes[name]) for name in sorted(shapes)]
    tensors = (torch.randn(shape) * 0.02 for _, _, shape in entries)
    write_safetensors(folder / "model.safetensors", entries, tensors)


def medians(runs: Sequence[Run]) -> tuple[float, float]:
    """Of wall and of processor seconds."""
    return statistics.median(r.wall for r in runs), statistics.median(r.processor for r in runs)


def ratio(above: Sequence[Run], below: Sequence[Run]) -> str:
    """Median over rounds of a ratio of wall times, and its range."""
    each = [a.wall / b.wall for a, b in zip(above, below, strict=True)]
    return f"**{statistics.median(each):.2f}** | {min(each):.2f} to {max(each):.2f}"


def time_convert(name: str, source: Path, work: Path, rounds: int) -> None:
    """Print the times of convert, of import torch + copy, and of the by-hand route."""
    weights, out = str(source / "model.safetensors"), work / "out"
    by_hand = str(work / "by-hand")

    def clear() -> None:
        shutil.rmtree(out, ignore_errors=True)
        for name in ("copy", "by-hand"):
            (work / name).unlink(missing_ok=True)
        os.sync()

    arms = {
        "convert --no-verify": convert_command(source, out),
        "import torch + copy": (sys.executable, "-c", COPY, weights, str(work / "copy")),
        "import torch": IMPORT_TORCH,
        "by hand": (sys.executable, "-c", BY_HAND, str(source), by_hand, NETWORKS[name][0]),
        "convert (with proof)": convert_command(source, out)[:-1],
    }
    found = interleave(arms, rounds, clear, sample=False)
    print(f"\n| {name}, float32 | wall, s | processor, s |\n| --- | --- | --- |")
    for arm, runs in found.items():
        print(f"| {arm} | " + " | ".join(f"{seconds:.2f}" for seconds in medians(runs)) + " |")
    ours = found["convert --no-verify"]
    print("\n| ratio of wall times | target | median | range |\n| --- | --- | --- | --- |")
    copied, longer = ratio(ours, found["import torch + copy"]), ratio(found["by hand"], ours)
    print(f"| convert --no-verify / (import torch + copy) | at most 1.5 | {copied} |")
    print(f"| by hand / convert --no-verify | at least 2 | {longer} |")


def convert_command(source: Path, out: Path) -> tuple[str, ...]:
    """The command, its last argument being --no-verify."""
    return (INFLATE_ZOO, "convert", str(source), "--out", str(out), "--no-verify")


def weigh(sources: Mapping[str, Path], work: Path, rounds: int) -> None:
    """Print the peaks of anonymous memory."""
    from inflate_zoo.files.header import read_header

    print("\n| source, float32 | import torch, MiB | convert, MiB | difference, MiB |", end="")
    print(" largest tensor, MiB | difference / largest |\n|" + " --- |" * 6)
    for name, source in sources.items():
        arms = {"torch": IMPORT_TORCH, "convert": convert_command(source, work / "out")}
        clear = partial(shutil.rmtree, work / "out", ignore_errors=True)
        found = interleave(arms, rounds, clear, sample=True)
        torch, ours = (statistics.median(one.anonymous for one in found[arm]) for arm in arms)
        header = read_header(source / "model.safetensors")
        more, largest = ours - torch, 4 * max(prod(info.shape) for info in header.values())
        print(f"| {name} | {torch / MIB:.0f} | {ours / MIB:.0f} | {more / MIB:.0f} |", end="")
        print(f" {largest / MIB:.1f} | **{more / largest:.1f}** |")


def time_start(rounds: int) -> None:
    """Print what the command line costs over an empty Python; fail where it imports too much."""
    arms: dict[str, tuple[str, ...]] = {"nothing": (sys.executable, "-c", "pass")}
    for word in ("--help", "families"):
        run((sys.executable, "-c", LIGHT, word))
        arms[f"inflate-zoo {word}"] = (INFLATE_ZOO, word)
    found = interleave(arms, rounds, lambda: None, sample=False)
    empty = found.pop("nothing")
    print(
        "\n| over `python -c pass` | target | wall, s | processor, s |\n| --- | --- | --- | --- |"
    )
    for name, runs in found.items():
        wall, processor = (b - a for a, b in zip(medians(empty), medians(runs), strict=True))
        print(f"| {name} | below 0.3 | **{wall:.3f}** | {processor:.3f} |")
    print("\nNeither imports torch, timm, transformers, huggingface_hub or numpy (checked).")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--giant", action="store_true", help="memory on 4.5 GB too (9 GB of disk)")
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this; again")
    options = parser.parse_args()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next((s.split(": ")[1] for s in lines if s.startswith("model name")), "unknown")
    names = ("torch", "transformers", "timm", "safetensors", "inflate-zoo")
    versions = [f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)]
    print(f"{processor}, {os.cpu_count()} cores; {', '.join(versions)}.")
    print(f"Medians of {options.rounds} interleaved rounds; load average {os.getloadavg()[0]:.1f}.")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        time_start(options.rounds)
        sources = {}
        for name in options.network or NETWORKS:
            kind, config = NETWORKS[name]
            sources[name] = work / kind
            run((sys.executable, "-c", MAKE_BASE, str(sources[name]), kind, json.dumps(config)))
            time_convert(name, sources[name], work, options.rounds)
        if options.giant:
            make_giant(work / "giant")
            sources["DINOv2 ViT-g/14"] = work / "giant"
        weigh(sources, work, options.rounds)


if __name__ == "__main__":
    main()
