"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from inflate_zoo.bench.report.output.document import (
    Block,
    Blocks,
    Bullets,
    Code,
    Figures,
    Fold,
    Heading,
    Links,
    Notice,
    Paragraph,
    Pictures,
    Table,
)
from inflate_zoo.bench.report.output.text import for_address, for_markdown
from inflate_zoo.errors import visible


def render(title: str, blocks: Blocks, pictures: Pictures) -> str:
    """The whole text; pictures are links into `plots`."""
    parts = [f"# {for_markdown(title)}", *(_block(block, pictures) for block in blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, pictures: Pictures) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {for_markdown(text)}"
        case Paragraph(text, tone):
            shown = for_markdown(text)
            return f"**{shown}**" if tone == "lead" else shown
        case Links(items):
            return " · ".join(_link(text, address) for text, address in items)
        case Notice(title, sentences):
            lines = [f"**{for_markdown(title)}**", "", *_items(("", s) for s in sentences)]
            return "\n".join(f"> {line}".rstrip() for line in lines)
        case Bullets(items):
            return "\n".join(_items(items))
        case Table():
            return _table(block)
        case Figures(names, caption):
            links = [f"![{for_markdown(pictures[n].alt)}](plots/{n}.png)" for n in names]
            return "\n".join([*links, "", for_markdown(caption)])
        case Code(text):
            # Four spaces: no text can end the block, as it could with a fence.
            return f"    {visible(text)}"
        case Fold(title, inner):
            parts = [f"**{for_markdown(title)}**", *(_block(one, pictures) for one in inner)]
            return "\n\n".join(parts)


def _items(items: Iterable[tuple[str, str]]) -> Iterator[str]:
    for bold, text in items:
        yield (
            f"- **{for_markdown(bold)}** {for_markdown(text)}"
            if bold
            else f"- {for_markdown(text)}"
        )


def _link(text: str, address: str) -> str:
    return f"[{for_markdown(text)}]({for_address(address)})"


def _table(table: Table) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rule = [":--" if place < table.words else "--:" for place in range(len(table.columns))]
    lines = [line(map(for_markdown, table.columns)), line(rule)]
    for row, address in zip_longest(table.rows, table.links):
        first = _link(row[0], address) if address else for_markdown(row[0])
        lines.append(line([first, *map(for_markdown, row[1:])]))
    return "\n".join([*([for_markdown(table.caption), ""] if table.caption else []), *lines])
