"""Checkpoints: all that a training goes on from, and whole or absent."""

import copy
import json

import pytest
import torch
from safetensors import safe_open

from inflate_zoo.bench.checkpointing import State, load_checkpoint, save_checkpoint
from inflate_zoo.errors import WriteError
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
