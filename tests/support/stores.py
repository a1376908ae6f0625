"""Entries of the cache whose manifest is right, and whose files are of no use all the same."""

import hashlib
import json
from pathlib import Path


def replace_as_if_made(folder: Path, name: str, content: bytes) -> None:
    """Write a file of an entry, and what its manifest says of it."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
