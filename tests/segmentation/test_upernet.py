"""UPerNet against transformers' own head and against plain torch."""

import pytest
import torch
import torch.nn.functional as F

from inflate_zoo.errors import UsageError
from inflate_zoo.registry.loading import load_network
from inflate_zoo.segmentation.segmenter import segmenter
from inflate_zoo.segmentation.upernet import BatchNorm, UpernetDecoder, make_norm, tapped_blocks
from tests.segmentation.test_decoders import DIM, config, random_maps
from tests.segmentation.test_segmenter import backbone, flat
from tests.support.upernet_heads import transformers_head

WIDTH = 16


def randomised(decoder):
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(0.1 if parameter.ndim == 1 else 0.0, 0.3)
        for module in decoder.modules():
            if isinstance(module, BatchNorm):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
    return decoder


def form(grid=(4, 5), patch=(3, 4), blocks=12):
    return config(patch=(2, *patch), grid=(1, *grid), blocks=blocks)


def levels_of(decoder, maps):
    """The four taps rescaled, by plain torch."""
    planes = [each[:, :, 0] for each in maps]
    first, norm, _, second = decoder.rescale[0]
    up = F.conv_transpose2d(planes[0], first.weight, first.bias, stride=2)
    up = F.gelu(norm(up))
    up = F.conv_transpose2d(up, second.weight, second.bias, stride=2)
    double = decoder.rescale[1]
    twice = F.conv_transpose2d(planes[1], double.weight, double.bias, stride=2)
    return [up, twice, planes[2], F.max_pool2d(planes[3], 2)]


@pytest.mark.parametrize("grid", [(4, 5), (7, 6), (12, 14)])
def test_the_head_is_that_of_transformers(grid):
    decoder = randomised(UpernetDecoder(form(grid), 5, WIDTH, "batch")).eval()
    maps = random_maps(form(grid), 4)
    with torch.no_grad():
        got = decoder(maps, None)
        expected = transformers_head(decoder)(levels_of(decoder, maps))
        plane = (grid[0] * 3, grid[1] * 4)
        expected = F.interpolate(expected, plane, mode="bilinear")
    assert got.shape == (2, 5, 1, *plane)
    torch.testing.assert_close(got[:, :, 0], expected, rtol=1e-4, atol=1e-4)


def test_with_group_norm_by_plain_torch():
    decoder = randomised(UpernetDecoder(form(), 3, WIDTH)).eval()
    maps = random_maps(form(), 4)

    def block(module, x):
        conv, norm, _ = module
        x = F.conv2d(x, conv.weight, padding=conv.kernel_size[0] // 2)
        return F.relu(F.group_norm(x, 2, norm.weight, norm.bias))  # 16 channels, 8 in a group

    def to(x, like):
        return F.interpolate(x, like.shape[2:], mode="bilinear")

    with torch.no_grad():
        levels = levels_of(decoder, maps)
        top = levels[3]
        pooled = [
            to(block(m, F.adaptive_avg_pool2d(top, n)), top)
            for n, m in zip((1, 2, 3, 6), decoder.pools, strict=True)
        ]
        pyramid = [block(m, x) for m, x in zip(decoder.lateral, levels[:3], strict=True)]
        pyramid.append(block(decoder.bottleneck, torch.cat([top, *pooled], 1)))
        for at in (2, 1, 0):
            pyramid[at] = pyramid[at] + to(pyramid[at + 1], pyramid[at])
        smooth = [block(m, x) for m, x in zip(decoder.smooth, pyramid[:3], strict=True)]
        joined = torch.cat([to(x, smooth[0]) for x in (*smooth, pyramid[3])], 1)
        fused = block(decoder.fuse, joined)
        logits = F.conv2d(fused, decoder.head.weight, decoder.head.bias)
        expected = F.interpolate(logits, (12, 20), mode="bilinear")
        got = decoder(maps, None)
    torch.testing.assert_close(got[:, :, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_four_maps_of_one_grid_become_a_pyramid(norm):
    decoder = UpernetDecoder(form(), 3, WIDTH, norm)
    maps = [scale(torch.rand(2, DIM, 4, 5)) for scale in decoder.rescale]
    assert [each.shape[2:] for each in maps] == [(16, 20), (8, 10), (4, 5), (2, 2)]


def test_batch_norm_learns_what_it_meets_as_torchs_does():
    ours, theirs = BatchNorm(6), torch.nn.BatchNorm2d(6)
    for _ in range(3):
        x = 2 + 3 * torch.randn(2, 6, 5, 4)
        torch.testing.assert_close(ours(x), theirs(x))
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))


def test_taps_stand_at_a_third_a_half_two_thirds_and_the_end():
    assert tapped_blocks(12) == (3, 5, 7, 11)  # the paper's
    assert tapped_blocks(24) == (7, 11, 15, 23)
    assert tapped_blocks(6) == (1, 2, 3, 5)
    assert tapped_blocks(1) == (0, 0, 0, 0)


def test_channels_are_last_throughout():
    """As tokens have them: convolutions on a GPU would have to turn them round."""
    decoder = UpernetDecoder(form(), 3, WIDTH)
    seen = []
    for module in decoder.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tokens = [torch.randn(2, 1 + 4 * 5, DIM) for _ in range(4)]
    decoder([each[:, 1:].mT.view(2, DIM, 1, 4, 5) for each in tokens], None)
    assert len(seen) > 10
    assert all(each.stride(1) == 1 for each in seen)


@pytest.mark.parametrize(
    "channels, groups", [(768, 32), (32, 4), (16, 2), (144, 18), (12, 1), (7, 1)]
)
def test_groups_hold_eight_channels_or_more(channels, groups):
    assert make_norm("group", channels).num_groups == groups


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (15, 15)])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_every_parameter_learns_on_any_grid(grid, norm):
    decoder = UpernetDecoder(form(grid), 2, WIDTH, norm)
    torch.manual_seed(0)
    logits = decoder(random_maps(form(grid), 4, batch=3), None)
    assert logits.shape == (3, 2, 1, grid[0] * 3, grid[1] * 4)
    (logits * torch.randn_like(logits)).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or grid == (1, 1), name


def test_channels_are_dropped_by_given_draws_or_new_ones():
    decoder = randomised(UpernetDecoder(form(), 2, WIDTH))
    maps = random_maps(form(), 4)
    draws = torch.rand(2, WIDTH)
    decoder.drop_draws = draws
    first = decoder(maps, None)
    torch.testing.assert_close(decoder(maps, None), first)
    kept = (draws >= 0.1).float() / 0.9
    decoder.eval()
    taken = []
    hook = decoder.head.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
    plain = decoder(maps, None)
    hook.remove()
    assert not torch.allclose(plain, first)
    logits = decoder.head(taken[0] * kept[:, :, None, None])
    expected = F.interpolate(logits, plain.shape[3:], mode="bilinear")
    torch.testing.assert_close(first[:, :, 0], expected, rtol=1e-4, atol=1e-4)
    decoder.train()
    decoder.drop_draws = None
    torch.manual_seed(0)
    one, other = decoder(maps, None), decoder(maps, None)
    assert not torch.equal(one, other)


# In a segmenter.


def deep(**changes):
    return backbone(patch_depth=6, volume=(6, 4, 6), **changes)


def test_a_segmenter_tells_the_centre_slice():
    network = segmenter(deep(), classes=3, decoder="upernet", features=WIDTH).eval()
    assert network.centre_slice
    logits = network(torch.rand(2, 2, 6, 4, 6))
    assert logits.shape == (2, 3, 1, 4, 6)
    network.train()
    network(torch.rand(2, 2, 6, 4, 6)).square().sum().backward()
    still = {n for n, p in network.named_parameters() if p.grad is None}
    assert still == {"backbone.norm.weight", "backbone.norm.bias"}


def test_slice_wise_it_tells_every_slice():
    network = segmenter(flat(), classes=3, decoder="upernet", features=WIDTH, slice_wise=True)
    network.eval()
    assert not network.centre_slice
    x = torch.rand(2, 2, 5, 4, 6)
    logits = network(x)
    assert logits.shape == (2, 3, 5, 4, 6)
    for index in range(5):
        torch.testing.assert_close(network(x[:, :, [index]]), logits[:, :, [index]])


@pytest.mark.parametrize("depth, centre", [(1, 0), (2, 1), (3, 1), (5, 2)])
def test_of_several_tokens_along_depth_it_reads_the_one_that_holds_the_centre_slice(depth, centre):
    """Slice depth * 2 // 2 of patches two slices deep."""
    whole = config(patch=(2, 3, 4), grid=(depth, 4, 5), blocks=12)
    decoder = randomised(UpernetDecoder(whole, 5, WIDTH)).eval()
    flat = UpernetDecoder(form(), 5, WIDTH).eval()
    flat.load_state_dict(decoder.state_dict())
    maps = random_maps(whole, 4)
    with torch.no_grad():
        expected = flat([each[:, :, [centre]] for each in maps], None)
        assert torch.equal(decoder(maps, None), expected)


def test_a_norm_of_another_decoder_is_refused():
    with pytest.raises(UsageError, match="norm belongs to decoder 'upernet'"):
        segmenter(backbone(), classes=2, norm="batch", features=8)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_save_and_load_keep_every_bit(tmp_path, norm):
    network = segmenter(deep(), classes=3, decoder="upernet", features=WIDTH, norm=norm)
    randomised(network.decoder)
    again = load_network(network.save_pretrained(tmp_path)).eval()
    saved = network.state_dict()
    assert list(again.state_dict()) == list(saved)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in again.state_dict().items())
    x = torch.rand(1, 2, 6, 4, 6)
    assert torch.equal(again(x), network.eval()(x))
    assert any("running_mean" in name for name in saved) == (norm == "batch")
