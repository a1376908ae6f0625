"""A scheduler's signals: heard whenever they come, never the death of the command."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from inflate_zoo import stops

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals to send")
ROOT = Path(__file__).parents[1]
BOTH = pytest.mark.parametrize("number", stops.SIGNALS)


def send(number):
    os.kill(os.getpid(), number)
    sum(range(1000))


@BOTH
def test_a_signal_is_a_request_in_the_block_alone(number):
    handlers = [signal.getsignal(each) for each in stops.SIGNALS]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert not stops.heeding()
    with stops.heeded():
        assert stops.heeding()
        assert not stops.asked()
        stops.check()
        send(number)
        send(number)  # schedulers repeat themselves
        assert stops.asked()
        with pytest.raises(stops.Stopped):
            stops.check()
    assert not stops.asked()
    stops.check()
    assert [signal.getsignal(each) for each in stops.SIGNALS] == handlers
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


@BOTH
@pytest.mark.parametrize(
    "beside", ["", "threading.Thread(target=time.sleep, args=[9], daemon=True)"]
)
def test_what_came_before_the_block_waits_for_it_and_what_comes_after_it_kills_nobody(
    number, beside
):
    """Not even by way of a thread that began in the block: it does not have them blocked."""
    script = f"""
        import os, signal, sys, threading, time
        from inflate_zoo import stops
        number = int(sys.argv[1])
        signal.pthread_sigmask(signal.SIG_BLOCK, stops.SIGNALS)
        os.kill(os.getpid(), number)
        with stops.heeded():
            assert stops.asked()
            beside = {beside or None}
            if beside:
                beside.daemon = True
                beside.start()
        os.kill(os.getpid(), number)
        time.sleep(0.05)
        assert beside or signal.sigpending() == {{number}}
        print("alive")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(int(number))],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def program(body, number):
    """Exit code and output of a `bench-trial` whose command is `body`."""
    script = """
        import atexit, os, sys, time, types
        def send(number=int(sys.argv[2])):
            os.kill(os.getpid(), number)
        module = types.ModuleType("inflate_zoo.cli.app")
        def command_line():
            from inflate_zoo.stops import asked, heeded
    """
    script = textwrap.dedent(script) + textwrap.indent(textwrap.dedent(body), "    ")
    script += textwrap.dedent("""
        module.command_line = command_line
        sys.modules["inflate_zoo.cli.app"] = module
        from inflate_zoo.__main__ import main
        main()
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, "bench-trial", str(int(number))],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    return done.returncode, done.stdout


@BOTH
def test_a_command_that_has_ended_is_not_killed_any_more(number):
    body = """
        atexit.register(lambda: (send(), time.sleep(0.05)))
        with heeded():
            print(asked(), flush=True)
        send()
        sys.exit(3)
    """
    assert program(body, number) == (3, "False\n")


@BOTH
def test_an_error_that_python_shows_itself_is_not_overtaken_either(number):
    """The interpreter then takes everything apart, where it has no handlers any more."""
    body = """
        class Late:
            def __del__(self):
                send()
        sys.late = Late()
        with heeded():
            raise ZeroDivisionError
    """
    assert program(body, number) == (1, "")


@BOTH
def test_a_signal_before_the_command_is_there_is_heard(number):
    assert program("send()\nwith heeded():\n    print(asked(), flush=True)", number) == (
        0,
        "True\n",
    )


@BOTH
def test_forked_workers_leave_it_to_their_parent(number):
    body = """
        with heeded():
            if (pid := os.fork()) == 0:
                send(); time.sleep(0.01); os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), asked(), flush=True)
    """
    assert program(body, number) == (0, "7 False\n")


def test_other_commands_end_as_ever(tmp_path):
    script = "import os, sys; sys.argv = ['inflate-zoo', 'families']\n"
    script += "sys.modules['inflate_zoo.interrupts'] = None\n"
    script += "import inflate_zoo.__main__ as entry\n"
    script += "try:\n    entry.main()\nexcept ImportError:\n    os.kill(os.getpid(), 15)\n"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 143
