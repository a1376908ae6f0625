"""Small tensors that follow from sizes alone: made once, since every launch on a GPU costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

Sizes = ParamSpec("Sizes")


def made_once(make: Callable[Sizes, Tensor]) -> Callable[Sizes, Tensor]:
    """Keep what a function gives for its arguments, which it must follow from; do not change it."""
    kept: dict[object, Tensor] = {}

    @wraps(make)
    def made(*args: Sizes.args, **kwargs: Sizes.kwargs) -> Tensor:
        if torch.compiler.is_compiling():  # what is constant is the compiler's to see
            return make(*args, **kwargs)
        key = (args, tuple(kwargs.items()))
        if key not in kept:
            with torch.inference_mode(mode=False):  # what is made there cannot be trained with
                tensor = make(*args, **kwargs)
            if type(tensor) is not Tensor:  # a tracer's
                return tensor
            kept[key] = tensor
        return kept[key]

    return made
