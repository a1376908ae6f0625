"""stdout full, closed or read no further: one sentence, exit code 1, no traceback."""

import io
import subprocess
import sys

import pytest

from inflate_zoo.cli.output import OutputError, _Output, whole_output

PROGRAM = f"{sys.executable} -m inflate_zoo"


class Full(io.StringIO):
    """A stream on a full disk, which says so when it is flushed."""

    def flush(self):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (f"{PROGRAM} families > /dev/full", "No space left on device"),
        (f"{PROGRAM} --help > /dev/full", "No space left on device"),
        (f"{PROGRAM} schemes --format json >&-", "it is closed"),
        (f"{{ sleep 5; {PROGRAM} families; }} | true", "its reader has closed it"),
    ],
    ids=["full", "help", "closed", "broken pipe"],
)
def test_lost_output_is_one_sentence(command, told):
    command = command.replace("sleep 5", "sleep 0.2")
    got = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert got.returncode == 1
    first, second = got.stderr.splitlines()
    assert first == f"error: not all of the output could be printed: {told}"
    assert second.startswith("free space")


def test_lost_messages_change_nothing():
    command = f"{PROGRAM} schemes 2>&- && {PROGRAM} convert ./nowhere.pth 2> /dev/full"
    got = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert got.returncode == 2
    assert "center" in got.stdout


@pytest.mark.parametrize(("end", "code"), [(None, 1), (0, 1), (2, 2), (130, 130)])
def test_the_code_of_a_command_that_failed_is_kept(monkeypatch, capsys, end, code):
    monkeypatch.setattr(sys, "stdout", Full())

    def command():
        sys.stdout.write("text")
        if end is not None:
            sys.exit(end)

    with pytest.raises(SystemExit) as caught, whole_output():
        command()
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith("error: not all") == (not end)


def test_a_stream_that_is_let_go_is_not_written_to():
    _Output(Full()).close()
    stream = io.StringIO()
    _Output(stream).close()
    assert not stream.closed


def test_only_the_outputs_own_errors_become_ours():
    with pytest.raises(OutputError):
        _Output(Full()).flush()
    with pytest.raises(OSError, match="elsewhere"), whole_output():
        raise OSError(28, "elsewhere")
