"""Typed, frozen forms of protocols and suites, as files under benchmarks say them.

Trials and changed protocols are named by all values. A setting that came later is left out where it
is as everything was before, so that their names stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from inflate_zoo.bench.definitions.tasks import (
    Count,
    Intensity,
    Listed,
    Millimetres,
    Pixels,
    Strict,
)
from inflate_zoo.files import budgets

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, le=budgets.MOST_FACTOR)]
Voxels = Listed[tuple[Pixels, Pixels, Pixels]]
WindowSize = Listed[tuple[Pixels | Literal["spacing"], Pixels, Pixels]]
Positive = Annotated[float, Field(gt=0, le=budgets.MOST_FACTOR)]
Steps = Annotated[int, Field(gt=0, le=budgets.MOST_STEPS)]
Windows = Annotated[int, Field(gt=0, le=budgets.MOST_WINDOWS)]
Width = Annotated[int, Field(gt=0, le=budgets.MOST_WIDTH)]
ChannelRule = Literal["sum", "rgb"]


class Data(Strict):
    """What a protocol changes of the task; `task` keeps it.

    Attributes:
        spacing: Target spacing (depth, height, width) in mm.
        intensity: How intensities become [0, 1].
        ct_intensity: The same, of CT alone.
        whole_slices: Resize every slice to the task's `slice_size`, in place of the spacing.
        split: `folds`, or `paper` for the task's `paper_split`.
        select_on: The cases that choose a checkpoint: `validation`, or `test`, the scored ones.
    """

    spacing: Literal["task"] | Millimetres = "task"
    intensity: Literal["task"] | Intensity = "task"
    ct_intensity: Literal["task"] | Intensity = "task"
    whole_slices: bool = False
    split: Literal["folds", "paper"] = "folds"
    select_on: Literal["validation", "test"] = "validation"


class Network(Strict):
    """The segmenter.

    Attributes:
        decoder: `unetr` or `linear`; `upernet` sees whole slices and predicts the centre one.
        features: Width of the decoder at full resolution.
        norm: Of `upernet`: `group`, or `batch`, over all windows that one process sees at a time.
        image_path: Of `unetr`: whether it has convolutions on the image itself. Without, it sees
            the image only through the backbone, so that what is ranked is the backbone.
        window: What the network sees (depth, height, width) in voxels of the target spacing, each
            rounded up to a multiple of the patch; the depth `spacing` makes it about as deep in mm
            as it is high. Of whole slices the depth alone counts.
        patch_depth: Voxels; `spacing` makes a patch about as deep in mm as it is high.
        fold_normalization: Fold the source's input normalisation into the stem; without, it is fed
            [0, 1] as if it had been trained on that.
        drop_path: Greatest rate of stochastic depth.
        freeze: Train the decoder alone, on features computed once.
    """

    decoder: Literal["unetr", "linear", "upernet"]
    features: Width
    norm: Literal["group", "batch"] = "group"
    image_path: bool = True
    window: WindowSize
    patch_depth: Pixels | Literal["spacing"]
    fold_normalization: bool = True
    drop_path: float = Field(ge=0, lt=1)
    freeze: bool

    @model_validator(mode="after")
    def _features_serve(self) -> Self:
        if self.freeze and self.decoder != "linear":
            raise ValueError("freeze needs decoder 'linear': others need more than kept features")
        if self.norm != "group" and self.decoder != "upernet":
            raise ValueError("norm belongs to decoder 'upernet', and to no other")
        return self

    @model_serializer(mode="wrap")
    def _as_named(self, rest: SerializerFunctionWrapHandler) -> dict[str, Any]:
        table: dict[str, Any] = rest(self)
        if self.image_path or self.decoder != "unetr":  # others have none to leave out
            table.pop("image_path", None)
        return table

    @property
    def centre_slice(self) -> bool:
        """Whether a window tells its centre slice alone."""
        return self.decoder == "upernet"


def mirrors_depth(window: Voxels, *, centre: bool) -> bool:
    """Whether windows may be mirrored along depth.

    The centre of an even number of slices lies behind their middle: mirrored, before it.

    Args:
        window: Voxels (depth, height, width).
        centre: Whether the centre slice alone is labelled.
    """
    return not centre or window[0] % 2 == 1


class Augment(Strict):
    """Changes of a training window, each with its probability.

    Attributes:
        flip: Per axis.
        quarter_turn: Of a rotation in the plane by 90, 180 or 270 degrees.
        turn: Of a rotation in the plane by up to `degrees` and a zoom in the plane within `zoom`.
        degrees: Greatest rotation.
        zoom: Least and greatest magnification.
        zoom_law: `log`, as likely to shrink as to magnify by the same factor, or `uniform`.
        zoom_depth: Zoom through the slices of the window too; what is missing is 0.
        intensity: Of each of: brightness within `brightness`, gamma within `gamma`, noise up to
            `noise`.
        brightness: Greatest shift, intensities in [0, 1].
        gamma: Least and greatest exponent.
        noise: Greatest standard deviation of Gaussian noise.
    """

    flip: Fraction
    quarter_turn: Fraction = 0.0
    turn: Fraction
    degrees: float = Field(ge=0, le=180)
    zoom: Listed[tuple[Positive, Positive]]
    zoom_law: Literal["log", "uniform"] = "log"
    zoom_depth: bool = False
    intensity: Fraction
    brightness: NonNegative
    gamma: Listed[tuple[Positive, Positive]]
    noise: NonNegative

    @model_validator(mode="after")
    def _ranges_go_up(self) -> Self:  # what nothing draws from is let be
        for name, used in (("zoom", self.turn), ("gamma", self.intensity)):
            low, high = getattr(self, name)
            if used and low > high:
                raise ValueError(f"{name} [{low:g}, {high:g}] begins with the greater of the two")
        return self


class Loss(Strict):
    """Weights of the parts of the loss.

    Attributes:
        dice: Softmax Dice over a whole group of windows.
        cross_entropy: Cross-entropy.
        focal: Softmax focal loss with gamma 2.
        background: Whether the Dice part counts the background.
    """

    dice: NonNegative
    cross_entropy: NonNegative
    focal: NonNegative
    background: bool

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not (self.dice or self.cross_entropy or self.focal):
            raise ValueError("dice, cross_entropy and focal are all 0: nothing would be learnt")
        return self


class Train(Strict):
    """How a trial trains.

    Attributes:
        steps: Optimiser steps.
        batch: Windows per step.
        dice_group: Windows over which Dice is taken; divides `batch`. Dice is not additive, so a
            micro-batch is a whole number of groups.
        foreground: Share of windows that hold a labelled voxel anywhere in the window, its label
            drawn evenly among those of the case.
        windows_per_case: With a frozen backbone: windows per case whose features are kept.
        learning_rate: Peak, of the decoder and the final norm.
        random_learning_rate: The same of arms with random weights, where another suits them; a
            trial holds the one it trains with as `learning_rate`.
        layer_decay: Factor on the learning rate per block towards the stem; the last block has
            it once.
        weight_decay: On matrices and kernels only.
        decay_norms: On the weights of norms too.
        schedule: After the warm-up, down to zero.
        warmup_ratio: Share of the steps with a linear warm-up.
        clip: Greatest norm of the gradient.
        precision: On a GPU; a CPU always takes float32.
        validate_every: Steps between validations on the inner validation cases; 0 for none.
        validation_cases: How many of them at most.
        select: `last` keeps the final weights, `best` those of the best validation.
        checkpoint_every: Steps between checkpoints.
    """

    steps: Steps
    batch: Windows
    dice_group: Windows
    foreground: Fraction
    windows_per_case: Windows
    learning_rate: Positive
    random_learning_rate: Positive | None = None
    layer_decay: float = Field(gt=0, le=1)
    weight_decay: NonNegative
    decay_norms: bool = False
    schedule: Literal["cosine", "linear"]
    warmup_ratio: float = Field(ge=0, lt=1)
    clip: Positive
    precision: Literal["bf16", "fp32"]
    validate_every: int = Field(ge=0, le=budgets.MOST_STEPS)
    validation_cases: Count
    select: Literal["last", "best"]
    checkpoint_every: Steps

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.batch % self.dice_group:
            raise ValueError(f"batch {self.batch} is no multiple of dice_group {self.dice_group}")
        if self.select == "best" and not self.validate_every:
            raise ValueError("select 'best' needs validate_every above 0")
        return self

    @model_serializer(mode="wrap")
    def _as_named(self, rest: SerializerFunctionWrapHandler) -> dict[str, Any]:
        table: dict[str, Any] = rest(self)
        if self.random_learning_rate is None:
            table.pop("random_learning_rate", None)
        return table


class Evaluation(Strict):
    """How a trained network is scored.

    Attributes:
        overlap: Of sliding windows, as a share of the window; blended with Gaussian weights.
        batch: Windows at a time.
    """

    overlap: float = Field(ge=0, lt=1)
    batch: Windows


class Protocol(Strict):
    """How trials train and are scored, the same for every source.

    Attributes:
        name: File name of the definition.
        summary: One line.
        overrides: What was changed on the command line, `key=value`.
        backbone: Whose architecture `random` has when it runs alone.
        deviations: What differs from a published protocol, and why.
        task_steps: Task to its number of steps, where it is not that of `train`.
        task_window: Task to its window, where it is not that of `network`: volumes may be far
            smaller than it.
    """

    name: str
    summary: str
    overrides: Listed[tuple[str, ...]] = ()
    backbone: str
    deviations: Listed[tuple[str, ...]] = ()
    task_steps: Mapping[str, Steps] = {}
    task_window: Mapping[str, WindowSize] = {}
    data: Data = Data()
    network: Network
    augment: Augment
    loss: Loss
    train: Train
    evaluation: Evaluation

    @model_validator(mode="after")
    def _slices_fit(self) -> Self:
        if self.network.centre_slice and not self.data.whole_slices:
            raise ValueError("decoder 'upernet' sees whole slices: it needs data.whole_slices")
        return self

    @model_validator(mode="after")
    def _batch_varies(self) -> Self:
        if self.network.norm == "batch" and self.train.batch == 1:
            raise ValueError("network.norm 'batch' needs train.batch above 1")
        return self

    @model_serializer(mode="wrap")
    def _as_named(self, rest: SerializerFunctionWrapHandler) -> dict[str, Any]:
        table: dict[str, Any] = rest(self)
        if not self.task_window:
            table.pop("task_window", None)
        return table

    def of_task(self, task: str) -> Protocol:
        """The same with the steps and the window of one task."""
        steps = self.task_steps.get(task, self.train.steps)
        window = self.task_window.get(task, self.network.window)
        own = {
            "train": self.train.model_copy(update={"steps": steps}),
            "network": self.network.model_copy(update={"window": window}),
        }
        return self.model_copy(update={**own, "task_steps": {}, "task_window": {}})

    def of_weights(self, *, random: bool) -> Protocol:
        """The same with the one learning rate of an arm, whose weights are random or not."""
        own = self.train.random_learning_rate if random else None
        return self.of_rate(own or self.train.learning_rate)

    def of_rate(self, learning_rate: float) -> Protocol:
        """The same with one learning rate."""
        rates = {"learning_rate": learning_rate, "random_learning_rate": None}
        return self.model_copy(update={"train": self.train.model_copy(update=rates)})


class Suite(Strict):
    """Which sources and schemes are compared.

    Attributes:
        name: File name of the definition.
        summary: One line.
        sources: Any source that `convert` or `load` takes; `SOURCE:<scheme>` and `SOURCE:2d` for
            one arm of it, `SOURCE:patch_depth=4`, `SOURCE:depth_window=4` and the like for what it
            becomes over depth.
        schemes: Inflation schemes of the sources that name none.
        baselines: `random`, and `2d` for every source.
    """

    name: str
    summary: str
    sources: Listed[tuple[str, ...]] = Field(min_length=1)
    schemes: Listed[tuple[str, ...]] = Field(min_length=1)
    baselines: Listed[tuple[Literal["random", "2d"], ...]] = ()
