"""Where the cache is."""

import sys
from pathlib import Path

from inflate_zoo.files.locations import default_cache


def test_the_default_folder(monkeypatch):
    monkeypatch.setenv("INFLATE_ZOO_CACHE", "/some/where")
    assert default_cache() == Path("/some/where")
    monkeypatch.delenv("INFLATE_ZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_cache() == Path("/xdg/inflate-zoo")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "inflate-zoo"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_cache() == Path.home() / "Library" / "Caches" / "inflate-zoo"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert default_cache() == Path("/local/inflate-zoo")
