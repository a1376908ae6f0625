"""Data sets from a web server that breaks off, changes its mind and lies."""

import hashlib
import json
import multiprocessing
import shutil
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from inflate_zoo import cli
from inflate_zoo.bench import fetching
from inflate_zoo.bench.catalog import load_task
from inflate_zoo.bench.fetching import data_root, fetch, fetched
from inflate_zoo.errors import UsageError, WorkError, WriteError
from tests.bench.test_archives import write_tar
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
        folder = fetch(
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
        assert fetch(task, root, quiet, quiet) == folder
        assert fetched(task, root) == folder
        assert len(server.seen) == 2


def test_what_breaks_off_goes_on(archive, root, pauses):
    with FileServer(archive, cuts=[1_000_000, 50, 1_500_000]) as server:
        assert whole(fetch(task_at(server.address, archive), root, quiet, quiet))
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
            fetch(task, root, quiet, quiet)
        assert left(root) == ["data.tar.json", "data.tar.partial"]
        assert whole(fetch(task, root, quiet, quiet))
        assert server.seen[-1] == ("GET", "bytes=2000000-")


@pytest.mark.parametrize("etag", ['"two"', "", 'W/"one"'])
def test_another_file_is_begun_anew(archive, root, monkeypatch, etag):
    with FileServer(bytes(len(archive)), cuts=[2_000_000]) as server:
        monkeypatch.setattr(fetching, "_pause", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch(task_at(server.address, archive), root, quiet, quiet)
        server.content, server.etag = archive, etag
        assert whole(fetch(task_at(server.address, archive), root, quiet, quiet))
        assert server.seen[-1] == ("GET", None)


def test_it_may_change_between_asking_and_fetching(archive, root, monkeypatch):
    with FileServer(archive, cuts=[1000]) as server:
        task = task_at(server.address, archive)

        def changes(_):
            server.etag = '"two"'

        monkeypatch.setattr(fetching, "_pause", changes)
        assert whole(fetch(task, root, quiet, quiet))
        assert server.seen[-1] == ("GET", "bytes=1000-")


@pytest.mark.parametrize("changes", [{"ranges": False}, {"head": False}])
def test_servers_that_can_less(archive, root, changes):
    with FileServer(archive, cuts=[1_000_000], **changes) as server:
        assert whole(fetch(task_at(server.address, archive), root, quiet, quiet))


def test_busy_servers_are_asked_again_and_lost_files_are_not(archive, root, pauses):
    with FileServer(archive, statuses=[503, 429, 500]) as server:
        assert whole(fetch(task_at(server.address, archive), root, quiet, quiet))
    assert pauses == [2.0, 4.0, 8.0]
    shutil.rmtree(root / "data")
    with FileServer(archive, statuses=[404, 404]) as server:
        with pytest.raises(WorkError, match="could not be fetched: status 404") as caught:
            fetch(task_at(server.address, archive), root, quiet, quiet)
        assert server.address in caught.value.hint
        assert len(pauses) == 3


def test_a_server_that_stays_away(archive, root, pauses):
    with FileServer(archive) as server:
        task = task_at(server.address)
    with pytest.raises(WorkError, match="could not be fetched"):
        fetch(task, root, quiet, quiet)
    assert pauses == [2.0, 4.0, 8.0, 16.0]
    with (
        FileServer(archive, cuts=[10, *[0] * 9]) as server,
        pytest.raises(WorkError, match="it ended early"),
    ):
        fetch(task_at(server.address), root, quiet, quiet)
    assert "data.tar.partial" in left(root)


def test_a_wrong_checksum_is_thrown_away(archive, root):
    with FileServer(archive) as server:
        with pytest.raises(WorkError, match=r"its md5 is .* expected"):
            fetch(task_at(server.address, b"other"), root, quiet, quiet)
        assert left(root) == ["data.tar.json"]
        assert whole(fetch(task_at(server.address, archive), root, quiet, quiet))


def test_a_damaged_archive_leaves_no_folder(archive, root):
    with (
        FileServer(archive[:1_000_000]) as server,
        pytest.raises(UsageError, match="is damaged"),
    ):
        fetch(task_at(server.address), root, quiet, quiet)
    assert left(root) == []


def test_a_full_disk_is_told_before_anything_is_fetched(archive, root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4_000_000))
    with FileServer(archive) as server:
        with pytest.raises(WriteError, match="with what it holds, 4 MiB are free"):
            fetch(task_at(server.address), root, quiet, quiet)
        assert [method for method, _ in server.seen] == ["HEAD"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        fetch(load_task("msd-task04"), tmp_path / "file", quiet, quiet)


@pytest.mark.parametrize("name, word", [("btcv", "synapse"), ("acdc", "humanheart-project")])
def test_where_registration_is_needed_it_says_where_and_how(tmp_path, name, word):
    with pytest.raises(UsageError, match="cannot be fetched for you") as caught:
        fetch(load_task(name), tmp_path, quiet, quiet)
    assert "register at" in caught.value.hint
    assert word in caught.value.hint


@pytest.mark.parametrize(
    "address", ["", "ftp://x.org/a.tar", "https://x.org/page", "file:///a.tar"]
)
def test_what_is_no_archive_is_not_fetched(tmp_path, address):
    with pytest.raises(UsageError, match="cannot be fetched for you"):
        fetch(task_at(address), tmp_path, quiet, quiet)
    assert fetched(task_at(address), tmp_path) is None


def _fetch(address, root, queue):
    try:
        queue.put(whole(fetch(task_at(address), root, quiet, quiet)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shall see it
        queue.put(repr(error))


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


# On the command line.


def bench(*words):
    words = ["bench", "--source", "builtin/clip", "--device", "cpu", "--workers", "0", *words]
    return CliRunner().invoke(cli.app, words)


def task_file(folder, address):
    text = (
        'title = "Boxes"\nmodality = "MRI"\nchannels = ["MRI"]\nspacing = [1, 1, 1]\n'
        "labels = { background = 0, front = 1, back = 2 }\nregions = { front = [1] }\n"
        'intensity = { rule = "percentiles", low = 0, high = 100 }\nlicense = "CC0-1.0"\n'
        f'address = "{address}"\n'
    )
    (folder / "boxes.toml").write_text(text)
    return str(folder / "boxes.toml")


def test_a_benchmark_fetches_its_data(tmp_path, monkeypatch, root):
    from tests.support.datasets import write_decathlon

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("INFLATE_ZOO_DATA", str(root))
    write_decathlon(tmp_path / "Boxes", 10, (16, 16, 8))
    shutil.make_archive(str(tmp_path / "data"), "tar", tmp_path, "Boxes")
    few = [word for change in ("train.steps=1", "train.validate_every=0", "network.window=[8,8,8]")
           for word in ("--set", change)]  # fmt: skip
    with FileServer((tmp_path / "data.tar").read_bytes()) as server:
        words = ["--dataset", task_file(tmp_path, server.address), "--protocol", "quick", *few]
        refused = bench(*words)
        assert refused.exit_code == 2
        assert "task 'boxes' needs its data: Boxes, CC0-1.0" in refused.output
        assert "add --download" in refused.output
        result = bench(*words, "--seeds", "1", "--download", "--format", "json")
        assert result.exit_code == 0, result.output
        assert "fetching Boxes" in result.stderr
        assert json.loads(result.stdout)["tasks"][0]["task"] == "boxes"
    # And finds them without being asked to fetch.
    again = bench(*words, "--seeds", "1")
    assert again.exit_code == 0, again.output


def test_nothing_to_fetch_is_named():
    result = bench("--download")
    assert result.exit_code == 2
    assert "add --dataset, e.g. --dataset msd-task04" in result.output
