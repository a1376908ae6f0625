"""Files of run and cache folders that make a parser fail: told, or made anew."""

import json
import socket
import struct
from io import BytesIO

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from inflate_zoo.bench.data import fetching, web
from inflate_zoo.bench.data.remembered import Remembered
from inflate_zoo.bench.definitions.results import CaseScores, UnbelievedError
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.scoring.evaluation import _kept
from inflate_zoo.bench.scoring.slices import keep_overlays
from inflate_zoo.bench.training.checkpointing import _read
from inflate_zoo.bench.trials.leases import LEASE, holder, leased
from inflate_zoo.errors import CheckpointError, UsageError
from inflate_zoo.files import foreign
from inflate_zoo.files.writing.contents import replace_tensors
from inflate_zoo.files.writing.store import MANIFEST, DigestMemory, Store
from tests.support import records

HOSTILE = {
    "nested": b"[" * 100_000,
    "nested object": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "digits": b'{"pid": ' + b"9" * 5000 + b"}",
    "values": b"[" + b"1," * 1_000_001 + b"1]",
    "no text": b'{"a": "\xff"}',
    "surrogate": b'{"host": "\\ud800", "pid": 1}',
    "cut": b'{"a": ',
    "list": b"[]",
    "nothing": b"",
}
hostile = pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())


class Raising:
    """A parser that asks for more than there is."""

    def __init__(self, error):
        self.error = error

    def __call__(self, *_, **__):
        raise self.error


@hostile
def test_a_trial_with_hostile_files_is_told(tmp_path, content):
    record = records.record(records.arms_of()[0], cases=2)
    records.save(tmp_path / "trials", record, overlays=False)
    place = next(tmp_path.rglob("record.json")).parent
    (place / "record.json").write_bytes(content)
    (place / "place-elsewhere.json").write_bytes(content)
    (place / "failure.json").write_bytes(content)
    trial = TrialFolder(place)
    assert not trial.done
    with pytest.raises(UnbelievedError, match="not to be believed"):
        trial.believed(moved=True)
    with pytest.raises(UsageError, match=r"place-.*json cannot be read"):
        _ = trial.place
    assert trial.failure().reason == "failure.json cannot be read"
    (place / "trial.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"trial\.json cannot be read"):
        _ = TrialFolder(place).spec


@hostile
def test_a_lease_that_is_none_is_taken_over(tmp_path, content):
    (tmp_path / LEASE).write_bytes(content)
    assert holder(tmp_path) is None
    with leased(tmp_path) as guard:
        guard()


@pytest.mark.parametrize("pid", [1 << 31, 10**30, 0, -1, 1.5, True, None])
def test_a_lease_of_no_process_is_nobodys(tmp_path, pid):
    (tmp_path / LEASE).write_text(json.dumps({"host": socket.gethostname(), "pid": pid}))
    assert holder(tmp_path) is None


@hostile
def test_an_entry_with_a_hostile_manifest_is_made_anew(tmp_path, content):
    store, folder = Store(tmp_path), tmp_path / "kind" / "key"
    for text in ("one", "two"):
        store.discard(folder, ("a",))
        with store.made(folder, ("a",)) as stage:
            (stage / "a").write_text(text)
        assert store.whole(folder, ("a",))
        (folder / MANIFEST).write_bytes(content)
        assert not store.whole(folder, ("a",))


@hostile
def test_hostile_lines_among_digests_are_passed_over(tmp_path, content):
    path, memory = tmp_path / "file", tmp_path / "memory"
    path.write_text("one")
    memory.write_bytes(content + b'\n[[], 1, 2, 3, 4, ""]\n')
    digest = DigestMemory(memory).of(path)
    assert DigestMemory(memory).of(path) == digest


@hostile
def test_hostile_lines_among_findings_are_passed_over(tmp_path, content):
    (tmp_path / "findings.jsonl").write_bytes(content + b'\n[[], 1]\n["a", 1, 2]\n["b", 3]\n')
    remembered = Remembered(tmp_path)
    assert (remembered.find("a"), remembered.find("b")) == (None, 3)


def header(text):
    content = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content


def array_file(array, **options):
    file = BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (" + "9" * 40 + ",)}"),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}"),
        header("(" * 9000),
        header("-" * 9000 + "1"),
        header("{'descr': '|V0', 'fortran_order': False, 'shape': (1 << 60,)}"),
        header("9" * 5000),
        array_file(np.array([{}]), allow_pickle=True),
        array_file(np.zeros((2, 2), np.uint8)),
        array_file(np.zeros(3)),
        b"PK\x03\x04",
        b"\x80\x04.",
        b"",
    ],
    ids=lambda content: repr(content[:90])[10:],
)
def test_a_hostile_array_is_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UsageError, match="spoilt"):
        foreign.mapped_array(
            tmp_path / "a.npy", "uint8", 1, lambda _: UsageError("spoilt", hint="again")
        )


STATES = [
    *(t for t in HOSTILE.values() if t.isascii() and b"host" not in t and len(t) < 200_000),
    *(b'{"step": -1}', b'{"step": 1e400}', b'{"step": 99999999999}', b'{"seconds": NaN}'),
    b'{"best": -5}',
]


@pytest.mark.parametrize("state", STATES, ids=lambda text: repr(text[:20]))
def test_a_checkpoint_with_a_hostile_state_is_refused(tmp_path, state):
    path = tmp_path / "a.safetensors"
    save_file({"network.weight": torch.zeros(1, 1)}, path, metadata={"state": state.decode()})
    with pytest.raises(CheckpointError, match="cannot be used: it tells no state"):
        _read(path)


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), OverflowError("too big")])
def test_a_parser_that_fails_on_a_checkpoint_is_told(tmp_path, monkeypatch, error):
    path = tmp_path / "a.safetensors"
    replace_tensors(path, {"network.weight": torch.zeros(1, 1)}, "{}")
    monkeypatch.setattr("safetensors.safe_open", Raising(error))
    with pytest.raises(CheckpointError, match=r"'a\.safetensors' cannot be used"):
        _read(path)


@hostile
def test_scores_that_cannot_be_read_are_computed_anew(tmp_path, content):
    (tmp_path / "0000.json").write_bytes(content)
    assert _kept(tmp_path / "0000.json", "a") is None


def test_a_slice_that_broke_meanwhile_is_told(tmp_path):
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "0000.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(UsageError, match=r"cases/0000\.safetensors is damaged"):
        keep_overlays(tmp_path, [CaseScores(case="a", regions={}, mean_dice=0.5, slice=0)])


@hostile
def test_a_note_beside_a_partial_archive_is_not_believed(tmp_path, content):
    (tmp_path / "note").write_bytes(content)
    assert fetching._remembered(tmp_path / "note") in (None, {"host": "\ud800", "pid": 1})


@pytest.mark.parametrize("length", ["9" * 5000, "\xb2", "-1", ""])
def test_a_length_that_is_none_is_unknown(length):
    class Answer:
        headers = {"Content-Length": length}  # noqa: RUF012

    assert web.describe(Answer()).length is None
