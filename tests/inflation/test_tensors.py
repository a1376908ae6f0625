"""A tensor of the 3D network from those of the 2D one, by its role."""

import pytest
import torch
import torch.nn.functional as F

from inflate_zoo.inflation.recipe import Recipe
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.inflation.tensors import InflatedTensor, compute, stacked
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.naming.patterns import Share
from inflate_zoo.naming.plan import TensorPlan

STATISTICS = Normalization(mean=(0.48, 0.45, 0.40), std=(0.26, 0.25, 0.31))


def random(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def stem_of(recipe, kernel, bias):
    """The 3D stem's kernel and bias, of a source's."""
    weight = TensorPlan("patch_embed.weight", "stem_kernel", ("w",), tuple(kernel.shape), "F32")
    offset = TensorPlan("patch_embed.bias", "stem_bias", ("b",), tuple(bias.shape), "F32")
    read = {weight.name: kernel, offset.name: bias}
    offset_inputs = (offset,) if recipe.normalization is None else (weight, offset)
    return tuple(
        compute(
            InflatedTensor(inputs[-1].name, inputs[-1].role, "F32", (), inputs),
            recipe,
            lambda kept: read[kept.name],
        )
        for inputs in ((weight,), offset_inputs)
    )


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 3, 4])
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_the_stem_gives_grey_equal_slices_the_2d_response(scheme, depth, channels, fold):
    """At depth 3 and one channel, 3D and 2D kernels have as many elements; RGB is no depth."""
    kernel, bias, image = random(1, 7, 3, 4, 5), random(2, 7), random(3, 2, 1, 8, 11).sigmoid()
    statistics = STATISTICS if fold else None
    recipe = Recipe(scheme, depth, (depth, 4, 5), channels, statistics)
    weight, offset = stem_of(recipe, kernel, bias)
    assert weight.shape == (7, channels, depth, 4, 5)

    volume = image.unsqueeze(2).repeat(1, channels, depth, 1, 1)
    rgb = image.repeat(1, 3, 1, 1)
    if fold:
        mean, std = (rgb.new_tensor(v).view(3, 1, 1) for v in (STATISTICS.mean, STATISTICS.std))
        rgb = (rgb - mean) / std
    times = depth if scheme == "repeat" else 1
    expected = times * F.conv2d(rgb, kernel) + bias.view(1, -1, 1, 1)
    torch.testing.assert_close(F.conv3d(volume, weight, offset).squeeze(2), expected)


def test_another_tensor_of_rank_4_is_copied():
    other = random(1, 7, 3, 4, 5)
    kept = TensorPlan("blocks.0.conv.weight", "copy", ("x",), tuple(other.shape), "F32")
    output = InflatedTensor(kept.name, "copy", "F32", kept.shape, (kept,))
    assert compute(output, Recipe("center", 4, (4, 4, 5), 3), lambda _: other) is other


@pytest.mark.parametrize("last", [True, False])
def test_a_matrix_over_patches_becomes_the_kernel_that_does_the_same(last):
    """Patches of 4 x 5 in 3 channels, laid out as the source's library does."""
    matrix, image = random(1, 7, 60), random(2, 1, 3, 8, 15)
    patches = image.unfold(2, 4, 4).unfold(3, 5, 5)  # (1, channels, rows, columns, 4, 5)
    order = (0, 2, 3, 4, 5, 1) if last else (0, 2, 3, 1, 4, 5)
    expected = F.linear(patches.permute(order).reshape(6, 60), matrix)
    shape = (7, 3, 4, 5)
    kept = TensorPlan("patch_embed.weight", "stem_kernel", ("w",), shape, "F32", channels_last=last)
    kernel = stacked(kept, [matrix])
    assert kernel.shape == shape
    response = F.conv2d(image, kernel, stride=(4, 5))
    torch.testing.assert_close(response[0].flatten(1).T, expected)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_share_is_one_of_equal_parts_along_the_first_dimension(place):
    packed = random(1, 12, 5)
    kept = TensorPlan("q", "copy", ("qkv",), (4, 5), "F32", share=Share(place, 3))
    assert torch.equal(stacked(kept, [packed]), packed[4 * place : 4 * (place + 1)])


def test_what_has_no_source_holds_no_value():
    kept = TensorPlan("reg_token", "copy", (), (1, 0, 48), "F32")
    assert stacked(kept, []).shape == (1, 0, 48)
