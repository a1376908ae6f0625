"""The loss of a group of windows."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.bench.definitions.protocols import Loss


class GroupLoss(nn.Module):
    """Dice over a whole group of windows, cross-entropy and focal loss, weighted.

    Dice is a quotient of sums over the group, so the mean over groups depends on what a group is;
    the protocol fixes it.
    """

    def __init__(self, settings: Loss) -> None:
        super().__init__()
        from monai.losses import DiceLoss, FocalLoss

        self._settings = settings
        self._dice = DiceLoss(
            softmax=True, to_onehot_y=True, batch=True, include_background=settings.background
        )
        self._focal = FocalLoss(
            gamma=2.0, use_softmax=True, to_onehot_y=True, include_background=True
        )

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Loss of one group.

        Args:
            logits: Shape [windows, classes, depth, height, width].
            label: Class indices, shape [windows, depth, height, width].
        """
        weights, target = self._settings, label.unsqueeze(1)
        loss = logits.new_zeros(())
        if weights.dice:
            loss = loss + weights.dice * self._dice(logits, target)
        if weights.cross_entropy:
            loss = loss + weights.cross_entropy * F.cross_entropy(logits, label)
        if weights.focal:
            loss = loss + weights.focal * self._focal(logits, target)
        return loss
