"""Small tensors that follow from sizes alone: made once, since every launch on a GPU costs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Lock
from typing import ParamSpec

import torch
from torch import Tensor

MOST_KEPT = 64  # of each function: those of a few networks at a few sizes
Sizes = ParamSpec("Sizes")
_holders: list[list[Tensor]] = []


def made_once(make: Callable[Sizes, Tensor]) -> Callable[Sizes, Tensor]:
    """Keep what a function gives for its arguments, which it must follow from; do not change it.

    Of each function the last `MOST_KEPT` that were asked for are kept.
    """
    kept: OrderedDict[object, Tensor] = OrderedDict()
    lock = Lock()

    @wraps(make)
    def made(*args: Sizes.args, **kwargs: Sizes.kwargs) -> Tensor:
        if torch.compiler.is_compiling():  # what is constant is the compiler's to see
            return make(*args, **kwargs)
        # A graph would find other numbers in the memory of what is dropped later.
        if _capturing() and not _holders:
            return make(*args, **kwargs)
        key = (args, tuple(kwargs.items()))
        with lock:
            if (tensor := kept.get(key)) is not None:
                kept.move_to_end(key)
        if tensor is None:
            with torch.inference_mode(mode=False):  # what is made there cannot be trained with
                tensor = make(*args, **kwargs)
            if type(tensor) is not Tensor:  # a tracer's
                return tensor
            with lock:
                kept[key] = tensor
                if len(kept) > MOST_KEPT:
                    kept.popitem(last=False)
        for held in _holders:
            held.append(tensor)
        return tensor

    return made


def _capturing() -> bool:
    begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return bool(begun) and torch.cuda.is_current_stream_capturing()


@contextmanager
def holding() -> Iterator[list[Tensor]]:
    """Collect what is asked for in the block, in any thread.

    Yields:
        What the maker of a CUDA graph has to hold for as long as the graph lives.
    """
    held: list[Tensor] = []
    _holders.append(held)
    try:
        yield held
    finally:
        _holders[:] = [each for each in _holders if each is not held]
