"""A 3D network filled with the tensors made for it."""

import pytest
import torch

from inflate_zoo.errors import UsageError
from inflate_zoo.inflation.recipe import Recipe, backbone_config
from inflate_zoo.inflation.tensors import outputs
from inflate_zoo.networks.backbone import Backbone, assemble
from inflate_zoo.networks.layers.positions import resize_in_plane
from inflate_zoo.networks.vit.config import VitConfig
from tests.networks.vit.test_network import PLAIN
from tests.support.checkpoints import randomize
from tests.support.networks import SMALL
from tests.support.recorded import case, plan_of


def random(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def backbone_of(kind, depth_tokens):
    plan = plan_of(case(kind))
    rows, columns = plan.architecture.position_grid
    height, width = plan.architecture.patch_size
    volume = (2 * depth_tokens, rows * height, columns * width)
    recipe = Recipe("center", 2, volume)
    config = backbone_config(plan, recipe)
    tensors = {o.name: random(i, *o.shape).float() for i, o in enumerate(outputs(plan, recipe))}
    tensors["depth_embed"] = torch.zeros(1, depth_tokens, config.embed_dim)
    return config, tensors


@pytest.mark.parametrize(
    "edit", [lambda t: t.pop("norm.bias"), lambda t: t.update(more=t["norm.bias"])]
)
def test_a_network_is_filled_strictly(edit):
    config, tensors = backbone_of("vit", 1)
    edit(tensors)
    with pytest.raises(RuntimeError, match="state_dict"):
        assemble(Backbone, config, tensors)


def test_registers_without_a_position_count_as_prefix_tokens(monkeypatch):
    config, tensors = backbone_of("dinov2_with_registers", 3)
    assert isinstance(config, VitConfig)
    assert (config.position_prefix, config.num_prefix_tokens) == (1, 5)
    network = assemble(Backbone, config, tensors).eval()
    seen = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, arguments, _: seen.append(arguments[1:]))
    network(torch.zeros(1, 1, *config.volume))
    assert seen == [(5, 3)] * config.depth


def test_sizes_in_turn_are_each_made_of_the_files_own_tables(tmp_path):
    native = VitConfig(**PLAIN)
    folder = randomize(Backbone(native)).save_pretrained(tmp_path / "saved")
    network = Backbone.from_pretrained(folder, volume=(4, 3, 2))  # one token remembers nothing
    network.set_input_size((4, 24, 20))
    expected = Backbone.from_pretrained(folder, volume=(4, 24, 20))
    assert network.config == expected.config
    assert torch.equal(network.pos_embed, expected.pos_embed)
    network.set_input_size(native.volume)
    assert network.file is None
    again = network.save_pretrained(tmp_path / "again")
    for file in ("model.safetensors", "config.json"):
        assert (again / file).read_bytes() == (folder / file).read_bytes()


def test_a_trained_table_is_what_the_next_size_is_made_of(tmp_path):
    folder = randomize(Backbone(VitConfig(**PLAIN))).save_pretrained(tmp_path / "saved")
    network = Backbone.from_pretrained(folder, volume=(4, 6, 4))
    with torch.no_grad():
        network.pos_embed.add_(1)
    shown = network.pos_embed.detach().clone()
    network.set_input_size((4, 9, 8))
    expected = resize_in_plane(shown, 1, (2, 2), (3, 4))
    assert torch.equal(network.pos_embed, expected)


@pytest.mark.parametrize("volume", [None, (4, 9, 8)])
def test_what_nothing_could_read_is_not_saved_over_what_can_be(volume, tmp_path):
    folder = randomize(Backbone(VitConfig(**PLAIN))).save_pretrained(tmp_path / "saved")
    before = (folder / "model.safetensors").read_bytes()
    network = Backbone.from_pretrained(folder, volume=volume)
    network.prune_intermediate_layers([0])
    with pytest.raises(UsageError, match="not those of a backbone of its config") as caught:
        network.save_pretrained(folder)
    assert any("missing: 'blocks.1." in line for line in caught.value.details)
    assert "pruned" in caught.value.hint
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("volume", [None, (4, 9, 8)])
def test_compiled_parts_are_saved_as_what_they_stand_for(volume, tmp_path):
    folder = randomize(Backbone(VitConfig(**PLAIN))).save_pretrained(tmp_path / "saved")
    network = Backbone.from_pretrained(folder, volume=volume)
    network.blocks[0] = torch.compile(network.blocks[0])
    again = network.save_pretrained(tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", SMALL)
@torch.inference_mode()
def test_tables_that_stay_where_sizes_change_are_saved_as_they_are(kind, tmp_path):
    small = SMALL[kind]
    bare = small.network()
    for name, parameter in bare.named_parameters():
        if "depth" in name or name.endswith("rel_pos_d"):
            parameter.zero_()
    folder = bare.save_pretrained(tmp_path / "saved")
    network = Backbone.from_pretrained(folder, dynamic_img_size=True).eval()
    randomize(network)
    own, *plane = small.config.volume
    deeper = (own + 2 * small.config.levels[-1].stride[0], *plane)
    network.set_input_size(deeper)
    again = network.save_pretrained(tmp_path / "again")
    loaded = Backbone.from_pretrained(again, dynamic_img_size=True).eval()
    assert loaded.config.volume == deeper
    volumes = small.volumes(depth=deeper[0])
    assert torch.equal(loaded(volumes), network(volumes))
