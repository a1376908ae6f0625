"""The trainer that nnU-Net runs: `nnUNetv2_train ... -tr nnUNetTrainerInflated`.

nnU-Net gives patches and takes logits; all else is its own: data, augmentation, losses, mixed
precision, checkpoints, validation. What differs: the network, AdamW by layers, a rate that falls as
a cosine does, and no deep supervision, as our decoders give one resolution.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from torch import nn

from inflate_zoo.errors import InflateZooError
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.files.writing.whole_files import replace_text
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.nnunet.choice import (
    KEY,
    Choice,
    Demand,
    build,
    choice_in,
    choose,
    notes_on,
    read_choice,
    require_one_network,
)
from inflate_zoo.nnunet.framing import Framed
from inflate_zoo.nnunet.options import FILE, Settings, read_options
from inflate_zoo.nnunet.schedule import EpochSchedule
from inflate_zoo.nnunet.sources import find_backbone
from inflate_zoo.segmentation.optimization import param_groups

_CUDA = torch.device("cuda")  # nnU-Net's own default


class nnUNetTrainerInflated(nnUNetTrainer):  # type: ignore[misc]  # noqa: N801 - nnU-Net has no types; its way to name
    """nnU-Net's trainer on a 3D backbone: see `Options` for what may be chosen.

    The arguments are nnU-Net's, whose names it looks up: a derived class keeps them.
    """

    num_epochs: int
    num_iterations_per_epoch: int
    num_val_iterations_per_epoch: int

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = _CUDA,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = False
        self._resumed = False
        self._settings = Settings()

    def initialize(self) -> None:
        """Decide what is trained, build it, and load the source's weights.

        Raises:
            SystemExit: What was chosen does not fit; says so in a sentence.
        """
        with _told():
            if self._resumed:  # as it began, whatever file and environment say by now
                choice = read_choice(Path(self.output_folder))
                self._take(choice)
                super().initialize()
            else:
                self._begin()

    def _begin(self) -> None:
        home = self.preprocessed_dataset_folder_base
        options = read_options(Path(home) if home else None, os.environ)
        demand = self._demand()
        demand.require_supported()  # before anything is fetched
        found = find_backbone(options.source, self.print_to_log_file)
        choice = choose(options, demand, found)
        require_one_network(choice, Path(self.output_folder))
        self._take(choice)
        super().initialize()
        source = Backbone.from_pretrained(found.folder, volume=choice.network.backbone.volume)
        plain(self.network).segmenter.backbone.load_state_dict(source.state_dict())
        self.print_to_log_file(
            f"backbone {choice.source}, SHA-256 {choice.weights_sha256}, decoder "
            f"{choice.network.decoder}"
        )
        for note in notes_on(choice, demand.normalization):
            self.print_to_log_file(note)
        if self.local_rank == 0:
            replace_text(Path(self.output_folder) / FILE, form_text(choice))

    def _demand(self) -> Demand:
        manager = self.configuration_manager
        return Demand(
            configuration=self.configuration_name,
            patch_size=tuple(int(n) for n in manager.patch_size),
            previous_stage=manager.previous_stage_name,
            channels=determine_num_input_channels(self.plans_manager, manager, self.dataset_json),
            outputs=self.label_manager.num_segmentation_heads,
            normalization=tuple(manager.normalization_schemes),
        )

    def _take(self, choice: Choice) -> None:
        """Set what nnU-Net reads of a trainer; its plans go into checkpoints and beside them."""
        self.plans_manager.plans[KEY] = choice.as_dict()
        settings = self._settings = choice.settings
        self.initial_lr, self.weight_decay = settings.learning_rate, settings.weight_decay
        self.num_epochs = settings.epochs or self.num_epochs
        self.num_iterations_per_epoch = settings.iterations or self.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = (
            settings.validation_iterations or self.num_val_iterations_per_epoch
        )

    @staticmethod
    def build_network_architecture(
        plans_manager: Any,
        configuration_manager: Any,  # noqa: ARG004 - the choice was made for this one
        num_input_channels: int,  # noqa: ARG004
        num_output_channels: int,  # noqa: ARG004
        enable_deep_supervision: bool = True,  # noqa: ARG004 - there is none
    ) -> nn.Module:
        """The network that the plans name, with random weights; nnU-Net's predictor calls it too.

        Raises:
            SystemExit: The plans name none; says so in a sentence.
        """
        with _told():
            return build(choice_in(plans_manager.plans))

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, EpochSchedule]:
        """AdamW with a rate for each layer; the decoder's stands first, for nnU-Net logs that."""
        settings = self._settings
        groups = param_groups(
            plain(self.network).segmenter,
            learning_rate=self.initial_lr,
            weight_decay=self.weight_decay,
            layer_decay=settings.layer_decay,
        )
        optimizer = torch.optim.AdamW(groups[::-1])
        warmup = round(settings.warmup_ratio * self.num_epochs)
        return optimizer, EpochSchedule(optimizer, self.num_epochs, warmup)

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """There is none to turn on."""

    def load_checkpoint(self, filename_or_checkpoint: Mapping[str, Any] | str) -> None:
        """Go on from a checkpoint of this trainer, which needs no source any more."""
        self._resumed = True
        super().load_checkpoint(filename_or_checkpoint)


def plain(network: nn.Module) -> Framed:
    """The network itself, without what torch put around it: parallel, compiled, or both."""
    if isinstance(network, nn.parallel.DistributedDataParallel):
        network = network.module
    network = getattr(network, "_orig_mod", network)
    if not isinstance(network, Framed):
        raise TypeError(f"nnU-Net holds a {type(network).__name__}, not the network it was given")
    return network


@contextmanager
def _told() -> Iterator[None]:
    """nnU-Net's commands show tracebacks: ours end with a sentence and the next step instead."""
    try:
        yield
    except InflateZooError as error:
        first, *rest = error.lines()
        sys.exit("\n".join([f"error: {first}", *rest]))
