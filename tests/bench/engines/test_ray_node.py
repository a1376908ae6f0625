"""What a node of a Ray cluster does, without one."""

import os
import signal
import sys
import threading
import time

import pytest

from inflate_zoo.bench.definitions.results import Failure, Run
from inflate_zoo.bench.engines import ray_node
from inflate_zoo.bench.engines.ray_node import Check, Ending, Order, Sight, look, run
from tests.support.trials import result_of, tiny_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no such processes here")
HOST = ray_node.socket.gethostname()


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node with a run folder; sets what its command does instead."""
    monkeypatch.setattr(ray_node, "_looked", {})
    monkeypatch.setattr(ray_node, "_node", lambda: "new")

    def runs(script):
        monkeypatch.setattr(
            ray_node, "_command", lambda words: [sys.executable, "-c", script, *words]
        )

    (tmp_path / "token").touch()
    return runs


def check_of(tmp_path, token="token"):
    return Check(str(tmp_path), token, ("bench-trial", "--check"), 3)


def order_of(tmp_path, trials=(), known=("new",)):
    folders = tuple((str(trial.folder), 0.0) for trial in trials) or ((str(tmp_path / "t"), 0.0),)
    words = ("--device", "cpu")
    return Order(folders, words, str(tmp_path / "ray/log"), check_of(tmp_path), frozenset(known))


def test_another_folder_of_the_same_name_is_not_the_run_s(tmp_path, node):
    node("raise SystemExit(0)")
    (lack,) = look(check_of(tmp_path, "other")).lacks
    assert lack == "the run folder is not shared: this node has another folder there"
    (lack,) = look(check_of(tmp_path / "nowhere")).lacks
    assert lack == "the run folder is not shared: this node does not have it"
    assert look(check_of(tmp_path)) == Sight(HOST, ())


def test_what_the_closer_look_says_is_handed_on_and_it_is_taken_once(tmp_path, node, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    node("""if 1:
        import os, sys
        open("looks", "a").write("x")
        assert os.environ["OMP_NUM_THREADS"] == "3" and sys.argv[1:] == ["bench-trial", "--check"]
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
        print("error: no torch\\n\\ninstall it", file=sys.stderr)
        sys.exit(2)""")
    monkeypatch.chdir(tmp_path)
    assert look(check_of(tmp_path)).lacks == ("error: no torch", "install it")
    assert run(order_of(tmp_path, known=())) == look(check_of(tmp_path))
    assert (tmp_path / "looks").read_text() == "x"
    assert not (tmp_path / "ray").exists()  # nothing was begun


def test_a_look_that_is_too_long_or_says_nothing_is_told(tmp_path, node, monkeypatch):
    node("raise SystemExit(3)")
    assert look(check_of(tmp_path)).lacks == ("the look at it ended with code 3",)
    ray_node._looked.clear()
    monkeypatch.setattr(ray_node, "LOOK_SECONDS", 0.2)
    node("import time; time.sleep(60)")
    assert look(check_of(tmp_path)).lacks == ("'bench-trial' did not answer within 0 s",)


@pytest.mark.parametrize("code, found", [("0", 0), ("1", 1), ("75", 75), ("-9", 137)])
def test_how_the_command_ends_is_told_with_its_last_lines(tmp_path, node, code, found):
    node(f"""if 1:
        import os, sys
        print(sys.argv[1:], os.environ["OMP_NUM_THREADS"])
        print(*range(9), sep="\\n", file=sys.stderr)
        sys.exit({code}) if {code} >= 0 else os.kill(os.getpid(), -{code})""")
    for times in (1, 2):
        told = run(order_of(tmp_path))
        assert (told.host, told.code, told.memory) == (HOST, found, False)
        assert told.tail == ("4", "5", "6", "7", "8") or code == "-9"
        printed = (tmp_path / "ray/log").read_text()
        folder = str(tmp_path / "t")
        assert (
            printed.count(f"['bench-trial', '{folder}', '--device', 'cpu'] 3") == times
            or code == "-9"
        )


def test_the_system_s_own_kill_for_memory_is_told(tmp_path, node, monkeypatch):
    kills = iter([1, 2])
    monkeypatch.setattr(ray_node, "oom_kills", lambda: next(kills))
    node("import os; os.kill(os.getpid(), 9)")
    assert run(order_of(tmp_path)) == Ending(HOST, 128 + signal.SIGKILL, (), memory=True)


def test_what_is_over_is_not_run_again(tmp_path, node):
    node("import sys; print(len(sys.argv))")
    first, second = tiny_run(tmp_path, seeds=2).trials
    first.finish(result_of(first), Run())
    run(order_of(tmp_path, (first, second)))
    second.fail(Failure(kind="nan_loss", reason="the loss is NaN"))
    assert run(order_of(tmp_path, (first, second))) == Ending(HOST, 0)
    later = (second.folder / "failure.json").stat().st_mtime + 1
    order = order_of(tmp_path, (first, second))
    run(Order(((str(second.folder), later),), order.words, order.log, order.check, order.known))
    assert (tmp_path / "ray/log").read_text() == "5\n5\n"


def test_a_task_that_is_cancelled_has_its_command_leave_first(tmp_path, node):
    node("""if 1:
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(75)))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        print("begun", flush=True)
        time.sleep(600)""")

    def cancel():
        log = tmp_path / "ray/log"
        while not (log.exists() and "begun" in log.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(order_of(tmp_path))
    thread.join()
    assert (tmp_path / "ray/log").read_text().splitlines() == ["begun", "saved"]
