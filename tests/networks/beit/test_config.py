"""BEiT's files: tables resized for a volume, those of depth made, kept or left out."""

import pytest
import torch

from inflate_zoo import Backbone, load, segmenter
from inflate_zoo.networks.beit.config import BeitConfig
from inflate_zoo.networks.beit.network import Beit
from inflate_zoo.networks.layers import bias_tables
from tests.networks.beit.test_network import CASES, PLAIN, randomise
from tests.support.saved import saved_bytes

every_case = pytest.mark.parametrize("case", CASES)


def saved(folder, **changes):
    """A network with random tables in depth, and the network as its files give it back."""
    net = Backbone(BeitConfig(**{**PLAIN, **changes})).eval()
    randomise(net)
    return net, net.save_pretrained(folder)


@every_case
def test_it_comes_back_from_its_files(case, tmp_path):
    net, folder = saved(tmp_path / "saved", **CASES[case][1])
    again = load(folder).eval()
    x = torch.randn(1, 2, 12, 12, 10)
    with torch.inference_mode():
        assert torch.equal(again(x), net(x))
    assert again.config == net.config
    assert again.config.depth_positions == 0


def test_learned_depth_tables_are_in_the_file_and_resized(tmp_path):
    net, _ = saved(tmp_path / "saved")
    with torch.no_grad():
        for block in net.blocks:
            block.position_bias.depth.copy_(torch.arange(-2.0, 3.0).unsqueeze(1))
    folder = net.save_pretrained(tmp_path / "learned")
    assert torch.equal(
        load(folder).blocks[0].position_bias.depth, net.blocks[0].position_bias.depth
    )
    assert load(folder).config.depth_positions == 3
    deeper = load(folder, volume=(24, 12, 10))
    line = deeper.blocks[0].position_bias.depth[:, 0]
    assert line.shape == (11,)
    assert (line.diff() >= 0).all()
    assert line[5].item() == pytest.approx(0)


@pytest.mark.parametrize("resizing", ["bilinear", "width_first", "geometric"])
def test_tables_are_resized_once_as_the_config_says(tmp_path, resizing):
    net, folder = saved(tmp_path / "saved", table_resizing=resizing)
    larger = load(folder, volume=(8, 18, 14))
    table = net.blocks[1].position_bias.plane
    expected = bias_tables.resize_table(table, (4, 5), (6, 7), resizing)
    assert torch.equal(larger.blocks[1].position_bias.plane, expected)
    again = load(larger.save_pretrained(tmp_path / "larger"))
    assert torch.equal(again.blocks[1].position_bias.plane, expected)


@pytest.mark.parametrize("decoder, depth", [("linear", 8), ("unetr", 8), ("upernet", 4)])
def test_each_decoder_reads_it_and_comes_back_from_files(tmp_path, decoder, depth):
    _, folder = saved(tmp_path / "saved")
    network = load(folder, volume=(depth, 12, 10))
    model = segmenter(network, classes=3, decoder=decoder, features=8).eval()
    volume = torch.rand(2, 2, depth, 12, 10)
    with torch.inference_mode():
        logits = model(volume)
        model.save_pretrained(tmp_path / "segmenter")
        assert torch.equal(load(tmp_path / "segmenter").eval()(volume), logits)
    assert logits.shape == (2, 3, 1 if decoder == "upernet" else depth, 12, 10)


@pytest.mark.parametrize("block_tables", [False, True])
@pytest.mark.parametrize("shared_table", [False, True])
def test_what_training_keeps_is_estimated(block_tables, shared_table):
    size = {"embed_dim": 64, "depth": 6, "num_heads": 4, "mlp_dim": 256, "volume": (12, 24, 20)}
    tables = {"block_tables": block_tables, "shared_table": shared_table}
    net = Beit(BeitConfig(**{**PLAIN, **size, "position_grid": (8, 10), **tables}))
    kept, tokens = saved_bytes(net)
    assert net.config.memory(tokens)[1] == pytest.approx(kept, rel=0.12)
