"""Data sets from a web server that breaks off, changes its mind and lies."""

import errno
import hashlib
import io
import json
import multiprocessing
import shutil
import urllib.request
from types import SimpleNamespace

import pytest

from inflate_zoo.bench.data import fetching, web
from inflate_zoo.bench.data.fetching import data_root, fetch_dataset, fetched
from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.errors import UsageError, WorkError, WriteError
from tests.files.test_archives import write_tar
from tests.support.file_server import FileServer

CONTENT = {"Task/dataset.json": b"{}", "Task/a": bytes(range(256)) * 12_000}


@pytest.fixture
def archive(tmp_path):
    return write_tar(tmp_path / "made.tar", CONTENT).read_bytes()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data sets"


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    taken = []
    monkeypatch.setattr(fetching, "_pause", taken.append)
    return taken


def task_at(address, content=None):
    checksum = f"md5:{hashlib.md5(content).hexdigest()}" if content is not None else ""
    return load_task("msd-task04").model_copy(update={"address": address, "checksum": checksum})


def quiet(*_):
    pass


def whole(folder):
    return (folder / "a").read_bytes() == CONTENT["Task/a"]


def left(root):
    return sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))


def test_size_and_license_are_told_first(archive, root):
    said, counted = [], []
    with FileServer(archive) as server:
        task = task_at(server.address, archive)
        folder = fetch_dataset(
            task,
            root,
            lambda text: said.append((text, len(server.seen))),
            lambda what, done, total: counted.append((what, done, total)),
        )
        assert folder == root / "data"
        assert whole(folder)
        assert said[0] == (
            "fetching MSD Task04 Hippocampus: 3 MiB, CC-BY-SA-4.0, from 127.0.0.1", 1
        )  # fmt: skip
        assert [method for method, _ in server.seen] == ["HEAD", "GET"]
        assert counted[-1][0] == "MB unpacked"
        assert ("MB fetched", 3, 3) in counted
        assert left(root) == ["data"]
        # Again, nothing is asked for.
        assert fetch_dataset(task, root, quiet, quiet) == folder
        assert fetched(task, root) == folder
        assert len(server.seen) == 2


def test_what_breaks_off_goes_on(archive, root, pauses):
    with FileServer(archive, cuts=[1_000_000, 50, 1_500_000]) as server:
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))
        starts = [asked for method, asked in server.seen if method == "GET"]
    assert starts == [None, "bytes=1000000-", "bytes=1000050-", "bytes=2500050-"]
    assert pauses == [2.0, 2.0, 2.0]


def test_a_later_run_goes_on_where_one_was_stopped(archive, root, monkeypatch):
    with FileServer(archive, cuts=[2_000_000]) as server:
        task = task_at(server.address, archive)

        def stop(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(fetching, "_pause", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch_dataset(task, root, quiet, quiet)
        assert left(root) == ["data.tar.json", "data.tar.partial"]
        assert whole(fetch_dataset(task, root, quiet, quiet))
        assert server.seen[-1] == ("GET", "bytes=2000000-")


@pytest.mark.parametrize("etag", ['"two"', "", 'W/"one"'])
def test_another_file_is_begun_anew(archive, root, monkeypatch, etag):
    with FileServer(bytes(len(archive)), cuts=[2_000_000]) as server:
        monkeypatch.setattr(fetching, "_pause", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch_dataset(task_at(server.address, archive), root, quiet, quiet)
        server.content, server.etag = archive, etag
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))
        assert server.seen[-1] == ("GET", None)


def test_it_may_change_between_asking_and_fetching(archive, root, monkeypatch):
    with FileServer(archive, cuts=[1000]) as server:
        task = task_at(server.address, archive)

        def changes(_):
            server.etag = '"two"'

        monkeypatch.setattr(fetching, "_pause", changes)
        assert whole(fetch_dataset(task, root, quiet, quiet))
        assert server.seen[-1] == ("GET", "bytes=1000-")


@pytest.mark.parametrize("changes", [{"ranges": False}, {"head": False}])
def test_servers_that_can_less(archive, root, changes):
    with FileServer(archive, cuts=[1_000_000], **changes) as server:
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))


def test_busy_servers_are_asked_again_and_lost_files_are_not(archive, root, pauses):
    with FileServer(archive, statuses=[503, 429, 500]) as server:
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))
    assert pauses == [2.0, 4.0, 8.0]
    shutil.rmtree(root / "data")
    with FileServer(archive, statuses=[404, 404]) as server:
        with pytest.raises(WorkError, match="could not be fetched: status 404") as caught:
            fetch_dataset(task_at(server.address, archive), root, quiet, quiet)
        assert server.address in caught.value.hint
        assert len(pauses) == 3


def test_a_server_that_stays_away(archive, root, pauses):
    with FileServer(archive) as server:
        task = task_at(server.address)
    with pytest.raises(WorkError, match="could not be fetched"):
        fetch_dataset(task, root, quiet, quiet)
    assert pauses == [2.0, 4.0, 8.0, 16.0]
    with (
        FileServer(archive, cuts=[10, *[0] * 9]) as server,
        pytest.raises(WorkError, match="it ended early"),
    ):
        fetch_dataset(task_at(server.address), root, quiet, quiet)
    assert "data.tar.partial" in left(root)


def test_a_wrong_checksum_is_thrown_away(archive, root):
    with FileServer(archive) as server:
        with pytest.raises(WorkError, match=r"its md5 is .* expected"):
            fetch_dataset(task_at(server.address, b"other"), root, quiet, quiet)
        assert left(root) == ["data.tar.json"]
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))


@pytest.mark.parametrize("change", [str.upper, str.lower, " {} ".format])
@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_checksum_may_be_written_in_any_case(archive, root, kind, change):
    with FileServer(archive) as server:
        checksum = change(f"{kind}:{hashlib.new(kind, archive).hexdigest()}")
        task = task_at(server.address).model_copy(update={"checksum": checksum})
        assert whole(fetch_dataset(task, root, quiet, quiet))


@pytest.mark.parametrize("checksum", [
    "0" * 32, "md5", "md5:", "md5:" + "0" * 31, "md5:" + "g" * 32, "sha256:" + "0" * 32,
    "crc32:" + "0" * 32, "shake_128:" + "0" * 32, "sha1:" + "0" * 40, ":", ":" + "0" * 32, " ",
])  # fmt: skip
def test_a_checksum_that_is_none_is_told_before_anything_is_fetched(archive, root, checksum):
    with FileServer(archive) as server:
        task = task_at(server.address).model_copy(update={"checksum": checksum})
        with pytest.raises(UsageError, match="the checksum of task 'msd-task04' is no digest"):
            fetch_dataset(task, root, quiet, quiet)
        assert not server.seen


def test_a_damaged_archive_leaves_no_folder(archive, root):
    with (
        FileServer(archive[:1_000_000]) as server,
        pytest.raises(UsageError, match="is damaged"),
    ):
        fetch_dataset(task_at(server.address), root, quiet, quiet)
    assert left(root) == []


def theirs(root, content):
    """An archive that a user put there."""
    root.mkdir()
    (root / "data.tar").write_bytes(content)
    return root / "data.tar"


def test_an_archive_that_lies_there_is_checked_used_and_kept(archive, root):
    own, said = theirs(root, archive), []
    with FileServer(archive) as server:
        assert whole(fetch_dataset(task_at(server.address, archive), root, said.append, quiet))
        assert server.seen == []
    assert said[0] == "data.tar lies there already: it is checked and used"
    assert own.read_bytes() == archive


@pytest.mark.parametrize("checksum_of", [b"another", None])
def test_a_users_archive_that_is_none_of_use_is_told_and_kept(archive, root, checksum_of):
    own = theirs(root, archive[:-20_000] if checksum_of is None else archive)
    with FileServer(archive) as server:
        with pytest.raises(UsageError, match=r"is not the archive of task|is damaged") as caught:
            fetch_dataset(task_at(server.address, checksum_of), root, quiet, quiet)
        assert caught.value.hint == "move 'data.tar' away, then the same command fetches it"
        assert server.seen == []
        own.rename(root / "away.tar")
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))
    assert left(root) == ["away.tar", "data"]


def test_what_was_fetched_whole_is_not_fetched_again(archive, root, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with FileServer(archive) as server:
        task = task_at(server.address, archive)
        with monkeypatch.context() as patch:
            patch.setattr(fetching, "extract", stop)
            with pytest.raises(KeyboardInterrupt):
                fetch_dataset(task, root, quiet, quiet)
        asked = len(server.seen)
        assert left(root) == [".data.tar.fetched"]
        assert whole(fetch_dataset(task, root, quiet, quiet))
        assert len(server.seen) == asked
    assert left(root) == ["data"]


def begun(root, content, length, mark='"one"'):
    """What a run that was killed leaves."""
    root.mkdir()
    (root / "data.tar.partial").write_bytes(content)
    (root / "data.tar.json").write_text(json.dumps({"length": length, "mark": mark}))


@pytest.mark.parametrize("told_range", ["bytes {start}-{last}/{length}", ""])
def test_a_run_killed_after_the_last_byte_ends_though_no_length_is_told(archive, root, told_range):
    begun(root, archive, None)
    with FileServer(archive, told_length=False, told_range=told_range) as server:
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))
        gets = [asked for method, asked in server.seen if method == "GET"]
    assert gets == [f"bytes={len(archive)}-", *([] if told_range else [None])]


def test_more_than_there_is_is_begun_anew(archive, root):
    begun(root, archive + b"more", len(archive))
    with FileServer(archive) as server:
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))
        assert server.seen[-1] == ("GET", None)


@pytest.mark.parametrize(
    "told_range, starts",
    [
        ("bytes {start}-{last}/{length}", ["bytes=1000-"]),
        ("bytes {start}-{last}/*", ["bytes=1000-"]),
        ("", ["bytes=1000-"]),  # and the length of the rest is right
        ("bytes 0-{last}/{length}", ["bytes=1000-", None]),
        ("bytes {start}-{last}/9{length}", ["bytes=1000-", None]),
        ("pages 1-2/3", ["bytes=1000-", None]),
    ],
)
def test_a_part_is_the_one_that_was_asked_for(archive, root, told_range, starts):
    begun(root, archive[:1000], len(archive))
    with FileServer(archive, told_range=told_range) as server:
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))
        assert [asked for method, asked in server.seen if method == "GET"] == starts


def test_a_server_that_cannot_go_on_and_breaks_off_is_given_up(archive, root, pauses):
    cuts = [10, 20] * 20
    with (
        FileServer(archive, ranges=False, cuts=cuts) as server,
        pytest.raises(WorkError, match="it ended early"),
    ):
        fetch_dataset(task_at(server.address), root, quiet, quiet)
    assert len(pauses) == 5  # one for the 20 bytes, which were more than before


@pytest.mark.parametrize(
    "location, why",
    [
        ("ftp://127.0.0.1/data.tar", "it redirects from http to ftp"),
        ("file:///etc/passwd", "its redirects lead nowhere"),
        ("/data.tar", "its redirects lead nowhere"),
        ("http://[data.tar", "its answer makes no sense"),
    ],
)
def test_redirects_that_are_not_followed(archive, root, pauses, location, why):
    with (
        FileServer(archive, location=location) as server,
        pytest.raises(WorkError, match=why),
    ):
        fetch_dataset(task_at(server.address), root, quiet, quiet)
    assert pauses == []


def test_a_redirect_is_followed_but_not_from_https_to_http(archive, root):
    with FileServer(archive) as server, FileServer(b"", location=server.address) as first:
        assert whole(fetch_dataset(task_at(first.address, archive), root, quiet, quiet))
    request = urllib.request.Request("https://x.org/a.tar")
    for address, followed in (("https://y.org/a.tar", True), ("http://x.org/a.tar", False)):
        words = (request, io.BytesIO(), 302, "Found", {}, address)
        if followed:
            assert web._Redirects().redirect_request(*words).full_url == address
        else:
            with pytest.raises(web.RefusedError, match="from https to http"):
                web._Redirects().redirect_request(*words)


def test_a_server_that_stays_slow_is_given_up(archive, root, pauses, monkeypatch):
    def slow(_):
        yield b"a few bytes"
        raise web.TooSlowError("it sent 11 bytes in 60 seconds")

    monkeypatch.setattr(web, "pieces", slow)
    with (
        FileServer(archive) as server,
        pytest.raises(WorkError, match="it sent 11 bytes"),
    ):
        fetch_dataset(task_at(server.address), root, quiet, quiet)
    assert pauses == [2.0, 4.0, 8.0, 16.0]


def test_a_full_disk_is_told_before_anything_is_fetched(archive, root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4_000_000))
    with FileServer(archive) as server:
        with pytest.raises(WriteError, match="with what it holds, 4 MiB are free"):
            fetch_dataset(task_at(server.address), root, quiet, quiet)
        assert [method for method, _ in server.seen] == ["HEAD"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        fetch_dataset(load_task("msd-task04"), tmp_path / "file", quiet, quiet)


@pytest.mark.parametrize("name, word", [("btcv", "synapse"), ("acdc", "humanheart-project")])
def test_where_registration_is_needed_it_says_where_and_how(tmp_path, name, word):
    with pytest.raises(UsageError, match="cannot be fetched for you") as caught:
        fetch_dataset(load_task(name), tmp_path, quiet, quiet)
    assert "register at" in caught.value.hint
    assert word in caught.value.hint


@pytest.mark.parametrize(
    "address", ["", "ftp://x.org/a.tar", "https://x.org/page", "file:///a.tar"]
)
def test_what_is_no_archive_is_not_fetched(tmp_path, address):
    with pytest.raises(UsageError, match="cannot be fetched for you"):
        fetch_dataset(task_at(address), tmp_path, quiet, quiet)
    assert fetched(task_at(address), tmp_path) is None


def _fetch(address, root, queue):
    try:
        queue.put(whole(fetch_dataset(task_at(address), root, quiet, quiet)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shall see it
        queue.put(repr(error))


def test_where_nothing_locks_it_is_fetched_all_the_same(archive, root, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with FileServer(archive) as server:
        assert whole(fetch_dataset(task_at(server.address, archive), root, quiet, quiet))


def test_two_processes_at_once(archive, root):
    with FileServer(archive) as server:
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        both = [
            context.Process(target=_fetch, args=(server.address, root, queue)) for _ in range(2)
        ]
        for process in both:
            process.start()
        assert [queue.get(timeout=60) for _ in both] == [True, True]
        for process in both:
            process.join()
        assert sum(method == "GET" for method, _ in server.seen) == 1


def test_where_data_sets_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path / "cache"))
    assert data_root(None) == tmp_path / "cache" / "data"
    monkeypatch.setenv("INFLATE_ZOO_DATA", str(tmp_path / "sets"))
    assert data_root(None) == tmp_path / "sets"
    assert data_root(tmp_path / "own") == tmp_path / "own"
