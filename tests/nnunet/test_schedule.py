"""The learning rate over epochs."""

from types import SimpleNamespace

import pytest
import torch

from inflate_zoo.bench.training.stepping import learning_rate_factor
from inflate_zoo.nnunet.schedule import EpochSchedule, rate_factor


@pytest.mark.parametrize(("epochs", "ratio"), [(1, 0.0), (1, 0.9), (20, 0.25), (1000, 0.025)])
def test_the_rate_goes_as_in_the_ranking_with_epochs_for_steps(epochs, ratio):
    settings = SimpleNamespace(steps=epochs, warmup_ratio=ratio, schedule="cosine")
    for epoch in range(epochs):
        found = rate_factor(epoch, epochs, round(ratio * epochs))
        assert found == pytest.approx(learning_rate_factor(epoch, settings))
        assert 0 < found <= 1


def groups():
    return [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in (1.0, 0.1)]


def test_each_group_keeps_its_share_and_any_epoch_may_come_first():
    straight, resumed = torch.optim.AdamW(groups()), torch.optim.AdamW(groups())
    going = EpochSchedule(straight, 10, 2)
    for epoch in range(8):
        going.step(epoch)
    EpochSchedule(resumed, 10, 2).step(7)
    rates = [group["lr"] for group in straight.param_groups]
    assert rates == [group["lr"] for group in resumed.param_groups]
    assert rates[1] == pytest.approx(0.1 * rates[0])
    assert rates[0] == pytest.approx(rate_factor(7, 10, 2))


def test_a_checkpoint_of_the_optimizer_changes_no_full_rate():
    optimizer = torch.optim.AdamW(groups())
    schedule = EpochSchedule(optimizer, 10, 0)
    schedule.step(5)
    late = torch.optim.AdamW(groups())
    again = EpochSchedule(late, 10, 0)
    late.load_state_dict(optimizer.state_dict())  # brings the rates of epoch 5
    again.step(6)
    assert late.param_groups[0]["lr"] == pytest.approx(rate_factor(6, 10, 0))
