"""The loss of a group against plain arithmetic."""

import pytest
import torch

from inflate_zoo.bench.definitions.protocols import Loss
from inflate_zoo.bench.training.losses import GroupLoss
from tests.support.trials import one_thread


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


WINDOWS, CLASSES, SHAPE = 3, 4, (2, 5, 3)


@pytest.fixture
def group():
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(WINDOWS, CLASSES, *SHAPE, generator=generator)
    label = torch.randint(CLASSES, (WINDOWS, *SHAPE), generator=generator)
    label[0] = 0  # a window of background alone: Dice of one window would be another one
    return logits, label


def parts(logits, label):
    """Probabilities and one-hot labels, [voxels of all windows, classes], in float64."""
    logits = logits.double().movedim(1, -1).reshape(-1, CLASSES)
    chosen = torch.zeros_like(logits)
    chosen[torch.arange(len(logits)), label.flatten()] = 1
    return torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True), chosen


def dice(logits, label, background):
    probability, chosen = parts(logits, label)
    both, sizes = (probability * chosen).sum(0), probability.sum(0) + chosen.sum(0)
    loss = 1 - (2 * both + 1e-5) / (sizes + 1e-5)
    return loss[0 if background else 1 :].mean()


def cross_entropy(logits, label):
    probability, chosen = parts(logits, label)
    return -(chosen * probability.log()).sum(1).mean()


def focal(logits, label):
    # The mean is over classes too, as MONAI takes it.
    probability, chosen = parts(logits, label)
    return (-chosen * (1 - probability) ** 2 * probability.log()).mean()


def settings(**weights):
    return Loss(**({"dice": 0, "cross_entropy": 0, "focal": 0, "background": False} | weights))


def close(got, expected):
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("background", [False, True])
def test_dice_is_over_the_whole_group(group, background):
    close(GroupLoss(settings(dice=1, background=background))(*group), dice(*group, background))
    logits, label = group
    each = [dice(logits[i : i + 1], label[i : i + 1], background) for i in range(WINDOWS)]
    assert abs(torch.stack(each).mean() - dice(*group, background)) > 1e-2


def test_the_background_counts_when_asked_to(group):
    assert abs(dice(*group, True) - dice(*group, False)) > 1e-3


@pytest.mark.parametrize(
    ("name", "reference"), [("cross_entropy", cross_entropy), ("focal", focal)]
)
def test_parts_that_are_means_over_voxels(group, name, reference):
    close(GroupLoss(settings(**{name: 1}))(*group), reference(*group))


def test_parts_are_weighted_and_added(group):
    loss = GroupLoss(settings(dice=0.3, cross_entropy=1.7, focal=4.0, background=True))
    expected = 0.3 * dice(*group, True) + 1.7 * cross_entropy(*group) + 4 * focal(*group)
    close(loss(*group), expected)


def test_gradients_are_those_of_the_plain_arithmetic(group):
    logits, label = group
    mine, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    GroupLoss(settings(dice=1, cross_entropy=0.5, focal=2))(mine, label).backward()
    (
        dice(other, label, False) + 0.5 * cross_entropy(other, label) + 2 * focal(other, label)
    ).backward()
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-7)
