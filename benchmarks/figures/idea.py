"""Draw the idea of weight inflation: `python benchmarks/figures/idea.py` writes idea.png beside it.

All colours are real numbers: a stem kernel of builtin/clip, a slice of an embedded MRI volume, and
what torch's convolutions make of them.
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import conv2d, conv3d

from inflate_zoo import SCHEMES
from inflate_zoo.bench.data.volumes import read_volume

BUILTIN = Path(__file__).parents[1] / "builtin"
CHANNEL = 110  # one whose stripe the eye can follow
DEPTH = 4  # slices of the 3D kernel
TOKENS = 2  # along depth, so the volume has 8 slices
ROWS = {  # scheme: rule, y of its row in pixels, verdict
    "center": ("W in slice D // 2,\nzeros elsewhere", 140, "equals 2D\nat every depth"),
    "average": ("W / D in each slice", 268, "equals 2D\nat every depth"),
    "repeat": ("W in each slice", 396, "D times 2D,\nbias aside"),
}
INK, SOFT, LINE = "#1a1a1a", "#555555", "#9a9a9a"


def real_numbers() -> tuple[Tensor, Tensor]:
    """Kernel [1, 1, 4, 4], summed over RGB, and slice [1, 1, 32, 32] with values in [0, 1]."""
    stem = load_file(BUILTIN / "clip" / "model.safetensors")["patch_embed.proj.weight"]
    kernel = stem[CHANNEL].float().sum(0)[None, None]
    file = BUILTIN / "hippocampus-mini" / "imagesTr" / "hippocampus_007.nii.gz"
    voxels = read_volume(file, "axial").array[0]
    image = torch.from_numpy(voxels[len(voxels) // 2, 8:40, 1:33].astype(np.float32))
    low, high = image.quantile(0.005), image.quantile(0.995)
    return kernel, ((image - low) / (high - low)).clamp(0, 1).flip(0)[None, None]  # anterior up


def card(
    axes: Axes, values: NDArray[np.float32], x: float, y: float, size: float, **colours: object
) -> None:
    """An upright square of cells, turned away from the viewer; x of its left edge, y of its middle.

    Its width on the page is 0.5 size, its height 1.25 size, in pixels.
    """
    rows, columns = values.shape
    down, across = np.mgrid[0 : 1 : (rows + 1) * 1j, 0 : 1 : (columns + 1) * 1j]
    xs, ys = x + 0.5 * size * across, y + size * (down - 0.5 + 0.125 - 0.25 * across)
    axes.pcolormesh(xs, ys, values, zorder=2, rasterized=True, **colours)
    corners = [0, 0, -1, -1, 0], [0, -1, -1, 0, 0]
    axes.plot(xs[corners], ys[corners], color=SOFT, linewidth=1, zorder=2, solid_joinstyle="miter")


def write(axes: Axes, x: float, y: float, text: str, **style: object) -> None:
    axes.text(x, y, text, **{"fontsize": 14, "color": INK, "va": "center", **style})


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": LINE, "linewidth": 1.6, "mutation_scale": 14}
    axes.annotate("", end, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


def draw(axes: Axes, kernel: Tensor, image: Tensor) -> None:
    tokens_2d = conv2d(image, kernel, stride=DEPTH)
    volume = image.unsqueeze(2).repeat(1, 1, DEPTH * TOKENS, 1, 1)
    # One scale for all kernels, one for all tokens, which those of `repeat` exceed.
    weights = {"cmap": "RdBu_r", "vmax": kernel.abs().max(), "vmin": -kernel.abs().max()}
    most = 1.3 * tokens_2d.abs().max()
    responses = {"cmap": "RdBu_r", "vmax": most, "vmin": -most}
    grey = {"cmap": "gray", "vmin": 0, "vmax": 1}

    heading = {"fontsize": 16, "weight": "bold"}
    write(axes, 30, 36, "2D kernel W", **heading)
    write(axes, 270, 36, f"3D kernel, D = {DEPTH} slices", **heading)
    write(axes, 742, 36, "Volume of equal slices", **heading)
    write(axes, 1052, 36, "3D tokens", **heading)

    card(axes, kernel[0, 0].numpy(), 55, 160, 130, **weights)
    write(axes, 30, 290, "On one slice,\nthe 2D tokens:", color=SOFT)
    card(axes, image[0, 0].numpy(), 30, 396, 95, **grey)
    arrow(axes, (88, 396), (120, 396))
    card(axes, tokens_2d[0, 0].numpy(), 130, 396, 95, **responses)

    for index in range(DEPTH * TOKENS):
        card(axes, image[0, 0].numpy(), 750 + 22 * index, 268, 110, **grey)
    write(axes, 714, 268, r"$\ast$", fontsize=26, color=LINE, ha="center")
    write(axes, 1006, 268, "=", fontsize=26, color=LINE, ha="center")

    for name, (rule, y, verdict) in ROWS.items():
        inflated = SCHEMES[name](kernel, DEPTH)
        tokens = conv3d(volume, inflated, stride=DEPTH)
        times = DEPTH if name == "repeat" else 1
        expected = times * tokens_2d.unsqueeze(2).expand_as(tokens)
        torch.testing.assert_close(tokens, expected)
        arrow(axes, (140, 160 + 0.08 * (y - 160)), (255, y))
        write(axes, 270, y - 20, name, family="monospace", weight="bold", fontsize=17)
        write(axes, 270, y + 2, rule, color=SOFT, va="top")
        for index, part in enumerate(inflated[0, 0]):
            card(axes, part.numpy(), 465 + 58 * index, y, 95, **weights)
        for index, part in enumerate(tokens[0, 0]):
            card(axes, part.numpy(), 1052 + 58 * index, y, 95, **responses)
        write(axes, 1188, y, verdict, weight="bold", fontsize=15)

    note = (
        "In attention, the keys of prefix tokens (cls, registers) gain log(number of depth tokens)."
    )
    write(axes, 270, 480, note, color=SOFT)


def main() -> None:
    figure = plt.figure(figsize=(14, 5), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1400), ylim=(500, 0))
    axes.axis("off")
    draw(axes, *real_numbers())
    figure.savefig(Path(__file__).with_suffix(".png"), metadata={"Software": None})


if __name__ == "__main__":
    main()
