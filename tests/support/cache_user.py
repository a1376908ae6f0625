"""Another process that uses an entry of a cache until its stdin is closed."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from pathlib import Path
from inflate_zoo.files.writing.store import Store
root, *names = sys.argv[1:]
store = Store(Path(root))
print(*[store.whole(Path(root) / name, ("a", "b")) for name in names], flush=True)
sys.stdin.read()
"""


@contextmanager
def using(root: Path, names: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run it; it has looked at the entries when the block begins, and lives until its end."""
    command = [sys.executable, "-c", CODE, str(root), *names]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["True"] * len(names)
        try:
            yield process
        finally:
            process.communicate()
