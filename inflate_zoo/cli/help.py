"""`--help` with options in groups, as plain text; Typer by itself draws groups in boxes alone."""

from __future__ import annotations

import inspect
from textwrap import wrap
from typing import Any

from typer.core import TyperCommand

SOURCE = "The 2D source"
NETWORK = "The 3D network"
NORMALIZATION = "Input normalisation"
DATA = "Data"
COMPARED = "What is compared"
TRAINING = "Training"
MACHINE = "Resources"
RUN = "The run"

_FIRST, _LAST = "Arguments", "Options"
# Python's names of types say less than they take room.
_PLAIN = {
    "<int range>": "N",
    "<int>": "N",
    "<float range>": "X",
    "<float>": "X",
    "<list[int]>": "N",
    "<list[str]>": "<str>",
    "<list[Path]>": "<path>",
}
_TYPED = ("inflate-zoo ", "torchrun ")  # what begins so is a command
_NARROWEST = 20  # columns
_WIDEST = 30  # characters of a name beside its text; longer ones have a line of their own


class GroupedCommand(TyperCommand):
    """A command whose help shows options under their `rich_help_panel`, those without one last."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the base's form
        """Write what the command does; commands to copy are broken at spaces alone."""
        indent = " " * (formatter.current_indent + 2)
        for paragraph in inspect.cleandoc(self.help or "").split("\n\n"):
            text = " ".join(paragraph.split())
            after = indent + (" " * 4 if text.startswith(_TYPED) else "")
            lines = wrap(
                text,
                max(_NARROWEST, formatter.width),
                initial_indent=indent,
                subsequent_indent=after,
                break_on_hyphens=False,
            )
            formatter.write_paragraph()
            formatter.write("".join(f"{line}\n" for line in lines))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then each group in the order in which the command names them."""
        groups: dict[str, list[tuple[str, str]]] = {_FIRST: []}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                name, text = record
                for typed, plain in _PLAIN.items():
                    name = name.replace(typed, plain)
                groups.setdefault(_group(parameter), []).append((name, text))
        groups[_LAST] = groups.pop(_LAST, [])
        names = [name for rows in groups.values() for name, _ in rows]
        width = min(_WIDEST, max(map(len, names), default=0))
        for group, rows in groups.items():
            if rows:
                with formatter.section(group):  # texts begin in one column through all groups
                    formatter.write_dl([(f"{name:<{width}}", text) for name, text in rows])


def _group(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _FIRST
    return getattr(parameter, "rich_help_panel", None) or _LAST
