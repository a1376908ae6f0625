"""Cards of a zoo of one's own, for small repos of the Hub stand-in."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inflate_zoo.conversion.record import FILES, ConversionRecord, read_record
from inflate_zoo.hub.cards import front_matter_text
from inflate_zoo.registry.building import build

CARD: dict[str, Any] = {
    "name": "small-vit-3d-center",
    "source": "org/small-vit",
    "revision": "main",
    "family": "hf_vit",
    "scheme": "center",
    "patch_depth": 4,
    "volume": [8, 32, 32],
    "channels": 1,
    "fold_normalization": True,
    "objective": "self-distillation",
    "license": "apache-2.0",
    "redistribution": True,
    "reference": "Somebody et al., 2021",
}

RESTRICTED: dict[str, Any] = {
    "name": "other-3d",
    "source": "meta/other-vit",
    "scheme": "average",
    "objective": "masked images",
    "license": "other",
    "license_name": "meta-license",
    "license_link": "https://example.org/license",
    "redistribution": False,
    "parameters": 88354560,
    "size": 353422336,
    "sha256": "d" * 64,
}
LICENSED = b"---\nlicense: apache-2.0\n---\n\n# A model\n"


def write_card(folder: Path, text: str = "Some text.", **changes: Any) -> Path:
    """Write a valid card, but for the changes; `...` leaves a field out."""
    fields = {key: value for key, value in (CARD | changes).items() if value is not ...}
    path = folder / f"{fields.get('name')}.md"
    folder.mkdir(exist_ok=True)
    path.write_text(front_matter_text(fields) + text + "\n", encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def whole(folder: Path) -> ConversionRecord | bool | None:
    """The record of a conversion that has all its files and no others; else nothing true."""
    return set(contents(folder)) - {"manifest.json"} == set(FILES) and read_record(folder)


def killed(work: Callable[[], object]) -> int:
    """The exit code of work in a forked child."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def outcomes(names: Sequence[str] = ()) -> dict[str, str]:
    """What becomes of entries that are built into the folder `out`."""
    return {built.name: built.outcome for built in build(list(names), Path("out"))}


def index() -> dict[str, dict[str, Any]]:
    """The rows of the index of the folder `out`, by entry."""
    rows = json.loads(Path("out/index.json").read_text())
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    return {row.pop("name"): row for row in rows}
