"""Files of events."""

from pathlib import Path

import pytest

from inflate_zoo.bench.training.events import Events
from inflate_zoo.errors import WriteError


def test_a_full_disk_under_the_curves_is_one_sentence(tmp_path, monkeypatch, capfd):
    events = Events(tmp_path / "events", 1)
    (written,) = (tmp_path / "events").iterdir()
    events.close()
    whole = Path.open
    full = Path("/dev/full")
    monkeypatch.setattr(Path, "open", lambda *_, **__: whole(full, "wb", buffering=0))
    with pytest.raises(WriteError, match=r"the curves in 'events' .* No space left on device"):
        Events(tmp_path / "events", 1)
    assert written.stat().st_size > 50
    assert capfd.readouterr().err == ""
