"""Where our own data files are, and where what can be made again is kept."""

import os
import sys
from pathlib import Path

# What can be made again, and how it is called; all else in the folder is left alone.
CACHE_KINDS = {
    "cases": "volumes prepared for training",
    "weights": "sources that bench converted",
    "features": "of frozen backbones",
    "zoo": "entries that were loaded by name",
}


def default_cache() -> Path:
    """The cache folder: $INFLATE_ZOO_CACHE, else one in the user's cache folder."""
    if chosen := os.environ.get("INFLATE_ZOO_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        above = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        above = Path.home() / "Library" / "Caches"
    else:
        above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(above) / "inflate-zoo"


def data_folder(kind: str) -> Path:
    """Folder of our own files of one kind, e.g. `converters`: in a wheel or in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind
