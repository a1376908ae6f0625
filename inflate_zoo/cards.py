"""The model card of a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import yaml

from inflate_zoo.catalog import data_folder


def one_line(text: str) -> str:
    """A text that cannot break out of its line or its Markdown: controls, pipes, tags escaped."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    for char in "\\`*_|<>[]":
        kept = kept.replace(
            char, f"\\{char}" if char not in "<>" else f"&{'lt' if char == '<' else 'gt'};"
        )
    return " ".join(kept.split())


def front_matter(fields: Mapping[str, Any]) -> str:
    """YAML front matter that reads back as the same fields, whatever they hold."""
    body = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=False, width=10_000)
    return f"---\n{body}---\n"


def render_card(
    name: str,
    license_fields: Mapping[str, str],
    base_model: str | None,
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str],
    load_from: str,
    volume_shape: Sequence[int],
) -> str:
    """The card of a conversion.

    Args:
        name: Name of the output folder.
        license_fields: From the source's card; empty means unknown.
        base_model: Hub repo of the source, or `None`.
        facts: Rows of the card's table.
        notes: What a user should know, one sentence each.
        load_from: What the snippet loads.
        volume_shape: Shape of the snippet's random volume.

    Returns:
        The whole README.md.
    """
    fields: dict[str, Any] = {}
    if base_model:
        fields |= {"base_model": base_model, "base_model_relation": "finetune"}
    fields |= license_fields or {"license": "unknown"}
    fields |= {
        "library_name": "inflate-zoo",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["inflated", "2d-to-3d", "3d", "vision-transformer"],
    }
    template = Template((data_folder("model_cards") / "template.md").read_text(encoding="utf-8"))
    body = template.substitute(
        name=one_line(name),
        facts="\n".join(f"| {one_line(key)} | {one_line(value)} |" for key, value in facts),
        notes="\n".join(f"- {one_line(note)}" for note in notes),
        load_from="".join(c for c in Path(load_from).name if c.isprintable() and c not in '"\\'),
        shape=", ".join(map(str, volume_shape)),
    )
    return front_matter(fields) + "\n" + body
