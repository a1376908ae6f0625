"""What many tests need is made once per process; each gets a copy, free to be changed."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_MADE: dict[str, dict[str, bytes]] = {}
_MOST = 2**24  # bytes that are kept in memory; what is larger is made anew each time


def made_once(key: object, folder: Path, make: Callable[[Path], object]) -> Path:
    """Fill a folder with files that are the same for all who ask for them by this key.

    Args:
        key: Everything that the files depend on; its `repr` is what counts.
        folder: Made if it is not there; what is in it stays.
        make: Writes them into an empty folder; called once per process and key, if small.

    Returns:
        The folder.
    """
    if (name := repr(key)) not in _MADE:
        with tempfile.TemporaryDirectory(prefix="made-once-") as root:
            make(Path(root))
            if sum(path.stat().st_size for path in Path(root).rglob("*")) > _MOST:
                shutil.copytree(root, folder, copy_function=shutil.move, dirs_exist_ok=True)
                return folder
            _MADE[name] = files_of(Path(root))
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in _MADE[name].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Contents of all files below a folder, by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
