"""Cards of a zoo of one's own, for small repos of the Hub stand-in."""

from pathlib import Path
from typing import Any

from inflate_zoo.hub.cards import front_matter_text

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


def write_card(folder: Path, text: str = "Some text.", **changes: Any) -> Path:
    """Write a valid card, but for the changes; `...` leaves a field out."""
    fields = {key: value for key, value in (CARD | changes).items() if value is not ...}
    path = folder / f"{fields.get('name')}.md"
    folder.mkdir(exist_ok=True)
    path.write_text(front_matter_text(fields) + text + "\n", encoding="utf-8")
    return path
