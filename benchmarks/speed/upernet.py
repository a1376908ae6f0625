"""Time UPerNet against transformers' own head, with the same weights on the same maps.

Random maps of a ViT-B/16 on planes of `--side` pixels, the paper's 768 features, batch norm. Ours
interpolates smaller maps after it multiplied them by the weights that join them, theirs before.
Rounds are interleaved as in forward.py, and a ratio is their time / ours, so above 1 means that
ours is faster. Before anything is timed, both must give the same logits.

Usage: python benchmarks/speed/upernet.py [--side 256] [--batch 1] [--rounds 5]
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
import transformers
from forward import OURS, machine, measure, randomise, ratios
from torch import Tensor, nn
from train import paper_config

sys.path.insert(0, str(Path(__file__).parents[2]))
from inflate_zoo.segmentation.upernet import UpernetDecoder
from tests.support.upernet_heads import transformers_head

TRANSFORMERS = "transformers"
Run = Callable[[], Tensor]


class Theirs(nn.Module):
    """Their head on the pyramid that ours makes of a plain vision transformer's maps."""

    def __init__(self, ours: UpernetDecoder, patch: int) -> None:
        super().__init__()
        self.rescale, self.head, self.patch = ours.rescale, transformers_head(ours), patch

    def forward(self, maps: list[Tensor]) -> Tensor:
        """One logit per pixel and class."""
        planes = [each[:, :, 0] for each in maps]
        levels = [scale(plane) for scale, plane in zip(self.rescale, planes, strict=True)]
        plane = [self.patch * extent for extent in planes[0].shape[2:]]
        return F.interpolate(self.head(levels), plane, mode="bilinear").unsqueeze(2)


def heads(
    side: int, batch: int, features: int, device: str, dtype: torch.dtype
) -> dict[str, dict[str, Run]]:
    """Forward, and forward with backward, of both."""
    config = paper_config(side)
    ours = UpernetDecoder(config, 14, features, "batch").eval()
    randomise(ours)
    nets = {OURS: ours.to(device), TRANSFORMERS: Theirs(ours, config.patch_size[0]).to(device)}
    # As a network has them: tokens, whose channels are last.
    tokens = [torch.randn(batch, 1, *config.position_grid, config.embed_dim) for _ in range(4)]
    maps = [each.to(device).movedim(-1, 1).requires_grad_() for each in tokens]

    def forward(name: str) -> Tensor:
        with torch.autocast(device, dtype, enabled=dtype is not torch.float32):
            return nets[name](maps, None) if name == OURS else nets[name](maps)

    def inference(name: str) -> Tensor:
        with torch.no_grad():
            return forward(name)

    def both(name: str) -> Tensor:
        found = forward(name)
        found.float().square().mean().backward()
        return found

    if dtype is torch.float32:
        found, expected = (inference(name) for name in nets)
        error = ((found - expected).abs().max() / expected.abs().max()).item()
        if not error <= 1e-3:
            raise SystemExit(f"logits differ by {error:.1e}: two functions would be compared")
    return {
        what: {name: lambda run=run, name=name: run(name) for name in nets}
        for what, run in (("forward", inference), ("forward and backward", both))
    }


def main(arguments: list[str] | None = None) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=512 if device == "cuda" else 256)
    parser.add_argument("--batch", type=int, default=16 if device == "cuda" else 1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    print(f"{machine(device)}; torch {torch.__version__}, transformers {transformers.__version__}.")
    print(f"{options.batch} x {options.side} x {options.side}; medians of {options.rounds}.\n")
    print("| what | precision | ours, ms | transformers, ms | ratio | range of rounds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for dtype in (torch.float32, torch.bfloat16):
        for what, arms in heads(options.side, options.batch, 768, device, dtype).items():
            times = measure(arms, options.rounds, 1, device)
            each = ratios(times, OURS, TRANSFORMERS)
            cells = (
                what,
                str(dtype).removeprefix("torch."),
                *(f"{1000 * statistics.median(times[name]):.0f}" for name in arms),
                f"**{statistics.median(each):.2f}**",
                f"{min(each):.2f} to {max(each):.2f}",
            )
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
