"""Names and numbers as they are shown: names come from strangers, numbers may be absent."""

from __future__ import annotations

import html
import math
import os
import re
from urllib.parse import quote

from inflate_zoo.errors import visible
from inflate_zoo.texts import duration, size

NONE = "–"  # noqa: RUF001 - an en dash stands for "no value"
_MARKDOWN = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",
    "\\": "&#92;",
    "`": "&#96;",
    "@": "&#64;",
    **{character: f"\\{character}" for character in "*_[]~#$!"},
}
# What makes a list or a rule of a text where it begins a block; signs of numbers do not.
_BEGINNING = re.compile(r"^(\d{1,9}(?=[.)])|)([-+.)])(?=[ -]|$)")


def shortened(text: object, most: int) -> str:
    """At most `most` characters; the middle goes, as names differ at their ends."""
    shown = visible(text)
    if len(shown) <= most:
        return shown
    head = (most - 1) // 2
    return f"{shown[:head]}…{shown[len(shown) - (most - 1 - head) :]}"


def for_html(text: object) -> str:
    """Text for an element or a quoted attribute."""
    return html.escape(visible(text), quote=True)


def for_markdown(text: object) -> str:
    """Text for a table cell, a list item or a paragraph, with no meaning of its own."""
    # Four spaces in front would make it code, fewer have no effect.
    shown = "".join(_MARKDOWN.get(c, c) for c in visible(text).lstrip(" "))
    shown = _BEGINNING.sub(r"\1\\\2", shown)
    return shown.replace("://", "&#58;//").replace("www.", "www&#46;")


def for_address(path: str) -> str:
    """A relative path as the address of a link, in a page and in Markdown alike."""
    return quote(os.fsencode(path))


def for_csv(text: object) -> str:
    """Text for a cell of a spreadsheet, which would take some beginnings for a formula."""
    shown = visible(text)
    # The second four are the wide forms, which spreadsheets normalise.
    risky = shown.lstrip().startswith(tuple("=+-@＝＋－＠")) or str(text).startswith(("\t", "\r"))  # noqa: RUF001
    return f"'{shown}" if risky else shown


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits; none is a zero with a minus."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:z.{digits}f}"


def signed(value: float | None) -> str:
    """A number with its sign, a plus where it is shown as zero."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:+z.3f}"


def with_width(difference: float, half_width: float | None) -> str:
    """A difference with the half-width of its interval."""
    return signed(difference) + ("" if half_width is None else f" ± {number(half_width)}")


def probability(value: float | None) -> str:
    """A p value, never shown as zero."""
    if value is None or not math.isfinite(value):
        return NONE
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def amount(value: float | None) -> str:
    """A large number with a decimal prefix, e.g. `22.0 M`."""
    if value is None or not math.isfinite(value):
        return NONE
    for power, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= power:
            return f"{value / power:.1f} {prefix}"
    return f"{value:.0f}"


def memory(count: float | None) -> str:
    """Bytes as MiB or GiB, which may be absent."""
    if count is None or not math.isfinite(count):
        return NONE
    return size(count)


def seconds(value: float | None) -> str:
    """A duration, which may be absent."""
    if value is None or not math.isfinite(value):
        return NONE
    return duration(value)
