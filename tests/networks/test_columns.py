"""What configs of equal blocks share: levels, and depth tables that files hold or leave out."""

import pytest
import torch

from inflate_zoo.networks.aimv2.config import Aimv2Config
from inflate_zoo.networks.base import Level
from inflate_zoo.networks.beit.config import BeitConfig
from tests.networks.aimv2.test_network import PLAIN as AIMV2
from tests.networks.beit.test_network import PLAIN
from tests.segmentation.test_segmenter import config

TABLES = {
    "vit": (config, "depth_embed"),
    "beit": (lambda: BeitConfig(**PLAIN), "blocks.0.position_bias.depth"),
    "aimv2": (lambda: Aimv2Config(**AIMV2), "depth_embed"),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_block_is_a_level_of_one_width(name):
    made = TABLES[name][0]()
    assert made.levels == (Level(made.embed_dim, made.patch),) * made.depth
    assert made.summary().startswith(f"{made.depth} blocks of width {made.embed_dim}, patch ")


@pytest.mark.parametrize("name", TABLES)
def test_a_depth_table_is_kept_where_it_says_something(name):
    make, table = TABLES[name]
    other, empty, full = torch.ones(1), torch.zeros(1, 2, 4), torch.eye(2)
    told, kept = make().stored({"other": other, table: empty})
    assert (told.depth_positions, list(kept)) == (0, ["other"])
    told, kept = make().stored({"other": other, table: full})
    assert (told.depth_positions, list(kept)) == (make().grid_size[0], ["other", table])


@pytest.mark.parametrize("name", TABLES)
def test_tables_follow_the_volume_and_are_no_part_of_the_bare_network(name):
    made = TABLES[name][0]()
    larger = made.for_volume([2 * extent for extent in made.volume])
    assert larger.position_grid == larger.grid_size[1:] != made.grid_size[1:]
    assert larger.geometry().endswith("position grid {}x{}".format(*larger.position_grid))
    assert larger.without_weights() == made.without_weights() != made


@pytest.mark.parametrize("name", TABLES)
def test_another_volume_may_keep_the_depth_tables_that_there_are(name):
    made = TABLES[name][0]()
    depth, *plane = made.volume
    kept = made.keeping_tables((2 * depth, *plane))
    assert kept.grid_size[0] == 2 * made.grid_size[0]
    assert (kept.depth_rows, kept.depth_positions) == (made.depth_rows, made.depth_rows)
    assert kept.keeping_tables(made.volume).depth_rows == made.depth_rows


def test_a_file_that_holds_a_depth_table_states_its_shape():
    made = Aimv2Config(**AIMV2)
    assert made.depth_shapes() == {}
    kept = made.model_copy(update={"depth_positions": 3})
    assert kept.depth_shapes() == {"depth_embed": (1, 3, made.embed_dim)}
    assert kept.shapes() == made.shapes() | kept.depth_shapes()
