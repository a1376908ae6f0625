"""Randomness that is derived, never stored: a function of the trial's seed and of the place of use.

Results then depend neither on the number of workers nor on where a killed trial went on.
"""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *place: int | str) -> int:
    """A seed for one place of use.

    Args:
        seed: The trial's seed.
        place: What the randomness is for, e.g. `("window", number)`.

    Returns:
        A number in [0, 2**32), as numpy's and torch's generators take it.
    """
    text = "/".join(str(part) for part in (seed, *place))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
