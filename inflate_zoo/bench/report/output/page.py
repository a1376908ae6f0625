"""A report as one HTML file: no scripts, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
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
from inflate_zoo.bench.report.output.drawing import inlined
from inflate_zoo.bench.report.output.text import for_address, for_html

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1d1f; --paper: #ffffff; --soft: #5b6168;
  --line: #d4d8dc; --panel: #f4f6f8; --warn: #8a4b00; --warn-panel: #fff4e0;
  --mark: #2b83c4; --link: #1a5fa0; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --paper: #15181b;
  --soft: #a4abb3; --line: #3a4047; --panel: #1e2226; --warn: #ffc36b; --warn-panel: #33270f;
  --link: #7db8ea; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 4rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial,
  sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; } h2 { font-size: 1.35rem; margin: 2.5rem 0 .75rem;
  padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
h1, h2, h3, p, li, summary, figcaption, code { overflow-wrap: anywhere; }
h1, h2, h3, p, li, td, th, summary, code { unicode-bidi: isolate; }
p, li { max-width: 48rem; }
.table { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: 0 0 .3rem; }
caption span { display: inline-block; position: sticky; left: 0;
  max-width: min(48rem, 100vw - 4rem); }
th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; max-width: 18rem;
  overflow-wrap: break-word; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; color: var(--soft); font-weight: 600; max-width: 9rem; }
th:first-child { position: sticky; left: 0; background: var(--paper); padding-left: 0; }
tbody th { font-weight: 600; }
td.n, th.n { text-align: right; } td.n { white-space: nowrap; }
tr.marked th, tr.marked td { color: var(--warn); background: var(--warn-panel); }
.soft { color: var(--soft); font-size: .9rem; margin: .25rem 0 1rem; }
.lead { border-left: .25rem solid var(--mark); padding: .2rem 0 .2rem .9rem; margin: 0;
  font-size: 1.15rem; line-height: 1.4; } .lead + :not(.lead) { margin-top: 1.25rem; }
a { color: var(--link); } .links { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }
.notice { border: 2px solid var(--warn); border-radius: .4rem; background: var(--warn-panel);
  padding: .6rem 1rem; margin: 1rem 0; }
.notice p { font-weight: 700; color: var(--warn); margin: 0; }
.notice ul { margin: .3rem 0 0; padding-left: 1.2rem; }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9rem; max-width: 48rem; }
.drawings { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: flex-start; }
.drawings svg { max-width: 100%; height: auto; color: var(--ink); }
.drawings.wide { flex-wrap: nowrap; overflow-x: auto; }
.drawings.wide svg { max-width: none; flex: none; }
details { margin: .75rem 0; border: 1px solid var(--line); border-radius: .4rem;
  padding: .4rem .8rem; }
summary { cursor: pointer; font-weight: 600; }
pre { background: var(--panel); padding: .6rem .8rem; border-radius: .4rem; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: 1.25rem 1rem 3rem; } h1 { font-size: 1.35rem; }
  .lead { font-size: 1.05rem; } table { width: max-content; }
  th:first-child { max-width: 8.5rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } .table { overflow: visible; }
  table { font-size: 7.5pt; } th, td { padding: .15rem .3rem; }
  figure, tr, .notice { break-inside: avoid; } h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; } }
"""
# The page may load nothing: what slips through the escaping stays without effect.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(title: str, blocks: Blocks, pictures: Pictures) -> str:
    """The whole page."""
    body = "\n".join(_block(block, pictures) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{for_html(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{for_html(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _block(block: Block, pictures: Pictures) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{for_html(text)}</h{level}>"
        case Paragraph(text, tone):
            return f'<p class="{tone}">{for_html(text)}</p>'
        case Links(items):
            told = (_link(for_html(text), address) for text, address in items)
            return f'<p class="links">{" ".join(told)}</p>'
        case Notice(title, sentences):
            listed = _list([("", sentence) for sentence in sentences])
            return f'<div class="notice" role="note"><p>{for_html(title)}</p>{listed}</div>'
        case Bullets(items):
            return _list(items)
        case Table():
            return _table(block)
        case Figures():
            return _figure(block, pictures)
        case Code(text):
            return f"<pre><code>{for_html(text)}</code></pre>"
        case Fold(title, inner):
            content = "\n".join(_block(one, pictures) for one in inner)
            return f"<details><summary>{for_html(title)}</summary>\n{content}\n</details>"


def _list(items: Sequence[tuple[str, str]]) -> str:
    lines = [
        f"<li><b>{for_html(bold)}</b> {for_html(text)}</li>"
        if bold
        else f"<li>{for_html(text)}</li>"
        for bold, text in items
    ]
    return f"<ul>{''.join(lines)}</ul>"


def _link(shown: str, address: str) -> str:
    return f'<a href="{for_html(for_address(address))}">{shown}</a>'


def _table(table: Table) -> str:
    kinds = ["" if place < table.words else ' class="n"' for place in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{kind}>{for_html(cell)}</th>'
        for kind, cell in zip(kinds, table.columns, strict=True)
    )
    rows = []
    for place, (row, address) in enumerate(zip_longest(table.rows, table.links)):
        opening = '<tr class="marked">' if place in table.marked else "<tr>"
        first = _link(for_html(row[0]), address) if address else for_html(row[0])
        cells = "".join(
            f"<td{kind}>{for_html(cell)}</td>"
            for kind, cell in zip(kinds[1:], row[1:], strict=True)
        )
        rows.append(f'{opening}<th scope="row"{kinds[0]}>{first}</th>{cells}</tr>')
    caption = f"<caption><span>{for_html(table.caption)}</span></caption>" if table.caption else ""
    body = "\n".join(rows)
    return (
        f'<div class="table" tabindex="0"><table>{caption}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _figure(block: Figures, pictures: Pictures) -> str:
    drawn = []
    for name in block.names:
        alt = for_html(pictures[name].alt)
        svg = inlined(pictures[name], name)
        drawn.append(svg.replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1))
    shown = "\n".join(drawn)
    kind = "drawings wide" if block.wide else "drawings"
    return (
        f'<figure><div class="{kind}">{shown}</div>'
        f"<figcaption>{for_html(block.caption)}</figcaption></figure>"
    )
