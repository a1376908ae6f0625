"""What is taken away from a cache, and what stays, whoever uses it."""

import os
import tempfile
import time

import pytest

from inflate_zoo.files.writing import pruning as module
from inflate_zoo.files.writing.claims import entry_lock, lock
from inflate_zoo.files.writing.pruning import entries, prune
from inflate_zoo.files.writing.store import Store
from tests.support.cache_user import using

KINDS = ("cases", "weights", "zoo")
NAMES = ("a", "b")
DAY = 86400.0


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


def make(root, name, days=0.0):
    """An entry, as it is made; last used so many days ago."""
    folder = root / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Store(root).made(folder, NAMES) as stage:
        for part in NAMES:
            (stage / part).write_text(part * 100)
    when = time.time() - days * DAY
    os.utime(folder, (when, when))
    return folder


def paths(found):
    return [entry.path for entry in found]


def test_entries_are_found_whole_or_not_groups_too(root):
    make(root, "cases/one")
    make(root, "zoo/key/vit-3d", days=3)
    (root / "weights" / "half").mkdir(parents=True)
    (root / "weights" / "half" / "a").write_text("a")
    (root / "data" / "set").mkdir(parents=True)
    found = {entry.path: entry for entry in entries(root, KINDS)}
    assert sorted(found) == ["cases/one", "weights/half", "zoo/key/vit-3d"]
    assert [found[path].whole for path in sorted(found)] == [True, False, True]
    assert found["weights/half"].size == 1
    assert found["cases/one"].size > 200
    assert time.time() - found["zoo/key/vit-3d"].used == pytest.approx(3 * DAY, abs=60)


def test_what_was_long_unused_goes_and_the_rest_says_why(root):
    for name, days in (("cases/old", 40), ("cases/new", 2), ("zoo/key/old", 40)):
        make(root, name, days)
    told = prune(root, KINDS, 30, dry_run=True)
    assert sorted(paths(told.removed)) == ["cases/old", "zoo/key/old"]
    assert (root / "cases/old" / "a").exists()
    pruned = prune(root, KINDS, 30, dry_run=False)
    assert pruned == told
    assert [(kept.entry.path, kept.reason) for kept in pruned.kept] == [
        ("cases/new", "used lately")
    ]
    left = sorted(path.relative_to(root).as_posix() for path in root.glob("[!l]*/*"))
    assert left == ["cases/new"]
    assert Store(root).whole(root / "cases/new", NAMES)


def test_only_the_kinds_that_were_named(root):
    make(root, "cases/old", 40)
    make(root, "weights/old", 40)
    assert paths(prune(root, ["weights"], 30, dry_run=False).removed) == ["weights/old"]
    assert (root / "cases/old").exists()


def test_what_another_process_uses_stays_however_old(root):
    make(root, "cases/used", 400)
    make(root, "cases/free", 400)
    with using(root, ["cases/used"]) as process:
        kept = prune(root, KINDS, 0, dry_run=False).kept
        assert [(each.entry.path, each.reason) for each in kept] == [("cases/used", "in use")]
        assert kept[0].who.endswith(f":{process.pid}")
    assert paths(prune(root, KINDS, 0, dry_run=False).removed) == ["cases/used"]


def test_what_a_killed_process_used_goes(root):
    make(root, "cases/used")
    with using(root, ["cases/used"]) as process:
        process.kill()
        process.wait()
        assert paths(prune(root, KINDS, 0, dry_run=False).removed) == ["cases/used"]


def test_what_this_process_uses_stays(root):
    make(root, "cases/used", 400)
    store = Store(root)
    store.use(root / "cases/used")
    (kept,) = prune(root, KINDS, 30, dry_run=False).kept
    assert kept.reason == "in use"


def test_use_is_noted_in_the_folders_time_and_leaves_the_files_alone(root):
    folder = make(root, "cases/one", 40)
    before = [(folder / name).stat() for name in (*NAMES, "manifest.json")]
    assert Store(root).whole(folder, NAMES)
    assert [(folder / name).stat() for name in (*NAMES, "manifest.json")] == before
    (entry,) = entries(root, KINDS)
    assert time.time() - entry.used < 60


def test_who_comes_while_it_is_taken_away_finds_nothing_and_makes_it_anew(root, monkeypatch):
    """The decision stands: nobody finds an entry that is about to go."""
    folder = make(root, "cases/one", 40)
    late = Store(root)
    found = []
    real = module.shutil.rmtree

    def slow(path, **options):
        found.append(late.whole(folder, NAMES))
        real(path, **options)

    monkeypatch.setattr(module.shutil, "rmtree", slow)
    prune(root, KINDS, 30, dry_run=False)
    assert found == [False]
    make(root, "cases/one")
    assert late.whole(folder, NAMES)


def test_what_is_being_made_stays_and_what_a_killed_maker_left_goes(root):
    for name in ("weights/locked", "weights/left"):
        (root / name).mkdir(parents=True)
    (root / "weights" / "left" / "a").write_text("a")
    stage = tempfile.mkdtemp(prefix=".key.", suffix=".partial", dir=root / "weights")
    descriptor = os.open(stage, os.O_RDONLY)
    assert lock(descriptor, alone=True, wait=False)
    path = entry_lock(root, "weights/locked")
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        assert lock(file.fileno(), alone=True, wait=False)
        pruned = prune(root, KINDS, 30, dry_run=False)
    assert paths(pruned.removed) == ["weights/left"]
    assert {kept.reason for kept in pruned.kept} == {"being made"}
    os.close(descriptor)
    assert len(prune(root, KINDS, 30, dry_run=False).removed) == 2


def test_links_and_loose_files_are_left_alone(root, tmp_path):
    make(root, "cases/one", 40)
    (tmp_path / "elsewhere").mkdir()
    (root / "cases" / "link").symlink_to(tmp_path / "elsewhere")
    (root / "cases" / "note").write_text("mine")
    assert paths(prune(root, KINDS, 30, dry_run=False).removed) == ["cases/one"]
    assert sorted(path.name for path in (root / "cases").iterdir()) == ["link", "note"]


def test_a_cache_that_is_not_there_holds_nothing(root):
    assert list(entries(root, KINDS)) == []
