"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from inflate_zoo.bench.report.output.document import (
    Block,
    Blocks,
    Bullets,
    Code,
    Figures,
    Fold,
    Heading,
    Notice,
    Paragraph,
    Pictures,
    Table,
)
from inflate_zoo.bench.report.output.text import for_markdown
from inflate_zoo.errors import visible


def render(title: str, blocks: Blocks, pictures: Pictures) -> str:
    """The whole text; pictures are links into `plots`."""
    parts = [f"# {for_markdown(title)}", *(_block(block, pictures) for block in blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, pictures: Pictures) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {for_markdown(text)}"
        case Paragraph(text):
            return for_markdown(text)
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


def _table(table: Table) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(map(for_markdown, cells)) + " |"

    rule = [":--" if place < table.words else "--:" for place in range(len(table.columns))]
    return "\n".join([line(table.columns), f"| {' | '.join(rule)} |", *map(line, table.rows)])
