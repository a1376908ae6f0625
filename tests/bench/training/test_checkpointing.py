"""Checkpoints: all that a training goes on from, and whole or absent."""

import copy
import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from inflate_zoo.bench.training.checkpointing import (
    BEST,
    CHECKPOINT,
    State,
    _put_back,
    _read,
    digest_of,
    load_best,
    resume,
    save_best,
    save_checkpoint,
)
from inflate_zoo.errors import UsageError, WriteError
from tests.support.trials import one_thread


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


FULL = State(
    step=3, loss=[(1, 0.1), (2, 1 / 3)], validation_dice=[(2, 2 / 3)], recent=[1e-7, 0.7],
    best=2, groups_at_once=4, seconds=1.25, waiting=0.5,
)  # fmt: skip


def made(seed=0):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    network[0].bias.requires_grad_(False).zero_()
    trained = [p for p in network.parameters() if p.requires_grad]
    return network, torch.optim.AdamW([{"params": trained[:1]}, {"params": trained[1:]}], lr=0.1)


def step(network, optimizer, seed):
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    network(x).pow(3).sum().backward()
    optimizer.step()


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def load_checkpoint(path, network, optimizer):
    state, found = _read(path)
    _put_back(path, found, network, optimizer)
    return state


def test_training_goes_on_to_the_same_bits(tmp_path):
    network, optimizer = made()
    for seed in range(3):
        step(network, optimizer, seed)
    save_checkpoint(tmp_path / "c.safetensors", network, optimizer, FULL)
    other, fresh = made(seed=7)
    assert not same(network, other)
    state = load_checkpoint(tmp_path / "c.safetensors", other, fresh)
    assert same(network, other)
    assert json.dumps(vars(state)) == json.dumps(vars(FULL))
    for seed in range(3, 6):
        step(network, optimizer, seed)
        step(other, fresh, seed)
        assert same(network, other)


def test_the_moments_matter_and_are_copies(tmp_path):
    network, optimizer = made()
    step(network, optimizer, 0)
    save_checkpoint(tmp_path / "c.safetensors", network, optimizer, FULL)
    kept = copy.deepcopy(network)
    other, fresh = made()
    load_checkpoint(tmp_path / "c.safetensors", other, fresh)
    fresh.state.clear()
    step(network, optimizer, 1)
    step(other, fresh, 1)
    assert not same(network, other)
    load_checkpoint(tmp_path / "c.safetensors", other, fresh)
    assert same(kept, other)


def test_before_the_first_step_there_are_no_moments(tmp_path):
    network, optimizer = made()
    save_checkpoint(tmp_path / "c.safetensors", network, optimizer, State())
    other, fresh = made(1)
    assert load_checkpoint(tmp_path / "c.safetensors", other, fresh) == State()
    assert same(network, other)
    assert not fresh.state


def test_parameters_that_are_not_trained_are_left_out(tmp_path):
    network, optimizer = made()
    step(network, optimizer, 0)
    save_checkpoint(tmp_path / "c.safetensors", network, optimizer, State())
    with safe_open(tmp_path / "c.safetensors", "pt") as file:
        names = set(file.keys())
    assert not {n for n in names if n.endswith("0.bias")}  # it follows from the trial
    assert "network.1.running_mean" in names
    assert {n for n in names if n.endswith("0.weight") and "optimizer" in n} == {
        f"optimizer.{moment}.0.weight" for moment in ("exp_avg", "exp_avg_sq", "step")
    }


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_earlier_checkpoint_survives_one_that_fails(tmp_path, monkeypatch, error):
    network, optimizer = made()
    save_checkpoint(tmp_path / "c.safetensors", network, optimizer, FULL)
    before = (tmp_path / "c.safetensors").read_bytes()
    step(network, optimizer, 0)

    def broken(tensors, path, metadata):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr("safetensors.torch.save_file", broken)
    with pytest.raises(WriteError if isinstance(error, OSError) else KeyboardInterrupt):
        save_checkpoint(tmp_path / "c.safetensors", network, optimizer, State(step=4))
    assert (tmp_path / "c.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def written(folder, **changes):
    """A trial's folder as an attempt left it; returns what it holds."""
    network, optimizer = made()
    for seed in range(3):
        step(network, optimizer, seed)
    state = State(**{"step": 3, "best": 2, "trial": folder.name, **changes})
    save_checkpoint(folder / CHECKPOINT, network, optimizer, state)
    save_best(folder / BEST, network, State(step=2, trial=state.trial))
    (folder / "cases").mkdir()
    (folder / "cases" / "0000.json").write_text("{}")
    return network, state


def rewritten(change, state=None):
    """Spoils tensors, or the state beside them."""

    def spoil(path):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        tensors = load_file(path)
        change(tensors)
        if state is None:
            known = json.loads(metadata["state"])
            del known["digest"]
            known["digest"] = digest_of(tensors, known)
            metadata = {"state": json.dumps(known)}
        save_file(tensors, path, metadata if state is None else state)

    return spoil


def flipped(path):
    """One bit of a weight: still a number, but another."""
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


UNUSABLE = {
    "a flipped bit": flipped,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "no state": rewritten(lambda t: None, {"format": "pt"}),
    "no metadata": rewritten(lambda t: None, {}),
    "a state cut off": rewritten(lambda t: None, {"state": '{"step": '}),
    "a state of another kind": rewritten(lambda t: None, {"state": '{"step": "three"}'}),
    "a list": rewritten(lambda t: None, {"state": "[3]"}),
    "a weight gone": rewritten(lambda t: t.pop("network.0.weight")),
    "a weight too many": rewritten(lambda t: t.update({"network.9.weight": torch.zeros(1)})),
    "another shape": rewritten(lambda t: t.update({"network.0.weight": torch.zeros(1, 2)})),
    "a moment gone": rewritten(lambda t: t.pop("optimizer.exp_avg.0.weight")),
    "a moment's shape": rewritten(
        lambda t: t.update({"optimizer.exp_avg.0.weight": torch.ones(1)})
    ),
    "NaN": rewritten(lambda t: t["network.0.weight"].fill_(float("nan"))),
    "an infinite moment": rewritten(lambda t: t["optimizer.exp_avg.0.weight"].fill_(float("inf"))),
}


@pytest.mark.parametrize("spoil", UNUSABLE.values(), ids=UNUSABLE)
def test_a_checkpoint_that_cannot_be_used_is_put_aside_and_nothing_is_changed(tmp_path, spoil):
    written(tmp_path)
    spoil(tmp_path / CHECKPOINT)
    network, optimizer = made(seed=7)
    with pytest.warns(UserWarning, match="the training starts anew") as caught:
        assert resume(tmp_path, network, optimizer, main=True) is None
    assert tmp_path.name in str(caught[0].message)
    assert str(tmp_path) not in str(caught[0].message)
    assert same(network, made(seed=7)[0])
    assert not optimizer.state
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"unreadable-{CHECKPOINT}", f"unreadable-{BEST}"}
    assert resume(tmp_path, network, optimizer, main=True) is None


@pytest.mark.parametrize("spoil", [
    flipped, lambda path: path.unlink(), UNUSABLE["empty"], UNUSABLE["cut"], UNUSABLE["NaN"],
    lambda path: save_best(path, made(1)[0], State(step=1, trial=path.parent.name)),
    lambda path: save_best(path, made(1)[0], State(step=2, trial="another")),
], ids=["flipped", "gone", "empty", "cut", "NaN", "another step's", "another trial's"])  # fmt: skip
def test_the_best_weights_are_needed_where_the_checkpoint_knows_of_them(tmp_path, spoil):
    _, state = written(tmp_path)
    if spoil is UNUSABLE["NaN"]:
        rewritten(lambda t: t["0.weight"].fill_(float("nan")))(tmp_path / BEST)
    else:
        spoil(tmp_path / BEST)
    network, optimizer = made()
    with pytest.raises(UsageError):
        load_best(tmp_path / BEST, network, state)
    with pytest.warns(UserWarning, match=BEST):
        assert resume(tmp_path, network, optimizer, main=True) is None


def test_the_checkpoint_of_another_trial_is_not_gone_on_from(tmp_path):
    written(tmp_path, trial="0123456789abcdef")
    with pytest.warns(UserWarning, match="another trial's"):
        assert resume(tmp_path, *made(), main=True) is None


@pytest.mark.parametrize("changes", [{}, {"best": 3}, {"best": None}, {"trial": ""}])
def test_what_is_whole_is_gone_on_from(tmp_path, changes):
    before, state = written(tmp_path, **changes)
    if changes.get("best", 2) != 2:
        (tmp_path / BEST).unlink()
    network, optimizer = made(seed=7)
    assert resume(tmp_path, network, optimizer, main=True) == state
    assert same(network, before)
    assert len(optimizer.state) == 3
    assert (tmp_path / "cases").exists()


def test_without_a_checkpoint_earlier_scores_and_weights_are_forgotten(tmp_path):
    written(tmp_path)
    (tmp_path / CHECKPOINT).unlink()
    assert resume(tmp_path, *made(), main=False) is None
    assert (tmp_path / "cases").exists()
    assert resume(tmp_path, *made(), main=True) is None
    assert {path.name for path in tmp_path.iterdir()} == {f"unreadable-{BEST}"}


def test_one_of_several_processes_moves_the_file(tmp_path):
    written(tmp_path)
    UNUSABLE["cut"](tmp_path / CHECKPOINT)
    assert resume(tmp_path, *made(), main=False) is None
    assert (tmp_path / CHECKPOINT).exists()


def test_a_digest_is_over_names_bytes_and_state():
    tensors = {
        "a": torch.tensor(3.0),
        "b": torch.ones(2, 3, dtype=torch.bfloat16),
        "c": torch.zeros(0, dtype=torch.int64),
    }
    plain = hashlib.sha256(b'{"step": 3}')
    for part in (b"a", b"\0\0\x40\x40", b"b", b"\x80\x3f" * 6, b"c"):
        plain.update(part)
    assert digest_of(dict(reversed(tensors.items())), {"step": 3}) == plain.hexdigest()


def test_a_checkpoint_of_release_0_2_has_no_digest(tmp_path):
    _, state = written(tmp_path)
    path = tmp_path / CHECKPOINT
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    known = json.loads(metadata["state"])
    del known["digest"]
    save_file(load_file(path), path, {"state": json.dumps(known)})
    assert resume(tmp_path, *made(seed=7), main=True) == state
