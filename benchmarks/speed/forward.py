"""Time our encoders on volumes against others of the same size and the same weights.

ViT-B/16 against MONAI's `ViT`; BEiT-B/16 against timm's own blocks on the same tokens, their tables
tiled over depth and the cls key's log D in the rows; DINOv3-B/16 likewise, its rotary table tiled
over depth and the prefix keys' log D in a mask; SAM-B, one token deep, against timm's own blocks
with their neck (`--extent 448` is two windows a side); SAM 2 tiny, one voxel deep, against timm's
own (`--extent 448`: whole windows at every stage); Swin-T, patch 2, against MONAI's
`SwinTransformer` (merging over depth too) or torchvision's `SwinTransformer3d` (in the plane); take
`--extent 112`, which is whole windows at every stage: both let padding along depth leak.

Rounds are interleaved: each round times every arm once, in rotating order, and the ratio is taken
inside the round (their seconds / ours, so above 1 means that ours is faster). The table holds
medians over rounds. Before anything is timed, both networks must give the same output.

Usage: python benchmarks/speed/forward.py [--network beit] [--compile] [--batch 2] [--rounds 7]
Needs einops beside MONAI. Run it on a quiet machine: a second busy process spoils the medians, less
so with `--processor`.
"""

import argparse
import copy
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import monai
import timm
import torch
from eva_blocks import EvaBlocks, build_dinov3
from monai.networks.nets import ViT
from monai.networks.nets.swin_unetr import SwinTransformer as MonaiSwin
from sam2_planes import Sam2Planes, build_sam2
from sam_blocks import SamBlocks, build_sam
from timm.models.beit import Block as TimmBlock
from torch import Tensor, nn
from torchvision.models.video.swin_transformer import SwinTransformer3d

from inflate_zoo.networks.beit.config import BeitConfig
from inflate_zoo.networks.beit.network import Beit
from inflate_zoo.networks.network import Network3D
from inflate_zoo.networks.swin.config import SwinConfig
from inflate_zoo.networks.swin.network import SwinTransformer
from inflate_zoo.networks.vit.config import VitConfig
from inflate_zoo.networks.vit.network import VisionTransformer

OURS, WITH_CLS = "ours", "ours, with cls token"
MONAI, TIMM, TORCHVISION = "MONAI", "timm", "torchvision"
COMPILED = ", compiled"
Step = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Size:
    """Of both networks; `extent` (voxels per axis) and `patch` (voxels) are cubic."""

    extent: int = 96
    patch: int = 16
    dim: int = 768
    mlp_dim: int = 3072
    blocks: int = 12
    heads: int = 12


def build_ours(size: Size, *, cls_token: bool) -> VisionTransformer:
    """Our encoder; random weights."""
    grid = size.extent // size.patch
    return VisionTransformer(
        VitConfig(
            embed_dim=size.dim,
            depth=size.blocks,
            num_heads=size.heads,
            mlp="mlp",
            mlp_dim=size.mlp_dim,
            activation="gelu",
            norm_eps=1e-6,
            in_channels=1,
            patch_size=(size.patch, size.patch),
            position_grid=(grid, grid),
            position_prefix=int(cls_token),
            cls_token=cls_token,
            dist_token=False,
            reg_tokens=0,
            qkv_bias=True,
            layer_scale=False,
            stem_bias=True,
            pre_norm=False,
            final_norm="tokens",
            pool="cls" if cls_token else "mean",
            patch_depth=size.patch,
            volume=(size.extent, size.extent, size.extent),
        )
    )


def monai_names(blocks: int) -> dict[str, str]:
    """MONAI's tensor name to ours, position table aside."""
    modules = {"patch_embedding.patch_embeddings": "patch_embed", "norm": "norm"}
    for index in range(blocks):
        for theirs, ours in (
            ("norm1", "norm1"),
            ("attn.qkv", "attn.qkv"),
            ("attn.out_proj", "attn.proj"),
            ("norm2", "norm2"),
            ("mlp.linear1", "mlp.fc1"),
            ("mlp.linear2", "mlp.fc2"),
        ):
            modules[f"blocks.{index}.{theirs}"] = f"blocks.{index}.{ours}"
    return {
        f"{theirs}.{part}": f"{ours}.{part}"
        for theirs, ours in modules.items()
        for part in ("weight", "bias")
    }


def build_monai(size: Size, ours: VisionTransformer) -> nn.Module:
    """MONAI's encoder with the weights of `ours` (one without prefix tokens)."""
    net = ViT(
        in_channels=1,
        img_size=(size.extent,) * 3,
        patch_size=(size.patch,) * 3,
        hidden_size=size.dim,
        mlp_dim=size.mlp_dim,
        num_layers=size.blocks,
        num_heads=size.heads,
        proj_type="conv",
        qkv_bias=True,
        classification=False,
    )
    for module in net.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = ours.config.norm_eps
    source = ours.state_dict()
    weights = {theirs: source[name] for theirs, name in monai_names(size.blocks).items()}
    plane, deep = source["pos_embed"], source["depth_embed"]
    table = (plane.unsqueeze(1) + deep.unsqueeze(2)).flatten(1, 2)
    weights["patch_embedding.position_embeddings"] = table
    result = net.load_state_dict(weights, strict=False)
    left = [name for name in result.missing_keys if "norm_cross_attn" not in name]
    if left or result.unexpected_keys:
        raise SystemExit(f"weights not copied to MONAI: {left} {result.unexpected_keys}")
    return net


def build_beit(size: Size) -> Beit:
    """Our BEiT, a table of relative positions in each block; random weights."""
    grid = size.extent // size.patch
    return Beit(
        BeitConfig(
            embed_dim=size.dim,
            depth=size.blocks,
            num_heads=size.heads,
            mlp_dim=size.mlp_dim,
            activation="gelu",
            norm_eps=1e-6,
            in_channels=1,
            patch_size=(size.patch, size.patch),
            position_grid=(grid, grid),
            block_tables=True,
            shared_table=False,
            table_resizing="geometric",
            qv_bias=True,
            layer_scale=True,
            stem_bias=True,
            final_norm="none",
            pool="mean",
            patch_depth=size.patch,
            volume=(size.extent, size.extent, size.extent),
        )
    )


class TimmBlocks(nn.Module):
    """Timm's BEiT blocks on the tokens of a network of ours, with its weights."""

    def __init__(self, size: Size, ours: Beit) -> None:
        super().__init__()
        depth, height, width = ours.grid_size
        window = (depth * height, width)  # of as many tokens
        self.patch_embed = copy.deepcopy(ours.patch_embed)
        self.cls_token = copy.deepcopy(ours.cls_token)
        index = offsets_3d(depth, height, width)
        self.blocks = nn.ModuleList()
        for block in ours.blocks:
            theirs = TimmBlock(
                size.dim, size.heads, qkv_bias=True, mlp_ratio=size.mlp_dim / size.dim,
                init_values=1.0, window_size=window,
            )  # fmt: skip
            plane, line = block.position_bias.plane, block.position_bias.depth
            body = (plane[:-3] + line.unsqueeze(1)).flatten(0, 1)
            counted = torch.tensor([0.0, math.log(depth), math.log(depth)]).unsqueeze(1)
            table = torch.cat([body, plane[-3:] + counted]).detach()
            theirs.attn.relative_position_bias_table = nn.Parameter(table)
            theirs.attn.relative_position_index = index
            weights = {
                name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): tensor
                for name, tensor in block.state_dict().items()
                if not name.startswith("position_bias.")
            }
            result = theirs.load_state_dict(weights, strict=False)
            left = [n for n in result.missing_keys if "relative_position_bias_table" not in n]
            if left or result.unexpected_keys:
                raise SystemExit(f"weights not copied to timm: {left} {result.unexpected_keys}")
            for norm in (theirs.norm1, theirs.norm2):
                norm.eps = ours.config.norm_eps
            self.blocks.append(theirs)

    def forward(self, volume: Tensor) -> Tensor:
        """All tokens after the last block."""
        patches = self.patch_embed(volume)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        for block in self.blocks:
            x = block(x)
        return x


SWIN_DEPTHS, SWIN_HEADS, SWIN_DIM = (2, 2, 6, 2), (3, 6, 12, 24), 96
# MONAI puts neighbours side by side in this order: depth, height, width.
MONAI_ORDER = ("000", "100", "010", "001", "110", "101", "011", "111")


def build_swin(size: Size, *, merge_depth: bool) -> SwinTransformer:
    """Our Swin-T, patch 2, windows of 7 tokens; random weights."""
    return SwinTransformer(
        SwinConfig(
            embed_dim=SWIN_DIM,
            depths=SWIN_DEPTHS,
            num_heads=SWIN_HEADS,
            mlp_dims=tuple(4 * SWIN_DIM * 2**stage for stage in range(4)),
            activation="gelu",
            norm_eps=1e-5,
            outer_eps=1e-5,
            in_channels=1,
            patch_size=(2, 2),
            image_size=(size.extent, size.extent),
            windows=((7, 7),) * 4,
            clipping="axis",
            padding="before_shift",
            qkv_bias=True,
            stem_norm=True,
            stem_bias=True,
            patch_depth=2,
            volume=(size.extent,) * 3,
            depth_window=7,
            merge_depth=merge_depth,
        )
    )


class TheirSwin(nn.Module):
    """Another library's Swin with the weights of ours, up to the last norm."""

    def __init__(self, ours: SwinTransformer, library: str) -> None:
        super().__init__()
        self.is_monai = library == MONAI
        if self.is_monai:
            self.net = MonaiSwin(
                in_chans=1, embed_dim=SWIN_DIM, window_size=(7,) * 3, patch_size=(2,) * 3,
                depths=SWIN_DEPTHS, num_heads=SWIN_HEADS, patch_norm=True,
            )  # fmt: skip
            self.net.layers4[0].downsample = None  # one more than anybody else has
            self.net.norm = copy.deepcopy(ours.norm)
        else:
            self.net = SwinTransformer3d(
                patch_size=[2] * 3, embed_dim=SWIN_DIM, depths=list(SWIN_DEPTHS),
                num_heads=list(SWIN_HEADS), window_size=[7] * 3, num_classes=1,
                stochastic_depth_prob=0.0,
            )  # fmt: skip
            self.net.patch_embed.proj = nn.Conv3d(1, SWIN_DIM, 2, 2)
            self.net.head = nn.Identity()
        names = monai_swin_names(ours) if self.is_monai else torchvision_names(ours)
        result = self.net.load_state_dict(names, strict=False)
        left = [name for name in result.missing_keys if "relative_position_index" not in name]
        if left or result.unexpected_keys:
            raise SystemExit(f"weights not copied: {left} {result.unexpected_keys}")

    def forward(self, volume: Tensor) -> Tensor:
        """All tokens after the last norm."""
        net = self.net
        if not self.is_monai:
            return net.norm(net.features(net.patch_embed(volume))).flatten(1, 3)
        x = net.patch_embed(volume)
        for layers in (net.layers1, net.layers2, net.layers3, net.layers4):
            x = layers[0](x.contiguous())
        return net.norm(x.movedim(1, -1).flatten(1, 3))


def torchvision_names(ours: SwinTransformer) -> dict[str, Tensor]:
    """The tensors of ours under torchvision's names."""
    named = {}
    for name, tensor in ours.state_dict().items():
        kind, index, *rest = name.replace("blocks.", "").split(".")
        if kind in ("stages", "merges"):
            name = ".".join(["features", str(2 * int(index) + (kind == "merges")), *rest])
        name = name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")
        name = name.replace("norm_pre", "patch_embed.norm")
        named[name.replace("patch_embed.w", "patch_embed.proj.w")] = tensor
    named["patch_embed.proj.bias"] = named.pop("patch_embed.bias")
    return named


def monai_swin_names(ours: SwinTransformer) -> dict[str, Tensor]:
    """The tensors of ours under MONAI's names, neighbours in its order."""
    named = {}
    order = [4 * int(d) + 2 * int(w) + int(h) for d, h, w in MONAI_ORDER]
    for name, tensor in torchvision_names(ours).items():
        kind, index, *rest = name.split(".")
        if kind == "features":
            layer = int(index) // 2 + 1
            parts = ["blocks", *rest] if int(index) % 2 == 0 else ["downsample", *rest]
            name = ".".join([f"layers{layer}", "0", *parts])
            name = name.replace("mlp.0", "mlp.linear1").replace("mlp.3", "mlp.linear2")
        if "downsample" in name:
            tensor = tensor.unflatten(-1, (8, -1))[..., order, :].flatten(-2)
        named[name] = tensor
    return named


def offsets_3d(depth: int, height: int, width: int) -> Tensor:
    """The row of a table with a row for every offset, for every query and key, cls first."""
    axes = [torch.arange(n) for n in (depth, height, width)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    apart = places.unsqueeze(2) - places.unsqueeze(1)
    plane = (2 * height - 1) * (2 * width - 1)
    rows = (apart[0] + depth - 1) * plane + (apart[1] + height - 1) * (2 * width - 1)
    last = (2 * depth - 1) * plane
    index = torch.full((1 + places.shape[1],) * 2, last + 1)
    index[0] = last
    index[0, 0] = last + 2
    index[1:, 1:] = rows + apart[2] + width - 1
    return index


def randomise(net: nn.Module) -> None:
    """No tensor stays at zero or one, so that the check below sees every one of them."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)


def tokens_of(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """All tokens after the last norm, of any library's network."""
    if isinstance(net, Network3D):
        return net.forward_features
    return (
        net
        if isinstance(net, TimmBlocks | EvaBlocks | SamBlocks | Sam2Planes | TheirSwin)
        else lambda volume: net(volume)[0]
    )


def check(ours: nn.Module, theirs: nn.Module, volume: Tensor) -> float:
    """Largest absolute difference of the outputs in float32; stops above 1e-4."""
    with torch.no_grad():
        error = (tokens_of(ours)(volume) - tokens_of(theirs)(volume)).abs().max().item()
    if not error <= 1e-4:
        raise SystemExit(f"outputs differ by {error:.1e}: the timings would compare two functions")
    return error


def forward_step(run: Callable[[Tensor], Tensor], volume: Tensor, cast: Step) -> Step:
    """One inference."""

    def step() -> None:
        with torch.no_grad(), precision(cast):
            run(volume)

    return step


def training_step(
    run: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer, volume: Tensor, cast: Step
) -> Step:
    """Forward, backward, AdamW."""

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision(cast):
            loss = run(volume).float().square().mean()
        loss.backward()
        optimizer.step()

    return step


def precision(cast: Step) -> AbstractContextManager[object]:
    """A fresh context for one step."""
    context = cast()
    assert isinstance(context, AbstractContextManager)
    return context


def seconds(step: Step, device: str, repeats: int, clock: Clock) -> float:
    """Mean time of one step in seconds."""
    synchronise(device)
    start = clock()
    for _ in range(repeats):
        step()
    synchronise(device)
    return (clock() - start) / repeats


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(
    arms: dict[str, Step],
    rounds: int,
    repeats: int,
    device: str,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds per arm and round; the order rotates, two warm-up steps per arm are not counted."""
    names = list(arms)
    for name in names:
        seconds(arms[name], device, 2, clock)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(seconds(arms[name], device, repeats, clock))
    return times


def ratios(times: dict[str, list[float]], ours: str, theirs: str) -> list[float]:
    """Their seconds / ours, per round."""
    return [their / our for their, our in zip(times[theirs], times[ours], strict=True)]


def rows(what: str, dtype: str, times: dict[str, list[float]]) -> list[str]:
    """Markdown rows: each of our arms against each of theirs."""
    baselines = [name for name in times if name.startswith((MONAI, TIMM, TORCHVISION))]
    lines = []
    for name in [name for name in times if name not in baselines]:
        for baseline in baselines:
            each = ratios(times, name, baseline)
            cells = (
                what,
                dtype,
                name,
                baseline,
                f"{1000 * statistics.median(times[name]):.1f}",
                f"{1000 * statistics.median(times[baseline]):.1f}",
                f"**{statistics.median(each):.2f}**",
                f"{min(each):.2f} to {max(each):.2f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def machine(device: str) -> str:
    """Processor and threads, without the host's name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


NAMES = {
    "vit": "ViT-B/16",
    "beit": "BEiT-B/16",
    "dinov3": "DINOv3-B/16",
    "sam": "SAM-B",
    "sam2": "SAM 2 tiny",
    "swin-monai": "Swin-T, patch 2, merging over depth too,",
    "swin-torchvision": "Swin-T, patch 2, merging in the plane,",
}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=list(NAMES), default="vit")
    parser.add_argument("--device", choices=["cpu", "cuda"], default=device)
    parser.add_argument("--batch", type=int, default=None, help="volumes; 2 on a CPU, 16 on CUDA")
    parser.add_argument("--extent", type=int, default=96, help="voxels of a side")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds, at least 5")
    parser.add_argument("--compile", action="store_true", help="compiled networks as well")
    parser.add_argument("--blocks", type=int, default=12, help="of all but Swin and SAM 2")
    parser.add_argument(
        "--processor", action="store_true", help="one thread's processor time, beside other work"
    )
    parser.add_argument("--dtype", nargs="+", choices=["float32", "bfloat16"], default=None)
    parsed = parser.parse_args(arguments)
    if parsed.rounds < 5:
        parser.error("--rounds must be at least 5: a ratio of fewer says little")
    parsed.batch = parsed.batch or (16 if parsed.device == "cuda" else 2)
    parsed.dtype = parsed.dtype or ["float32", "bfloat16"]
    return parsed


def build_networks(network: str, size: Size) -> tuple[dict[str, nn.Module], str]:
    """The networks to time, and which of them is the other library's."""
    if network == "dinov3":
        dinov3 = build_dinov3(
            size.extent, size.patch, size.dim, size.mlp_dim, size.blocks, size.heads
        )
        randomise(dinov3)
        return {OURS: dinov3, TIMM: EvaBlocks(dinov3)}, TIMM
    if network == "sam":
        sam = build_sam(size.extent, size.patch, size.dim, size.mlp_dim, size.blocks, size.heads)
        randomise(sam)
        return {OURS: sam, TIMM: SamBlocks(sam)}, TIMM
    if network == "sam2":
        sam2 = build_sam2(size.extent, size.dim // 8)
        randomise(sam2)
        return {OURS: sam2, TIMM: Sam2Planes(sam2)}, TIMM
    if network == "beit":
        beit = build_beit(size)
        randomise(beit)
        return {OURS: beit, TIMM: TimmBlocks(size, beit)}, TIMM
    if network.startswith("swin"):
        library = MONAI if network == "swin-monai" else TORCHVISION
        swin = build_swin(size, merge_depth=library == MONAI)
        randomise(swin)
        return {OURS: swin, library: TheirSwin(swin, library)}, library
    plain = build_ours(size, cls_token=False)
    randomise(plain)
    with_cls = build_ours(size, cls_token=True)
    return {OURS: plain, WITH_CLS: with_cls, MONAI: build_monai(size, plain)}, MONAI


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    device, size = options.device, Size(extent=options.extent, blocks=options.blocks)
    clock = time.process_time if options.processor else time.perf_counter
    if options.processor:
        torch.set_num_threads(1)
    nets, theirs = build_networks(options.network, size)
    for net in nets.values():
        net.to(device)
    extents = nets[OURS].config.volume
    volume = torch.randn(options.batch, 1, *extents, device=device)
    error = check(nets[OURS], nets[theirs], volume)

    runs = {name: tokens_of(net) for name, net in nets.items()}
    # Fused: the default one spends more time on page faults than on sums, at random.
    optimizers = {
        name: torch.optim.AdamW(net.parameters(), 1e-5, fused=True) for name, net in nets.items()
    }
    if options.compile:
        runs |= {name + COMPILED: torch.compile(run) for name, run in list(runs.items())}
    lines: list[str] = []
    for dtype in options.dtype:
        cast: Step = nullcontext
        if dtype == "bfloat16":
            cast = lambda: torch.autocast(device, torch.bfloat16)  # noqa: E731
        repeats = 10 if device == "cuda" else 1
        for what in ("forward", "training step"):
            arms = {}
            torch.compiler.reset()  # else the limit on recompilations counts earlier tables too
            for name, run in runs.items():
                if what == "forward":
                    arms[name] = forward_step(run, volume, cast)
                else:
                    optimizer = optimizers[name.removesuffix(COMPILED)]
                    arms[name] = training_step(run, optimizer, volume, cast)
            print(f"{what}, {dtype} ...", file=sys.stderr)
            lines += rows(what, dtype, measure(arms, options.rounds, repeats, device, clock))

    shape = f"{options.batch} volumes of {'x'.join(map(str, extents))} voxels"
    print(f"{NAMES[options.network]} on {shape}, one channel.")
    versions = f"MONAI {monai.__version__}, timm {timm.__version__}"
    print(f"{machine(device)}; torch {torch.__version__}, {versions}.")
    print(f"Same weights, outputs agree to {error:.1e} (float32, eager, before timing).")
    kind = "processor" if options.processor else "wall"
    print(f"Medians of {options.rounds} interleaved rounds, {kind} time.")
    print(f"Ratio: {theirs}'s time / ours.\n")
    print(f"| step | precision | ours | against | ours, ms | {theirs}, ms | ratio | range |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
