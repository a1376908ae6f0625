"""`inflate-zoo bench`, as short as it gets."""

from typer.testing import CliRunner

from inflate_zoo.cli import app
from tests.support.trials import TINY, one_thread

FEW = ("train.steps=2", "train.validate_every=0")


def run(*words):
    words = [str(word) for word in words]
    with one_thread():
        return CliRunner().invoke(app.app, words)


def bench(*words, changes=FEW, data="data", source=("vit",)):
    base = ["bench", "--device", "cpu", "--workers", "0", "--protocol", "quick", "--cache", "cache"]
    base += ["--at-once", "1"] * ("--at-once" not in words)  # in this process, which tests change
    base += ["--seeds", "1"] * ("--seeds" not in words)
    base += ["--data", data] * bool(data)
    for name in source:
        base += ["--source", name]
    for change in (*TINY, *changes):
        base += ["--set", change]
    return run(*base, *words)
