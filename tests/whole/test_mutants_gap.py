"""What the other tests let through: one test for each mutant of `tests.mutants` that survived."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from inflate_zoo.errors import AccountingError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.files.writing.contents import write_safetensors
from inflate_zoo.inflation.recipe import Options, Recipe, backbone_config, make_recipe
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.inflation.tensors import Output, compute, outputs
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.naming.plan import Kept
from inflate_zoo.naming.understanding import Understood
from inflate_zoo.networks.backbone import Backbone, assemble
from inflate_zoo.networks.vit.config import VitConfig
from tests.support.recorded import case, plan_of

STATISTICS = Normalization(mean=(0.48, 0.45, 0.40), std=(0.26, 0.25, 0.31))


def random(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def stem_of(recipe, kernel, bias):
    """The 3D stem's kernel and bias, of a source's."""
    weight = Kept("patch_embed.weight", "stem_kernel", ("w",), tuple(kernel.shape), "F32")
    offset = Kept("patch_embed.bias", "stem_bias", ("b",), tuple(bias.shape), "F32")
    read = {weight.name: kernel, offset.name: bias}
    offset_inputs = (offset,) if recipe.normalization is None else (weight, offset)
    return tuple(
        compute(
            Output(inputs[-1].name, inputs[-1].role, "F32", (), inputs),
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
    kept = Kept("blocks.0.conv.weight", "copy", ("x",), tuple(other.shape), "F32")
    output = Output(kept.name, "copy", "F32", kept.shape, (kept,))
    assert compute(output, Recipe("center", 4, (4, 4, 5), 3), lambda _: other) is other


def test_the_patch_is_as_deep_as_high_unless_said_otherwise():
    plan = plan_of(case("vit_rectangular_patch"))
    recipe, _ = make_recipe(Options(), Understood(plan, {}, "", {}), None, None)
    assert recipe.patch_depth == 8  # patch 8 x 4, grid 4 x 8
    assert recipe.volume == (8, 32, 32)


@pytest.mark.parametrize(
    "name, shape",
    [
        ("encoder.layer.1.output.dense.weight", (96, 48)),  # transposed
        ("embeddings.patch_embeddings.projection.bias", (1, 48)),
        ("embeddings.cls_token", (48, 1, 1)),
    ],
)
def test_as_many_elements_in_another_shape_are_refused(name, shape):
    recorded = case("vit")
    assert recorded.header[name].shape != shape
    recorded.header[name] = TensorInfo("F32", shape)
    with pytest.raises(AccountingError) as error:
        plan_of(recorded)
    assert any(name in line and "unexpected shape" in line for line in error.value.details)


def test_clips_parts_are_joined_in_the_order_query_key_value():
    for kept in plan_of(case("clip")).kept:
        if ".qkv." in kept.name:
            parts = [name.split(".")[-2] for name in kept.sources]
            assert parts == ["q_proj", "k_proj", "v_proj"]


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


def test_a_file_has_one_metadata_key(tmp_path):
    path = tmp_path / "one.safetensors"
    write_safetensors(path, [("a", "F32", (2,))], [torch.zeros(2)])
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}
