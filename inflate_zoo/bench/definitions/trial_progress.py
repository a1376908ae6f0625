"""How far a running trial is, as its process notes it for those who look from elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

PROGRESS = "progress.json"
Stage = Literal["loading", "features", "training", "evaluating"]
_Count = Annotated[int, Field(ge=0, strict=True)]
_Seconds = Annotated[FiniteFloat, Field(ge=0)]


class TrialProgress(BaseModel):
    """What a trial's process does.

    Attributes:
        host: The machine it runs on.
        device: The name of its device.
        stage: What it does now.
        step: Optimiser steps done, in all attempts; `None` before the first of this one.
        steps: Of the whole training.
        loss: Of the last step.
        dice: Of the last validation.
        waiting: Share of the training spent waiting for data.
        done: Parts done of a stage without steps.
        total: Parts of that stage.
        per_step: Seconds of a step, validations included; `None` before two were measured.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    host: str
    device: str
    stage: Stage = "loading"
    step: _Count | None = None
    steps: _Count | None = None
    loss: FiniteFloat | None = None
    dice: FiniteFloat | None = None
    waiting: FiniteFloat | None = None
    done: _Count | None = None
    total: _Count | None = None
    per_step: _Seconds | None = None

    @property
    def left(self) -> float | None:
        """Seconds until it has trained; `None` where that is not known."""
        if self.stage != "training" or None in (self.per_step, self.step, self.steps):
            return None
        return (self.per_step or 0.0) * max(0, (self.steps or 0) - (self.step or 0))
