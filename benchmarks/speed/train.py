"""Time a training step and sliding windows against MONAI's, with a ViT-B on 96^3 voxels.

Rounds are interleaved as in forward.py, and a ratio is MONAI's time / ours, so above 1 means that
ours is faster. `loader` is the time of steps on windows that workers cut and change against that of
steps on one batch that stays on the device; above 1.05 on a GPU the script fails. On a GPU it also
prints which share of a plain matmul's TFLOP/s the steps of `volume` and `paper` reach, and how long
the paper's 25,000 steps take there; float32 of `paper` is what its protocol says.

Usage: python benchmarks/speed/train.py [--batch 2] [--rounds 5] [--workers 8] [--compile]
Run it on a quiet machine. Weights and volumes are random.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from forward import OURS, Size, build_ours, machine, measure, synchronise
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceCELoss
from monai.networks.nets import UNETR
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from inflate_zoo import segmenter
from inflate_zoo.bench.data.cases import open_case
from inflate_zoo.bench.definitions.catalog import load_protocol
from inflate_zoo.bench.definitions.protocols import Evaluation
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.bench.training.graphs import Graph, GraphedUpdate
from inflate_zoo.bench.training.losses import GroupLoss
from inflate_zoo.bench.training.sampling import Group, WindowRule, Windows, collate
from inflate_zoo.files.writing.store import store_of
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.segmentation.optimization import param_groups

CLASSES = 3
Cast = Callable[[], Any]
Loss = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Tensor, Tensor], None]


def ours(size: Size) -> nn.Module:
    """Our segmenter as `volume` builds it."""
    backbone = Backbone(build_ours(size, cls_token=True).config)
    return segmenter(backbone, classes=CLASSES, features=16)


def theirs(size: Size) -> nn.Module:
    """MONAI's UNETR of the same size."""
    return UNETR(
        in_channels=1,
        out_channels=CLASSES,
        img_size=(size.extent,) * 3,
        feature_size=16,
        hidden_size=size.dim,
        mlp_dim=size.mlp_dim,
        num_heads=size.heads,
        qkv_bias=True,
    )


def paper_config(side: int) -> BackboneConfig:
    """Of the ViT-B/16 of protocol `paper`: five whole slices."""
    return build_ours(Size(), cls_token=True).config.model_copy(
        update={"patch_depth": 5, "position_grid": (side // 16, side // 16),
                "volume": (5, side, side)}
    )  # fmt: skip


def paper(side: int) -> nn.Module:
    """The network of protocol `paper`: UPerNet on a ViT-B."""
    backbone = Backbone(paper_config(side))
    return segmenter(backbone, classes=14, decoder="upernet", features=768)


def step_of(
    net: nn.Module, loss: Loss, groups: list[dict[str, Any]], cast: Cast, *, graphed: bool = False
) -> Step:
    """A whole optimiser step that looks at its loss, as trainings do; as CUDA graphs, or eager."""
    if graphed:
        groups = [{**group, "lr": torch.tensor(1e-5, device="cuda")} for group in groups]
    optimizer = torch.optim.AdamW(groups, lr=1e-5, fused=True, capturable=graphed)
    graphs: dict[torch.Size, Graph] = {}
    update = GraphedUpdate(optimizer) if graphed else optimizer

    def gradients(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with cast():
            logits = net(images)
        found = loss(logits.float(), labels.long())
        found.backward()
        return torch.stack([found.detach(), nn.utils.clip_grad_norm_(net.parameters(), 1.0)])

    def step(images: Tensor, labels: Tensor) -> None:
        if graphed and not graphs:
            graphs[images.shape] = Graph(gradients, images, labels)
        found = graphs[images.shape](images, labels) if graphed else gradients(images, labels)
        found.tolist()
        update.step()

    return step


def our_step(net: nn.Module, protocol: str, cast: Cast, *, graphed: bool = False) -> Step:
    """Our step; `graphed` as the bench trains on a GPU."""
    settings = load_protocol(protocol)
    loss = GroupLoss(settings.loss)
    groups = param_groups(net, learning_rate=1e-5, weight_decay=0.05, layer_decay=0.85)
    return step_of(net, loss, groups, cast, graphed=graphed)


def monai_step(net: nn.Module, cast: Cast) -> Step:
    """The same with MONAI's network and loss."""
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    groups = [{"params": list(net.parameters())}]
    return step_of(net, lambda x, y: loss(x, y[:, None]), groups, cast)


def line(what: str, times: dict[str, list[float]]) -> str:
    """A row of the table."""
    each = [their / own for their, own in zip(times["MONAI"], times[OURS], strict=True)]
    own, their = (1000 * statistics.median(times[name]) for name in (OURS, "MONAI"))
    shown = f"{own:.0f} | {their:.0f} | **{statistics.median(each):.2f}**"
    return f"| {what} | {shown} | {min(each):.2f} to {max(each):.2f} |"


def training(size: Size, options: argparse.Namespace, dtype: torch.dtype) -> str:
    """Our training step against MONAI's, on the same random crops."""
    device = options.device
    nets = {OURS: ours(size).to(device), "MONAI": theirs(size).to(device)}
    images = torch.rand(options.batch, 1, *(size.extent,) * 3, device=device)
    labels = torch.randint(CLASSES, (options.batch, *(size.extent,) * 3), device=device)
    cast = caster(device, dtype)
    steps = {
        OURS: our_step(nets[OURS], "volume", cast, graphed=device == "cuda"),
        "MONAI": monai_step(nets["MONAI"], cast),
    }
    arms = {name: lambda step=step: step(images, labels) for name, step in steps.items()}
    repeats = 5 if device == "cuda" else 1
    return line(f"training step, {dtype}", measure(arms, options.rounds, repeats, device))


def caster(device: str, dtype: torch.dtype) -> Cast:
    if dtype is torch.float32:
        return nullcontext
    return lambda: torch.autocast(device, dtype)


def sliders(
    size: Size, device: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> dict[str, Callable[[], Tensor]]:
    """Sliding windows over a random volume with our network, by us and by MONAI's inferer."""
    place, window = torch.device(device), (size.extent,) * 3
    net = ours(size).to(place).eval()
    volume = np.random.default_rng(0).random((1, *shape)).astype(np.float16)
    cast = caster(device, dtype)
    predictor = SlidingWindowPredictor(net, window, Evaluation(overlap=0.5, batch=4), place, cast)
    inferer = SlidingWindowInferer(
        window, 4, 0.5, mode="gaussian", sw_device=place, device=torch.device("cpu")
    )

    def by_monai() -> Tensor:
        with torch.inference_mode(), cast():
            whole = torch.from_numpy(volume.astype(np.float32))[None]
            return inferer(whole, lambda windows: net(windows).float()).softmax(1)[0]

    arms = {OURS: lambda: predictor.probabilities(volume), "MONAI": by_monai}
    error = (arms[OURS]() - arms["MONAI"]()).abs().max().item()
    if error > 1e-3:
        raise SystemExit(f"probabilities differ by {error:.1e}")
    return arms


def sliding(size: Size, options: argparse.Namespace) -> str:
    """Sliding windows in float32."""
    arms = sliders(size, options.device, torch.float32, (144, 192, 192))
    return line("sliding windows, float32", measure(arms, max(3, options.rounds // 2), 1, "cpu"))


def write_cases(cache: Path, count: int, extent: int) -> list[str]:
    """Random cases as the cache keeps them."""
    random = np.random.default_rng(0)
    for number in range(count):
        label = np.zeros((extent,) * 3, np.uint8)
        label[20:60, 30:90, 40:70], label[60:80, 30:90, 40:70] = 1, 2
        places = np.argwhere(label)[::50]
        rows = np.insert(places, 0, label[tuple(places.T)], axis=1).astype(np.int32)
        arrays = {
            "image": random.random((1, *(extent,) * 3)).astype(np.float16),
            "label": label,
            "reference": label,
            "foreground": rows[np.argsort(rows[:, 0], kind="stable")],
        }
        files = [*(f"{name}.npy" for name in arrays), "case.json"]
        with store_of(cache).made(cache / "cases" / str(number), files) as folder:
            for name, array in arrays.items():
                np.save(folder / f"{name}.npy", array)
            facts = f'{{"name": "{number}", "spacing": [1.0, 1.0, 1.0]}}'
            (folder / "case.json").write_text(facts)
        open_case(cache, str(number))
    return [str(number) for number in range(count)]


def loader(size: Size, options: argparse.Namespace, dtype: torch.dtype) -> float:
    """Seconds of steps on windows from the loader / on one batch that stays; median of rounds."""
    device, protocol = options.device, load_protocol("volume")
    on_cuda = device == "cuda"
    step = our_step(ours(size).to(device), "volume", caster(device, dtype), graphed=on_cuda)
    steps, draining = (40, 20) if on_cuda else (6, 0)
    with tempfile.TemporaryDirectory() as folder:
        keys = write_cases(Path(folder), 8, 160)
        rule = WindowRule((size.extent,) * 3, protocol.train.foreground, protocol.augment)
        windows = Windows(Path(folder), keys, rule, 0)
        count = options.batch
        each = options.rounds * (draining + steps) + 4
        plan = [list(range(at * count, (at + 1) * count)) for at in range(each)]
        feed = iter(
            DataLoader(
                windows,
                batch_sampler=plan,
                collate_fn=collate,
                num_workers=options.workers,
                pin_memory=device == "cuda",
                multiprocessing_context="forkserver" if options.workers else None,
            )
        )

        def move(batch: Group) -> tuple[Tensor, Tensor]:
            images, labels = (part.to(device, non_blocking=True) for part in batch[:2])
            return images, labels

        images, labels = move(next(feed))
        for _ in range(3):
            step(images, labels)
            step(*move(next(feed)))

        def timed(batches: Callable[[], tuple[Tensor, Tensor]]) -> float:
            synchronise(device)
            began = time.perf_counter()
            for _ in range(steps):
                step(*batches())
            synchronise(device)
            return time.perf_counter() - began

        ratios = []
        for _ in range(options.rounds):
            resident = timed(lambda: (images, labels))
            for _ in range(draining):  # what the workers made ahead meanwhile
                step(*move(next(feed)))
            ratios.append(timed(lambda: move(next(feed))) / resident)
        return statistics.median(ratios)


def achieved(
    name: str, net: nn.Module, images: Tensor, labels: Tensor, dtype: torch.dtype, compiled: bool
) -> tuple[float, float]:
    """TFLOP/s of a training step, and its seconds; the peak of memory is that of these steps."""
    with FlopCounterMode(display=False) as counter:  # an eager step, which takes more memory
        our_step(net, name, caster("cuda", dtype))(images, labels)
    torch.cuda.reset_peak_memory_stats()
    if compiled:
        net.compile(dynamic=False)
    step = our_step(net, name, caster("cuda", dtype), graphed=True)
    spent = statistics.median(measure({"": lambda: step(images, labels)}, 5, 3, "cuda")[""])
    return counter.get_total_flops() / spent / 1e12, spent


def matmul(dtype: torch.dtype) -> float:
    """TFLOP/s of a plain product of square matrices."""
    side = 8192
    left, right = (torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2))
    spent = statistics.median(measure({"": lambda: left @ right}, 5, 5, "cuda")[""])
    return 2 * side**3 / spent / 1e12


def on_gpu(size: Size, compiled: bool) -> None:
    """What share of a matmul's speed the protocols reach, and how long the paper's run takes."""
    types = (torch.bfloat16, torch.float32)
    peaks = {dtype: matmul(dtype) for dtype in types}
    print("\n| step | TFLOP/s | a plain matmul's | share | ms | 25,000 steps, hours |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = [("volume", torch.bfloat16, False), *(("paper", dtype, False) for dtype in types)]
    for name, dtype, compiling in [*rows, *((*row[:2], True) for row in rows[:2] if compiled)]:
        if name == "volume":
            net, shape, classes = ours(size), (4, 1, *(size.extent,) * 3), CLASSES
        else:
            net, shape, classes = paper(512), (16, 1, 5, 512, 512), 14
        images = torch.rand(shape, device="cuda")
        deep = shape[2] if name == "volume" else 1
        labels = torch.randint(classes, (shape[0], deep, *shape[3:]), device="cuda")
        speed, spent = achieved(name, net.to("cuda"), images, labels, dtype, compiling)
        how = f"`{name}`, {dtype}" + ", compiled" * compiling
        share, hours = speed / peaks[dtype], 25_000 * spent / 3600 if name == "paper" else None
        last = "" if hours is None else f"{hours:.1f}"
        numbers = f"{speed:.0f} | {peaks[dtype]:.0f} | **{share:.0%}** | {1000 * spent:.0f}"
        print(f"| {how} | {numbers} | {last} |", flush=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default=device)
    batch = 4 if device == "cuda" else 2
    parser.add_argument("--batch", type=int, default=batch, help="volumes of a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=8 if device == "cuda" else 0)
    parser.add_argument("--compile", action="store_true", help="compiled steps too, on a GPU")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options, size = parse(arguments), Size()
    types = [torch.float32, torch.bfloat16]
    print(f"{machine(options.device)}; torch {torch.__version__}, MONAI {monai.__version__}.")
    print(f"ViT-B/16, {options.batch} volumes of {size.extent}^3; medians of {options.rounds}.\n")
    print("| what | ours, ms | MONAI, ms | ratio | range of rounds |")
    print("| --- | --- | --- | --- | --- |")
    for dtype in types:
        print(training(size, options, dtype), flush=True)
    print(sliding(size, options), flush=True)
    on_cuda = options.device == "cuda"
    waited = loader(size, options, torch.bfloat16 if on_cuda else torch.float32)
    print(f"\nloader, {options.workers} workers: {waited:.3f}")
    if on_cuda:
        on_gpu(size, options.compile)
        if waited > 1.05:
            sys.exit("the loader keeps the GPU waiting")


if __name__ == "__main__":
    main()
