"""One picture in SVG and PNG, the same bytes for the same data."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from inflate_zoo.bench.report.output.document import Picture
from inflate_zoo.bench.report.output.text import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, PAPER = "#1b1d1f", "#fefefe"  # unusual values: a page puts its own colours in their place
FAINT = "#8a8a8a"
# Okabe and Ito, those that show on white and on black; shapes repeat what colours say.
KINDS = {"inflated": ("#2b83c4", "o"), "2d": ("#d55e00", "s"), "random": ("#808080", "D")}
CLASSES = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#f0e442")
_DPI = 110
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_STYLE = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "grid.alpha": 0.35,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "path",
    "svg.hashsalt": "inflate-zoo",
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def styled() -> Iterator[None]:
    """Our looks, whatever the user's matplotlibrc says."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; it needs no display and is not kept by pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def picture(drawn: Figure, alt: str) -> Picture:
    """Render a figure in both forms."""
    svg, png = io.StringIO(), io.BytesIO()
    drawn.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    # Laid out once, which takes a third of the time, where letters are widest: on whole pixels.
    drawn.set_layout_engine("none")
    drawn.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    text = _HEAD.sub("", _METADATA.sub("", _COMMENT.sub("", svg.getvalue())), count=1)
    return Picture(alt, text, png.getvalue())


def inlined(picture: Picture, name: str) -> str:
    """The SVG for a page: in the page's ink, on its paper, with names of its own."""
    text = picture.svg.replace(INK, "currentColor").replace(PAPER, "none")
    for mark in ('id="', 'href="#', "url(#"):
        text = text.replace(mark, f"{mark}{name}-")
    return text.strip()


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())


def label(text: object, most: int = 34) -> str:
    """A name for a drawing: short, on one line, of characters that the font has."""
    known = _glyphs()
    full = "".join(
        c if ord(c) in known else c.encode("unicode_escape", "surrogatepass").decode()
        for c in str(text)
    )
    return shortened(full, most)


def grid(drawn: Figure, count: int, columns: int, **shared: Any) -> list[Any]:
    """Axes for `count` panels, row by row; the last row's empty places stay empty."""
    rows = -(-count // columns)
    axes = list(drawn.subplots(rows, columns, squeeze=False, **shared).ravel())
    for unused in axes[count:]:
        unused.set_axis_off()
    for lowest in axes[max(count - columns, 0) : count]:  # sharing hides those above empty places
        lowest.tick_params(axis="x", labelbottom=True)
    return axes[:count]
