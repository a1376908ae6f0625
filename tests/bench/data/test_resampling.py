"""Back to an image's own grid: class by class what all classes at once would give."""

import numpy as np
import pytest
import torch

from inflate_zoo.bench.data.resampling import restore


def scores(classes, shape):
    """Probabilities in steps of 1/4, so that many are equal."""
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 5, (classes, *shape), generator=random) / 4


@pytest.mark.parametrize("classes", [1, 2, 256])
@pytest.mark.parametrize("shape", [(5, 6, 7), (10, 6, 3), (3, 11, 14), (1, 1, 1)])
def test_restoring_is_the_argmax_of_all_classes_at_once(classes, shape):
    given = scores(classes, (5, 6, 7))
    before = given.clone()
    whole = torch.nn.functional.interpolate(given[None], shape, mode="trilinear")[0]
    found = restore(given, shape)
    assert found.dtype == np.uint8
    assert np.array_equal(found, whole.argmax(0).numpy())
    assert torch.equal(given, before)


def test_a_voxel_without_numbers_is_background():
    given = scores(3, (2, 3, 4))
    given[:, 1] = torch.nan
    assert not restore(given, (2, 3, 4))[1].any()
    assert restore(given, (2, 3, 4))[0].any()
