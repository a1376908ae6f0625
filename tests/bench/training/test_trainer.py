"""Training: against a plain loop, in any micro-batches, and through kills at every place."""

import os
import signal
import sys
import time
from contextlib import nullcontext
from functools import partialmethod
from itertools import count
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch.utils.data import Dataset

from inflate_zoo import stops
from inflate_zoo.bench.definitions.trials import window_of
from inflate_zoo.bench.training import checkpointing, sampling, stepper, trainer
from inflate_zoo.bench.training.building import build
from inflate_zoo.bench.training.checkpointing import CHECKPOINT, State
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.features import FeatureWindows, encode_windows
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.training.sampling import WindowRule, Windows
from inflate_zoo.bench.training.trainer import Trainer
from inflate_zoo.bench.trials.leases import LostLeaseError
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.errors import DeadWorkerError, NotFiniteError, UsageError, WindowError
from inflate_zoo.networks.layers import attention
from inflate_zoo.segmentation import norms
from tests.support.trials import FROZEN, LINEAR, one_thread, tiny_run


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


KINDS = ("inflated", "2d")
ON_CPU = Resources("cpu", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("training")
    tiny_run(made, kinds=KINDS)
    return made


@pytest.fixture
def plan(folder, tmp_path):
    """Trials in a run folder of the test's own, on shared data and weights."""
    return lambda *changes, kind="inflated", name="run": tiny_run(
        folder, *changes, kinds=KINDS, name=str(tmp_path / name)
    ).trial(kind)


class Log(Silent):
    """Remembers the losses; stops where told."""

    def __init__(self, stop=None, error=KeyboardInterrupt):
        self.losses, self.waiting, self.stop, self.error = [], [], stop, error

    def step(self, step, steps, loss, waiting):
        self.losses.append(loss)
        self.waiting.append(waiting)
        if step == self.stop:
            raise self.error


class Doubled(Dataset):
    """Windows in float64: rounding then hides in no gradient."""

    def __init__(self, inner):
        self.inner = inner

    def __getitem__(self, index):
        window = self.inner[index]
        return window._replace(image=window.image.double())


@pytest.fixture
def exact(monkeypatch):
    """Logits stay in float64: Adam would blow rounding up where a true gradient is zero."""
    real = torch.Tensor.float
    monkeypatch.setattr(
        torch.Tensor, "float", lambda x, *a: x if x.dtype == torch.float64 else real(x, *a)
    )


def windows_of(spec, cache):
    rule = WindowRule(window_of(spec), spec.protocol.train.foreground, spec.protocol.augment)
    return Windows(Path(cache), [spec.entries[n] for n in spec.cases.train], rule, spec.seed)


def network_of(trial):
    return build(trial.spec, Path(trial.place.weights) if trial.place.weights else None)


def trainer_of(
    trial, network=None, windows=None, *, watcher=None, validate=lambda: None, guard=lambda: None,
    workers=0, compiled=False, precision="no",
):  # fmt: skip
    network = network_of(trial) if network is None else network
    made = Trainer(
        trial.spec,
        network,
        windows_of(trial.spec, trial.place.cache) if windows is None else windows,
        trial.folder,
        Accelerator(cpu=True, mixed_precision=precision),
        watcher=watcher or Log(),
        guard=guard,
        validate=validate,
        workers=workers,
        compiled=compiled,
    )
    return made, network


def snapshot(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def gradients(trainer):
    """Lists the gradients of every step, clipped as the optimiser sees them."""
    optimizer = trainer._stepper.optimizer
    found, step = [], optimizer.step

    def recorded(*arguments):
        named = trainer._network.named_parameters()
        found.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        return step(*arguments)

    optimizer.step = recorded
    return found


def group_loss(logits, label, settings):
    chosen = F.one_hot(label.long(), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    dims = (0, 2, 3, 4)
    soft = logits.softmax(dim=1)
    both, sizes = (soft * chosen).sum(dims), soft.sum(dims) + chosen.sum(dims)
    dice = 1 - (2 * both + 1e-5) / (sizes + 1e-5)
    entropy = -(chosen * logits.log_softmax(dim=1)).sum(1).mean()
    return settings.dice * dice[1:].mean() + settings.cross_entropy * entropy


def plain_groups(network, train):
    """One group per parameter, its rates from its name."""
    blocks = len(network.backbone.blocks)
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith(("decoder.", "backbone.norm.")):
            power = 0
        elif ".blocks." in name:
            power = blocks - int(name.split(".")[2])
        else:
            power = blocks + 1
        kernel = name.endswith(".weight") and parameter.ndim > 1
        yield {
            "params": [parameter],
            "lr": train.learning_rate * train.layer_decay**power,
            "weight_decay": train.weight_decay if kernel else 0.0,
        }


def plain_training(spec, network, windows, factors):
    """The training in torch alone; gives losses and clipped gradients of every step."""
    train, number = spec.protocol.train, count()
    optimizer = torch.optim.AdamW(plain_groups(network, train))
    peaks = [group["lr"] for group in optimizer.param_groups]
    losses, found = [], []
    network.train()
    for factor in factors:
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        optimizer.zero_grad()
        parts = []
        for _ in range(train.batch // train.dice_group):
            drawn = [windows[next(number)] for _ in range(train.dice_group)]
            image, label = (torch.stack([w[place] for w in drawn]) for place in (0, 1))
            parts.append(group_loss(network(image), label, spec.protocol.loss))
        loss = torch.stack(parts).mean()
        loss.backward()
        losses.append(loss.item())
        given = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        norm = torch.stack([grad.square().sum() for grad in given.values()]).sum().sqrt()
        for grad in given.values():
            grad.mul_(min(1.0, train.clip / (norm.item() + 1e-6)))
        found.append({n: grad.clone() for n, grad in given.items()})
        optimizer.step()
    return losses, found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clip", [0.05, 1000.0])
def test_training_is_the_plain_loop(plan, exact, kind, clip):
    trial = plan(
        "train.steps=4", "train.batch=6", "train.validate_every=0", f"train.clip={clip}",
        "train.schedule=linear", "train.weight_decay=0.3", "loss.dice=0.7",
        "train.warmup_ratio=0.5", kind=kind,
    )  # fmt: skip
    windows = Doubled(windows_of(trial.spec, trial.place.cache))
    reference = network_of(trial).double()
    losses, expected = plain_training(trial.spec, reference, windows, (0.5, 1, 1, 0.5))
    log = Log()
    trainer, network = trainer_of(trial, network_of(trial).double(), windows, watcher=log)
    found = gradients(trainer)
    trainer.run()
    assert log.losses == pytest.approx(losses, rel=1e-6)
    for step, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        assert got.keys() == wanted.keys()
        for name, grad in wanted.items():
            scale = grad.abs().max().item()
            torch.testing.assert_close(
                got[name], grad, rtol=1e-6, atol=1e-6 * scale + 1e-11, msg=f"{name} {step}"
            )
    for name, weight in reference.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], weight, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_do_not_matter(plan, exact, kind):
    changes = (
        "train.steps=3", "train.batch=8", "train.validate_every=0", "network.drop_path=0.6",
    )  # fmt: skip
    results = []
    for at_once in (0, 1, 2, 3, 4):
        trial = plan(*changes, kind=kind, name=str(at_once))
        windows = Doubled(windows_of(trial.spec, trial.place.cache))
        trainer, network = trainer_of(trial, network_of(trial).double(), windows)
        trainer.state.groups_at_once = at_once
        found = gradients(trainer)
        trainer.run()
        assert trainer.state.groups_at_once == (at_once or 1)
        results.append((found, snapshot(network)))
    expected, weights = results[0]
    for found, got in results[1:]:
        for step, wanted in enumerate(expected):
            for name, grad in wanted.items():
                scale = grad.abs().max().item()
                torch.testing.assert_close(
                    found[step][name], grad, rtol=1e-6, atol=1e-6 * scale + 1e-11
                )
        for name, weight in weights.items():
            torch.testing.assert_close(got[name], weight, rtol=0, atol=1e-7)


def test_drop_path_changes_the_training(plan):
    weights = []
    for rate in (0.0, 0.6):
        trial = plan("train.steps=2", "train.validate_every=0", f"network.drop_path={rate}")
        trainer, network = trainer_of(trial)
        trainer.run()
        weights.append(snapshot(network))
    assert not same(*weights)


def test_workers_do_not_matter(plan):
    weights = []
    for workers in (0, 2):
        trial = plan("train.steps=3", "train.validate_every=0", "augment.turn=1", name=str(workers))
        trainer, network = trainer_of(trial, workers=workers)
        trainer.run()
        weights.append(snapshot(network))
    assert same(*weights)


def test_what_gets_no_gradient_is_untouched(plan):
    trial = plan("train.validate_every=0", "train.weight_decay=0.5")
    trainer, network = trainer_of(trial)
    before = snapshot(network)
    trainer.run()
    after = snapshot(network)
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {"backbone.norm.weight", "backbone.norm.bias"}


def test_the_last_norm_learns_where_it_is_read(plan):
    trainer, network = trainer_of(plan(*LINEAR, "train.validate_every=0"))
    before = snapshot(network)
    trainer.run()
    after = snapshot(network)
    assert not any(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_backbone_stays_and_kept_features_give_its_logits(plan, kind):
    trial = plan(*FROZEN, "train.validate_every=0", "train.steps=30", kind=kind)
    network, cache = network_of(trial), Path(trial.place.cache)
    made = encode_windows(
        trial.spec, network, cache, torch.device("cpu"), nullcontext, lambda *_: None
    )
    windows = FeatureWindows(made, 0)
    before = snapshot(network)
    log = Log()
    trainer, _ = trainer_of(trial, network, windows, watcher=log)
    trainer.run()
    after = snapshot(network)
    assert {n for n in before if not torch.equal(before[n], after[n])} == {
        "decoder.head.weight",
        "decoder.head.bias",
    }
    assert sum(log.losses[-5:]) < sum(log.losses[:5])
    body = stepper.TrainingModule(network.eval(), frozen=True)
    image = torch.rand(3, 1, *window_of(trial.spec))
    features = torch.cat([network.encode(image[i : i + 1])[0].unsqueeze(0) for i in range(3)])
    with torch.no_grad():
        torch.testing.assert_close(
            body(features.half().float(), 4), network(image), rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize("select", ["best", "last"])
def test_the_selected_weights_are_kept(plan, select):
    trial = plan("train.validate_every=1", f"train.select={select}", "train.checkpoint_every=4")
    scores, seen = iter([0.2, 0.7, None, 0.7, 0.1, 0.6]), []

    def validate():
        seen.append(snapshot(network))
        return next(scores)

    trainer, network = trainer_of(trial, validate=validate)
    state = trainer.run()
    chosen = 2 if select == "best" else 6
    assert trainer.selected_step == chosen
    assert same(snapshot(network), seen[chosen - 1])
    assert not same(seen[1], seen[5])
    assert state.validation_dice == [(1, 0.2), (2, 0.7), (4, 0.7), (5, 0.1), (6, 0.6)]


def test_without_any_score_the_last_weights_stay(plan):
    trainer, _ = trainer_of(plan("train.select=best", "train.validate_every=2"))
    trainer.run()
    assert trainer.selected_step == 6


@pytest.mark.parametrize(("every", "expected"), [(0, []), (2, [2, 4, 6]), (4, [4, 6]), (9, [6])])
def test_validation_comes_when_asked_and_at_the_end(plan, every, expected):
    trainer, _ = trainer_of(plan(f"train.validate_every={every}"), validate=lambda: 0.5)
    assert [step for step, _ in trainer.run().validation_dice] == expected


def test_the_loss_curve_is_the_mean_since_the_entry_before(plan):
    trial = plan(*FROZEN, "train.steps=401", "train.batch=2", "train.validate_every=0")
    network = network_of(trial)
    made = encode_windows(
        trial.spec,
        network,
        Path(trial.place.cache),
        torch.device("cpu"),
        nullcontext,
        lambda *_: None,
    )
    log = Log()
    trainer, _ = trainer_of(trial, network, FeatureWindows(made, 0), watcher=log)
    curve = trainer.run().loss
    assert [step for step, _ in curve] == [*range(2, 401, 2), 401]
    pairs = [sum(log.losses[at : at + 2]) / 2 for at in range(0, 400, 2)]
    assert [value for _, value in curve] == pytest.approx([*pairs, log.losses[-1]])
    assert all(0 <= share <= 1 for share in log.waiting)


def result_of(trial, watcher):
    assert run_trial(trial, ON_CPU, watcher) == "done"
    weights = load_file(trial.folder / "model.safetensors")
    return trial.believed().result, weights


BEST = (
    "train.select=best", "train.validate_every=2", "train.checkpoint_every=3",
    "network.drop_path=0.4", "train.steps=7",
)  # fmt: skip


@pytest.mark.parametrize(
    "changes", [BEST, (*BEST, *FROZEN, "network.drop_path=0")], ids=["whole", "frozen"]
)
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_a_kill_at_any_step_changes_no_bit(plan, changes):
    expected, weights = result_of(plan(*changes, name="whole"), Log())
    for stop in range(1, 8):
        trial = plan(*changes, name=f"killed {stop}")
        with pytest.raises(KeyboardInterrupt):
            run_trial(trial, ON_CPU, Log(stop))
        log = Log()
        result, found = result_of(trial, log)
        assert result == expected
        assert same(found, weights)
        # It went on from the last checkpoint: the third step, the best one, the sixth.
        assert len(log.losses) < 7 or stop < 3
    trial = plan(*changes, name="twice killed")
    for stop in (5, 7):
        with pytest.raises(KeyboardInterrupt):
            run_trial(trial, ON_CPU, Log(stop))
    assert result_of(trial, Log())[0] == expected


def test_a_kill_between_any_two_files_loses_no_best_weights(plan):
    changes = (
        *LINEAR, "train.select=best", "train.validate_every=1", "train.checkpoint_every=2",
    )  # fmt: skip
    scores = [0.3, 0.1, 0.5, 0.4, 0.6, 0.2]
    kept, most = {}, 24
    for stop in range(most):
        trial = plan(*changes, name=str(stop))
        calls = count()

        def guard(stop=stop, calls=calls):
            if next(calls) == stop:
                raise KeyboardInterrupt

        def attempt(guard, scores, trial=trial):
            trainer, network = trainer_of(
                trial, guard=guard, validate=lambda: scores[trainer.state.step - 1]
            )
            trainer.run()
            return trainer.selected_step, network

        try:
            selected, network = attempt(guard, scores)
        except KeyboardInterrupt:
            selected, network = attempt(lambda: None, scores)
        assert selected == 5
        kept[stop] = snapshot(network)
        assert same(kept[stop], kept[0])
    assert next(calls) < most  # the last kills came after the end


def test_processes_that_do_not_validate_ask_for_no_best_weights(plan, monkeypatch):
    trial = plan("train.select=best", "train.validate_every=2", "train.checkpoint_every=2")
    with pytest.raises(KeyboardInterrupt):
        trainer_of(trial, watcher=Log(3), validate=lambda: 0.1)[0].run()
    path = trial.folder / CHECKPOINT
    both_go_on_from = path.read_bytes()
    first, _ = trainer_of(trial, validate=lambda: 0.2)
    first.run()
    assert first.selected_step == 4
    path.write_bytes(both_go_on_from)
    monkeypatch.setattr(Accelerator, "is_main_process", False)
    other, _ = trainer_of(trial)
    assert other.run().step == 6


def test_best_weights_that_were_seen_once_count_even_if_a_gpu_would_not_see_them_again(plan):
    trial = plan("train.select=best", "train.validate_every=2", "train.checkpoint_every=5")
    seen = {}

    def validate(scores):
        def score():
            seen.setdefault(trainer.state.step, snapshot(trainer._network))
            return scores[trainer.state.step]

        return score

    trainer, _ = trainer_of(trial, watcher=Log(5), validate=validate({2: 0.3, 4: 0.9}))
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    trainer, network = trainer_of(trial, validate=validate({2: 0.3, 4: 0.2, 6: 0.4}))
    trainer.run()
    assert same(snapshot(network), seen[trainer.selected_step])
    assert trainer.selected_step == 4


def test_every_step_is_in_the_event_files_once(plan):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trial = plan("train.checkpoint_every=3", "train.validate_every=0")
    with pytest.raises(KeyboardInterrupt):
        trainer_of(trial, watcher=Log(6))[0].run()
    trainer_of(trial)[0].run()
    events = EventAccumulator(str(trial.folder / "events"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]


class Spoiled(Dataset):
    def __init__(self, inner, number):
        self.inner, self.number = inner, number

    def __getitem__(self, index):
        window = self.inner[index]
        return (
            window._replace(image=window.image * float("nan")) if index == self.number else window
        )


def test_a_loss_that_is_no_number_names_its_cases(plan):
    trial = plan("train.validate_every=0", "train.checkpoint_every=1")
    windows = windows_of(trial.spec, trial.place.cache)
    trainer, network = trainer_of(trial, windows=Spoiled(windows, 2 * 4 + 1))
    with pytest.raises(NotFiniteError, match="at step 2, on") as caught:
        trainer.run()
    assert caught.value.cases == sorted({windows[number].case for number in range(8, 12)})
    assert trainer.state.step == 2
    assert all(weight.isfinite().all() for weight in network.state_dict().values())


def test_a_gradient_that_is_no_number_reaches_no_weight(plan):
    trainer, network = trainer_of(plan("train.validate_every=0"))
    network.decoder.head.bias.register_hook(lambda grad: grad * float("inf"))
    before = snapshot(network)
    with pytest.raises(NotFiniteError):
        trainer.run()
    assert same(before, snapshot(network))


def out_of_memory(monkeypatch, refuse):
    """Let the forward pass run out of memory where `refuse(call, windows)` says so."""
    calls, forward = count(), stepper.TrainingModule.forward

    def limited(self, inputs, depth):
        if refuse(next(calls), len(inputs)):
            raise torch.OutOfMemoryError("no room")
        return forward(self, inputs, depth)

    monkeypatch.setattr(stepper.TrainingModule, "forward", limited)


@pytest.mark.parametrize(
    ("refuse", "start", "left"),
    [
        (lambda call, windows: windows > 4, 4, 2),
        (lambda call, windows: windows > 2, 4, 1),
        (lambda call, windows: call == 5, 3, 1),  # in the second micro-batch of the third step
    ],
    ids=["half", "one", "later"],
)
def test_out_of_memory_halves_the_micro_batch_and_changes_nothing(
    plan, monkeypatch, exact, refuse, start, left
):
    changes = ("train.batch=8", "train.validate_every=0", "network.drop_path=0.5", "train.steps=4")
    windows = Doubled(windows_of((trial := plan(*changes)).spec, trial.place.cache))
    trainer, plain = trainer_of(trial, network_of(trial).double(), windows)
    trainer.run()
    trial = plan(*changes, name="short of memory")
    trainer, network = trainer_of(trial, network_of(trial).double(), windows)
    trainer.state.groups_at_once = start
    out_of_memory(monkeypatch, refuse)
    assert trainer.run().groups_at_once == left
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], weight, rtol=0, atol=1e-7)


def test_a_single_group_that_does_not_fit_is_an_error(plan, monkeypatch):
    trainer, _ = trainer_of(plan())
    trainer.state.groups_at_once = 2
    out_of_memory(monkeypatch, lambda call, windows: True)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.run()
    assert trainer.state.groups_at_once == 1


# Traced as ever; to generate code would take a minute, and to trace the gradients costs as much.
@pytest.mark.parametrize("kind, backend", [("inflated", "aot_eager"), ("2d", "eager")])
def test_a_compiled_training_is_the_same_training(plan, monkeypatch, kind, backend):
    real = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **how: real(self, backend=backend, **how)
    )
    trial = plan("train.steps=4", "train.validate_every=0", "network.drop_path=0.5", kind=kind)
    found = {}
    again = [True] * (kind == "2d")  # compiles anew: forms do not pile up
    for compiled in (False, True, *again):
        seen = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        log = Log()
        trainer, network = trainer_of(trial, watcher=log, compiled=compiled)
        trainer.run()
        (trial.folder / CHECKPOINT).unlink()
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"] - seen
        assert graphs == int(compiled)  # once, and not again for every draw
        found[compiled] = log.losses, snapshot(network)
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-4)
    assert found[True][1].keys() == found[False][1].keys()
    for name, tensor in found[False][1].items():
        torch.testing.assert_close(found[True][1][name], tensor, rtol=0, atol=2e-3)


class Recorded:
    """A CUDA graph as a CPU can show it: gradients are written where they were when it was made."""

    def __init__(self, run, *inputs, changed=()):
        self.run, self.inputs = run, [tensor.clone() for tensor in inputs]
        before = [tensor.clone() for tensor in changed]
        for _ in range(3):
            run(*self.inputs)
        self.output = run(*self.inputs).clone()
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)
        self.parameters = list(run.__self__._network.parameters())
        self.places = [p.grad for p in self.parameters]

    def __call__(self, *inputs):
        for kept, tensor in zip(self.inputs, inputs, strict=True):
            kept.copy_(tensor)
        seen = [p.grad for p in self.parameters]
        self.output.copy_(self.run(*self.inputs))
        for parameter, place, had in zip(self.parameters, self.places, seen, strict=True):
            if place is not None:
                place.copy_(parameter.grad)
            parameter.grad = had
        return self.output


class RecordedUpdate:
    """An update as a CUDA graph, likewise: it reads gradients where they were when it was made."""

    def __init__(self, optimizer):
        self.optimizer, self.places = optimizer, None
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def step(self):
        if self.places is None:  # the first one is a plain one
            self.places = []
        elif not self.places:
            self.places = [p.grad for p in self.parameters]
        had = [p.grad for p in self.parameters]
        for parameter, place in zip(self.parameters, self.places or had, strict=True):
            parameter.grad = place
        self.optimizer.step()
        for parameter, grad in zip(self.parameters, had, strict=True):
            parameter.grad = grad


@pytest.fixture
def rehearsed(monkeypatch):
    """What is done on CUDA alone, as far as a CPU can do it."""
    adamw = torch.optim.AdamW
    monkeypatch.setattr(norms, "by_all", lambda x, groups: True)
    monkeypatch.setattr(attention, "attend", attention.attend_repeated)
    monkeypatch.setattr(torch.optim, "AdamW", lambda *a, **k: adamw(*a, **{**k, "fused": True}))
    monkeypatch.setattr(stepper, "can_be_graphed", lambda device, processes: True)
    monkeypatch.setattr(stepper, "Graph", Recorded)
    monkeypatch.setattr(stepper, "GraphedUpdate", RecordedUpdate)
    # A CPU alone would take one group at a time.
    monkeypatch.setattr(State, "__init__", partialmethod(State.__init__, groups_at_once=99))
    yield
    AcceleratorState._reset_state()  # whatever fails, the next test has its own precision


def trained(trial, *, stop=None, precision="no"):
    """Losses and weights of a whole training, killed once after step `stop`."""
    AcceleratorState._reset_state()  # it would insist on the precision before
    log = Log(stop=stop)
    if stop:
        killed, _ = trainer_of(trial, watcher=log, precision=precision)
        with pytest.raises(KeyboardInterrupt):
            killed.run()
        log.stop = None
    trainer, network = trainer_of(trial, watcher=log, precision=precision)
    trainer.run()
    (trial.folder / CHECKPOINT).unlink()
    return log.losses, snapshot(network)


@pytest.mark.parametrize("kind", KINDS)
def test_training_as_on_a_gpu_is_the_same_training(plan, request, kind):
    trial = plan("train.steps=5", "train.validate_every=0", kind=kind)
    expected = trained(trial)
    request.getfixturevalue("rehearsed")
    for stop in (None, 3):
        losses, weights = trained(trial, stop=stop)
        again = losses if stop is None else [*losses[:2], *losses[3:]]
        assert again == pytest.approx(expected[0], rel=1e-4)
        for name, tensor in expected[1].items():
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=2e-3)


@pytest.mark.usefixtures("rehearsed")
@pytest.mark.parametrize("short_from", [0, 1, 3])
def test_short_of_memory_on_a_gpu_it_is_the_same_training(plan, monkeypatch, short_from):
    """Gradients then lie elsewhere in each step, and no graph may look for them."""
    changes = ("train.steps=6", "train.validate_every=0", "train.batch=4", "train.dice_group=2")
    losses, weights = trained(plan(*changes))
    trial, real, taken = plan(*changes, name="short"), stepper.Stepper._moved, count()

    def moved(self, groups, numbers):
        if len(groups) == 2 and next(taken) >= short_from:
            raise torch.OutOfMemoryError("no room")
        return real(self, groups, numbers)

    monkeypatch.setattr(stepper.Stepper, "_moved", moved)
    found, others = trained(trial)
    assert found == pytest.approx(losses, rel=1e-4)
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=0, atol=2e-3)


@pytest.mark.usefixtures("rehearsed")
def test_graphs_make_room_for_a_validation_and_for_what_comes_after(plan, monkeypatch):
    changes = ("train.steps=4", "train.checkpoint_every=9", "train.validate_every=2")
    losses, weights = trained(plan(*changes))
    graphs = []

    def validate():
        graphs.append(trainer._stepper._graph)
        if graphs[-1] is not None:
            raise torch.OutOfMemoryError("no room")
        return 0.5

    trial, log = plan(*changes, name="short"), Log()
    AcceleratorState._reset_state()
    trainer, network = trainer_of(trial, watcher=log, validate=validate)
    state = trainer.run()
    assert [graph is None for graph in graphs] == [False, True] * 2
    assert state.validation_dice == [(2, 0.5), (4, 0.5)]
    assert trainer._stepper._graph is trainer._stepper._update is None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert log.losses == pytest.approx(losses, rel=1e-4)
    for name, tensor in weights.items():
        torch.testing.assert_close(network.state_dict()[name], tensor, rtol=0, atol=2e-3)


@pytest.mark.usefixtures("rehearsed")
def test_a_validation_that_never_fits_is_an_error(plan):
    def validate():
        raise torch.OutOfMemoryError("no room")

    AcceleratorState._reset_state()
    trainer, _ = trainer_of(plan("train.validate_every=1"), validate=validate)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.run()


def test_averages_of_norms_see_every_step_once_on_a_gpu_too(plan, monkeypatch, request):
    """Though a graph is warmed up, and made again at each resume."""

    def averaging(trial, made=network_of):
        network = made(trial)
        network.averaged = torch.nn.BatchNorm3d(network.classes, affine=False)
        network.register_forward_hook(lambda module, _, logits: module.averaged(logits))
        return network

    monkeypatch.setattr(f"{__name__}.network_of", averaging)
    one_group = ("train.batch=2", "train.dice_group=2")  # as a CPU takes one at a time
    steps = ("train.steps=4", "train.checkpoint_every=2", "train.validate_every=0")
    trial = plan(*steps, *one_group)
    _, expected = trained(trial)
    assert expected["averaged.num_batches_tracked"] == 4
    request.getfixturevalue("rehearsed")
    for stop in (None, 3):
        _, found = trained(trial, stop=stop)
        assert found["averaged.num_batches_tracked"] == 4
        for name in ("averaged.running_mean", "averaged.running_var"):
            torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_as_on_a_gpu_is_nearly_the_same_training(plan, request, kind):
    # No convolutions: some CPUs' give NaN in bfloat16 (torch 2.14).
    trial = plan(*LINEAR, "train.steps=5", "train.validate_every=0", kind=kind)
    expected, _ = trained(trial)
    request.getfixturevalue("rehearsed")
    mixed, _ = trained(trial, precision="bf16")
    assert mixed != expected
    assert mixed == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_window_that_cannot_be_made_names_its_case(plan, monkeypatch, workers):
    trial = plan()
    bad, real = trial.spec.cases.train[1], sampling.draw

    def draw(case, *arguments):
        if case.name == bad:
            raise OSError("input/output error")
        return real(case, *arguments)

    monkeypatch.setattr(sampling, "draw", draw)
    trainer, _ = trainer_of(trial, workers=workers)
    with pytest.raises(WindowError, match=f"case '{bad}' cannot be made: OSError") as caught:
        trainer.run()
    assert caught.value.case == bad


def test_only_a_process_that_died_is_told_as_dead(plan, monkeypatch):
    """Whatever an error says: torch has no type for it."""

    def refused(*_):
        raise RuntimeError("DataLoader worker is a name like another")

    trial = plan()
    trainer, _ = trainer_of(trial)
    monkeypatch.setattr(sampling.Windows, "__getitem__", refused)
    with pytest.raises(RuntimeError, match="is a name like another"):
        trainer.run()
    monkeypatch.undo()
    monkeypatch.setattr(sampling, "draw", lambda *_: os._exit(3))
    trainer, _ = trainer_of(trial, workers=1)
    with pytest.raises(DeadWorkerError, match="a process that makes training windows died"):
        trainer.run()


def test_more_processes_than_groups_are_refused(plan):
    trial = plan()
    world = SimpleNamespace(num_processes=3, process_index=0, device=torch.device("cpu"))
    with pytest.raises(UsageError, match="3 processes share a trial whose steps have 2 groups"):
        Trainer(
            trial.spec, network_of(trial), Doubled(None), trial.folder, world,
            watcher=Log(), guard=lambda: None, validate=lambda: None, workers=0,
        )  # fmt: skip


@pytest.mark.parametrize("moment", ["before the curves", "while a checkpoint is written"])
def test_who_was_suspended_and_lost_the_trial_writes_nothing_more(plan, monkeypatch, moment):
    class Suspended(Log):
        def step(self, step, *values):
            super().step(step, *values)
            if step == 3 and moment == "before the curves":
                lost.append(step)
                monkeypatch.setattr(trainer, "LOOK_SECONDS", -1.0)  # as after a long silence

    def guard():
        if lost:
            raise LostLeaseError("taken over", hint="")

    def saved(*values):
        if moment != "before the curves":
            lost.append("saving")  # the guard let it through, and then it was suspended
        return real(*values)

    lost, real = [], checkpointing.digest_of
    monkeypatch.setattr(checkpointing, "digest_of", saved)
    trial = plan("train.validate_every=0", "train.checkpoint_every=4")
    made, _ = trainer_of(trial, watcher=(log := Suspended()), guard=guard)
    with pytest.raises(LostLeaseError):
        made.run()
    assert len(log.losses) == (3 if moment == "before the curves" else 4)
    assert {path.name for path in trial.folder.iterdir() if "place" not in path.name} == {
        "trial.json", "events",
    }  # fmt: skip
    (events,) = (trial.folder / "events").iterdir()
    assert events.read_bytes().count(b"loss") == (2 if moment == "before the curves" else 4)


def asks_at(number):
    """A validation that is asked to stop at its n-th case, of two each time."""
    seen = count(1)

    def validate():
        for _ in range(2):
            stops.check()
            if next(seen) == number:
                os.kill(os.getpid(), signal.SIGTERM)
        return 0.5 + next(seen) * 0.0

    return validate


@pytest.mark.parametrize("select", ["best", "last"])
def test_a_validation_that_is_left_is_done_before_the_next_step(plan, select):
    """The checkpoint holds the step, and that its validation is still to come."""
    changes = (f"train.select={select}", "train.checkpoint_every=100")
    whole, left = (plan(*changes, name=name) for name in ("whole", "left"))
    expected, network = trainer_of(whole, validate=lambda: 0.5)
    expected.run()
    first = Log()
    with stops.heeded(), pytest.raises(stops.Stopped):
        trainer_of(left, validate=asks_at(1), watcher=first)[0].run()
    assert len(first.losses) == 3  # the first validation comes after the third
    second, found = trainer_of(left, validate=lambda: 0.5, watcher=(again := Log()))
    second.run()
    assert len(again.losses) == 3
    assert second.state.validation_dice == expected.state.validation_dice == [(3, 0.5), (6, 0.5)]
    assert second.state.loss == expected.state.loss
    assert second.selected_step == expected.selected_step
    assert same(snapshot(found), snapshot(network))


def test_nothing_is_saved_where_nothing_was_done(plan):
    trial = plan("train.checkpoint_every=100")
    with stops.heeded(), pytest.raises(stops.Stopped):
        trainer_of(trial, validate=asks_at(1))[0].run()
    path = trial.folder / CHECKPOINT
    before = path.stat().st_mtime_ns
    with stops.heeded(), pytest.raises(stops.Stopped):
        trainer_of(trial, validate=asks_at(1))[0].run()
    assert path.stat().st_mtime_ns == before


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_signal_to_all_processes_leaves_workers_to_the_one_that_saves(plan):
    class All(Log):
        def step(self, step, steps, loss, waiting):
            super().step(step, steps, loss, waiting)
            if step == 2:
                for child in active_children():
                    os.kill(child.pid, signal.SIGTERM)
                time.sleep(0.3)
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    trial = plan("train.validate_every=0", "train.checkpoint_every=100")
    with stops.heeded(), pytest.raises(stops.Stopped):
        trainer_of(trial, watcher=(log := All()), workers=1)[0].run()
    assert len(log.losses) == 4
    assert (trial.folder / CHECKPOINT).exists()
