"""The learning rate over epochs, as nnU-Net asks for it."""

from __future__ import annotations

from math import cos, pi

from torch.optim import Optimizer


def rate_factor(epoch: int, epochs: int, warmup: int) -> float:
    """Factor on the full rate in an epoch from 0: a linear rise over `warmup` epochs, a cosine."""
    if epoch < warmup:
        return (epoch + 1) / warmup
    return (1 + cos(pi * (epoch - warmup) / max(1, epochs - warmup))) / 2


class EpochSchedule:
    """Sets the rate of every group by the epoch it is told, so that a resumed training goes on.

    Args:
        optimizer: The rates of its groups are the full ones.
        epochs: Of the whole training.
        warmup: Of the rise.
    """

    def __init__(self, optimizer: Optimizer, epochs: int, warmup: int) -> None:
        self._optimizer = optimizer
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._epochs, self._warmup = epochs, warmup

    def step(self, epoch: int) -> None:
        """Set the rates of an epoch, before it begins."""
        factor = rate_factor(epoch, self._epochs, self._warmup)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
