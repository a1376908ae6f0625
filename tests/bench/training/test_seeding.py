"""Derived seeds: fixed for ever, as records depend on them, and told apart by every part."""

import hashlib
import itertools

from inflate_zoo.bench.training.seeding import derive_seed


def test_a_seed_is_the_start_of_the_places_digest():
    digest = hashlib.sha256(b"7/window/12").hexdigest()
    assert derive_seed(7, "window", 12) == int(digest[:8], 16)


def test_places_and_seeds_differ():
    places = itertools.product((0, 1, 11), ("window", "decoder"), (0, 1, 11, 111))
    assert len({derive_seed(*place) for place in places}) == 24
    assert derive_seed(1, 11) != derive_seed(11, 1)


def test_seeds_are_32_bit_numbers_and_spread_over_them():
    seeds = [derive_seed(0, number) for number in range(400)]
    assert 0 <= min(seeds) < 2**26
    assert 2**32 - 2**26 < max(seeds) < 2**32
