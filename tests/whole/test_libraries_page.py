"""The page on timm and transformers: its code runs, one block after the other, and prints so."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "converters" / "LIBRARIES.md"


def test_the_pages_python_prints_what_its_comments_say(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.M | re.S)
    code = "\n".join(blocks)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    shown = re.findall(r"^print.*  # (\(.*\))$", code, flags=re.M)
    assert len(shown) == code.count("print(")
    assert done.stdout.splitlines() == shown
    assert sorted(path.name for path in (tmp_path / "tuned").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
