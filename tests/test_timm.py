"""timm builds, loads and asks our networks like its own."""

import json
from functools import partial

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from timm.data import resolve_model_data_config
from timm.models import (
    FeatureInfo,
    get_pretrained_cfg_value,
    group_parameters,
    load_checkpoint,
    model_entrypoint,
    save_for_hf,
)
from timm.optim import create_optimizer_v2, param_groups_layer_decay

import inflate_zoo.timm
from inflate_zoo import Backbone, load
from inflate_zoo.errors import AccountingError, ConfigError, UsageError
from inflate_zoo.networks.config_json import library_keys, own_fields
from tests.support.hub_standin import HubStandIn, use_hub
from tests.support.networks import SMALL

every_network = pytest.mark.parametrize("kind", SMALL)
VIT = "inflated_vit"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each network, with random weights; not to be changed."""
    home = tmp_path_factory.mktemp("networks")
    return {kind: small.network().save_pretrained(home / kind) for kind, small in SMALL.items()}


def created(folder, **options):
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **options).eval()


def twice(kind):
    """Another volume than the config's, its sides no multiples of one another."""
    stride = SMALL[kind].config.levels[-1].stride
    return tuple(step * n for step, n in zip(stride, (3, 2, 4), strict=True))


def like(kind, volume):
    generator = torch.Generator().manual_seed(2)
    return torch.rand((2, SMALL[kind].config.in_channels, *volume), generator=generator)


@every_network
def test_each_network_is_an_entry_point_of_timms(kind):
    assert kind in timm.list_models("inflated_*")
    assert model_entrypoint(kind) is getattr(inflate_zoo.timm, kind)
    assert get_pretrained_cfg_value(kind, "num_classes") == 0
    assert get_pretrained_cfg_value(kind, "input_size")[0] == 1
    assert timm.list_pretrained(f"{kind}*") == []


@every_network
@torch.inference_mode()
def test_a_folder_gives_what_load_gives(kind, folders):
    ours, theirs = load(folders[kind]).eval(), created(folders[kind])
    assert isinstance(theirs, Backbone)
    volumes = SMALL[kind].volumes()
    assert torch.equal(theirs.forward_features(volumes), ours.forward_features(volumes))
    assert torch.equal(theirs(volumes), ours(volumes))


@every_network
@torch.inference_mode()
def test_another_volume_gives_what_load_gives_of_it(kind, folders):
    volume = twice(kind)
    ours = load(folders[kind], volume=volume).eval()
    theirs = created(folders[kind], volume=volume)
    volumes = like(kind, volume)
    assert torch.equal(theirs.forward_features(volumes), ours.forward_features(volumes))
    assert torch.equal(theirs(volumes), ours(volumes))


@torch.inference_mode()
def test_an_image_size_is_the_plane_of_the_volume(folders):
    depth, _, _ = SMALL[VIT].config.volume
    _, height, width = twice(VIT)
    wide = created(folders[VIT], img_size=(height, width))
    assert wide.config.volume == (depth, height, width)
    assert created(folders[VIT], img_size=height).config.volume == (depth, height, height)
    with pytest.raises(UsageError, match="volume and img_size are both given"):
        created(folders[VIT], img_size=height, volume=twice(VIT))


@torch.inference_mode()
def test_volumes_may_be_of_any_size_where_that_is_asked_for(folders):
    model = created(folders[VIT], dynamic_img_size=True)
    volumes = like(VIT, twice(VIT))
    fitted = load(folders[VIT], volume=twice(VIT)).eval()
    torch.testing.assert_close(model(volumes), fitted(volumes), rtol=1e-5, atol=1e-6)


@every_network
def test_every_parameter_has_a_gradient_behind_a_classifier(kind):
    model = timm.create_model(kind, config=SMALL[kind].config, num_classes=42).train()
    logits = model(SMALL[kind].volumes())
    logits.mean().backward()
    assert logits.shape == (2, 42)
    assert torch.isfinite(logits).all()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@every_network
@torch.inference_mode()
def test_what_a_model_says_of_itself_is_so(kind, folders):
    model, volumes = created(folders[kind], num_classes=5), SMALL[kind].volumes()
    assert model.num_classes == 5
    tokens = model.forward_features(volumes)
    pooled = model.forward_head(tokens, pre_logits=True)
    assert tokens.shape[-1] == model.num_features
    assert pooled.shape == (2, model.head_hidden_size)
    assert torch.equal(pooled, load(folders[kind]).eval()(volumes))
    assert model(volumes).shape == (2, 5)
    names = model.state_dict().keys()
    assert f"{model.default_cfg['classifier']}.weight" in names
    assert f"{model.default_cfg['first_conv']}.weight" in names
    assert model.in_chans == SMALL[kind].config.in_channels
    model.reset_classifier(0)
    assert model.num_classes == 0
    assert torch.equal(model(volumes), pooled)
    model.reset_classifier(0, "")
    normed = model.fc_norm(tokens) if hasattr(model, "fc_norm") else tokens
    assert torch.equal(model(volumes), normed)


@every_network
@torch.inference_mode()
def test_features_are_the_maps_of_our_decoders(kind, folders):
    model = created(folders[kind], features_only=True)
    ours, volumes = load(folders[kind]).eval(), SMALL[kind].volumes()
    maps = model(volumes)
    levels = ours.config.levels[-4:]
    assert model.feature_info.channels() == [level.width for level in levels]
    assert model.feature_info.reduction() == [max(level.stride) for level in levels]
    expected = ours.forward_intermediates(volumes, len(levels), intermediates_only=True)
    assert len(maps) == len(levels)
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    for level, found in zip(levels, maps, strict=True):
        grid = [n // step for n, step in zip(volumes.shape[2:], level.stride, strict=True)]
        assert found.shape == (2, level.width, *grid)


@every_network
def test_features_of_chosen_levels_need_no_later_block(kind, folders):
    model = created(folders[kind], features_only=True, out_indices=[0]).train()
    ours = load(folders[kind])
    (found,) = model(SMALL[kind].volumes())
    (expected,) = ours.forward_intermediates(SMALL[kind].volumes(), [0], intermediates_only=True)
    assert torch.equal(found, expected)
    assert len(list(model.parameters())) < len(list(ours.parameters()))
    found.mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@every_network
def test_recomputed_blocks_change_neither_maps_nor_gradients(kind, folders):
    volumes = SMALL[kind].volumes()
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)  # of the classifier
        model = created(folders[kind], num_classes=3).train()
        model.set_grad_checkpointing(recompute)
        info = FeatureInfo(model.feature_info, len(model.feature_info))
        tokens, maps = model.forward_intermediates(volumes)
        assert [m.shape[1] for m in maps] == info.channels()
        assert torch.equal(tokens, model.forward_features(volumes))
        model(volumes).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@every_network
@torch.inference_mode()
def test_a_checkpoint_that_timm_reads_is_taken_with_its_tables(kind, folders):
    volume = twice(kind)
    config = load(folders[kind]).config
    model = timm.create_model(kind, config=config, volume=volume).eval()
    fit = partial(inflate_zoo.timm._fitted, config)
    load_checkpoint(model, folders[kind] / "model.safetensors", filter_fn=fit)
    ours, volumes = load(folders[kind], volume=volume).eval(), like(kind, volume)
    assert torch.equal(model(volumes), ours(volumes))


@every_network
@torch.inference_mode()
def test_tables_of_as_many_places_are_resized_all_the_same(kind, folders, tmp_path):
    depth, height, width = SMALL[kind].config.levels[-1].stride
    trained = load(folders[kind], volume=(3 * depth, 2 * height, 4 * width))
    for parameter in trained.parameters():
        parameter.add_(torch.randn_like(parameter) / 10)
    trained.save_pretrained(tmp_path / "trained")
    turned = (3 * depth, 4 * height, 2 * width)
    model = created(tmp_path / "trained", volume=turned)
    ours, volumes = load(tmp_path / "trained", volume=turned).eval(), like(kind, turned)
    assert torch.equal(model(volumes), ours(volumes))


@every_network
@torch.inference_mode()
def test_what_timm_saves_timm_loads_with_its_classifier(kind, folders, tmp_path):
    model = created(folders[kind], num_classes=3, volume=twice(kind))
    told = model._model_args  # which recent releases of timm write without being told
    save_for_hf(model, tmp_path / "saved", model_args=told, safe_serialization=True)
    again = created(tmp_path / "saved")
    assert again.num_classes == 3
    assert model.state_dict().keys() == again.state_dict().keys()
    volumes = like(kind, twice(kind))
    assert torch.equal(again(volumes), model(volumes))


@every_network
@pytest.mark.parametrize("dynamic", [False, True])
@torch.inference_mode()
def test_what_timm_saves_of_a_network_of_another_size_timm_loads(kind, dynamic, folders, tmp_path):
    built = SMALL[kind].config.volume
    model = created(folders[kind], dynamic_img_size=dynamic, volume=built)
    model.set_input_size(twice(kind))
    save_for_hf(model, tmp_path / "saved", model_args=model._model_args, safe_serialization=True)
    again = created(tmp_path / "saved", dynamic_img_size=dynamic)
    assert again.config.volume == twice(kind)
    volumes = like(kind, twice(kind))
    assert torch.equal(again(volumes), model(volumes))


@every_network
@torch.inference_mode()
def test_what_timm_saves_of_what_it_saved_timm_loads_for_any_size(kind, folders, tmp_path):
    depth, height, width = SMALL[kind].config.levels[-1].stride
    folder = folders[kind]
    for name, volume in {"first": twice(kind), "second": (depth, 4 * height, width)}.items():
        model = created(folder, volume=volume)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
        folder = tmp_path / name
        save_for_hf(model, folder, model_args=model._model_args, safe_serialization=True)
    assert torch.equal(created(folder)(like(kind, volume)), model(like(kind, volume)))
    turned = (depth, height, 4 * width)
    again = created(folder, volume=turned)
    model.set_input_size(turned)
    assert torch.equal(again(like(kind, turned)), model(like(kind, turned)))
    assert not hasattr(load(folders[kind]), "_model_args")  # which timm did not build


@every_network
@torch.inference_mode()
def test_what_timm_saves_timm_loads_for_another_size(kind, tmp_path):
    config = SMALL[kind].config  # as converted: no file holds the depth tables that it starts with
    plain = Backbone(config).save_pretrained(tmp_path / "plain")
    model = created(plain, num_classes=3)
    save_for_hf(model, tmp_path / "saved", model_args=model._model_args, safe_serialization=True)
    again = created(tmp_path / "saved", volume=twice(kind), num_classes=3)
    model.set_input_size(twice(kind))
    volumes = like(kind, twice(kind))
    assert torch.equal(again(volumes), model(volumes))


@every_network
def test_parameters_are_grouped_from_the_stem_upwards(kind, folders):
    model = created(folders[kind], num_classes=3)
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert groups.keys() == {name for name, _ in model.named_parameters()}
    stem, head = model.default_cfg["first_conv"], model.default_cfg["classifier"]
    assert groups[f"{stem}.weight"] == 0
    assert groups[f"{head}.weight"] == max(groups.values())
    for name, depth in groups.items():
        assert name.startswith(f"{head}.") or depth <= model.layer_of(name)
    decayed = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5)
    assert sum(len(group["params"]) for group in decayed) == len(list(model.parameters()))
    rates = {id(p): group["lr_scale"] for group in decayed for p in group["params"]}
    named = dict(model.named_parameters())
    assert rates[id(named[f"{head}.weight"])] == 1
    assert rates[id(named[f"{stem}.weight"])] == min(rates.values())


@every_network
def test_tokens_and_tables_are_not_decayed(kind, folders):
    model = created(folders[kind])
    optimizer = create_optimizer_v2(model, opt="adamw", weight_decay=0.05, layer_decay=0.7)
    named = dict(model.named_parameters())
    assert model.no_weight_decay() == set(model.tables)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert {decays[id(named[name])] for name in model.tables & named.keys()} <= {0.0}
    assert decays[id(named[f"{model.default_cfg['first_conv']}.weight"])] == 0.05


def test_timms_transforms_are_told_to_normalise_nothing(folders):
    told = resolve_model_data_config(created(folders[VIT]))
    assert list(told["input_size"]) == [2, *SMALL[VIT].config.volume[1:]]
    assert set(told["mean"]) == {0.0}
    assert set(told["std"]) == {1.0}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@torch.inference_mode()
def test_types_are_those_of_load(dtype, folders, tmp_path):
    half = load(folders[VIT], dtype=dtype)
    made = created(folders[VIT], dtype=dtype, volume=twice(VIT))
    expected = load(folders[VIT], dtype=dtype, volume=twice(VIT)).state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in made.state_dict().items())
    half.save_pretrained(tmp_path / "half")  # and a file of that type, in float32
    made = created(tmp_path / "half", volume=twice(VIT)).state_dict()
    expected = load(tmp_path / "half", volume=twice(VIT)).state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in made.items())


@pytest.fixture
def hub(monkeypatch, tmp_path, folders):
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "home"):
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        hub.add_repo("org/net", folders[VIT])
        hub.add_repo("org/net", folders["inflated_swin"], revision="swin")
        yield hub


@torch.inference_mode()
def test_a_repo_of_the_hub_gives_what_load_gives(hub, folders):
    for name, kind in (("org/net", VIT), ("org/net@swin", "inflated_swin")):
        volumes = like(kind, twice(kind))
        theirs = timm.create_model(f"hf-hub:{name}", pretrained=True, volume=twice(kind)).eval()
        assert torch.equal(theirs(volumes), load(name, volume=twice(kind)).eval()(volumes))
        assert torch.equal(theirs(volumes), load(folders[kind], volume=twice(kind)).eval()(volumes))


def test_what_is_fetched_goes_where_timm_is_told(hub, folders, tmp_path):
    made = timm.create_model("hf-hub:org/net", pretrained=True, cache_dir=tmp_path / "elsewhere")
    assert made.config == load(folders[VIT]).config
    assert {p.name for p in (tmp_path / "elsewhere").rglob("*.*") if p.is_symlink()} == {
        "config.json",
        "model.safetensors",
    }
    assert not list((tmp_path / "home").rglob("config.json"))


def test_drop_path_is_that_of_our_networks(folders):
    model = created(folders[VIT], drop_path_rate=0.5)
    assert [block.drop_path for block in model.blocks][-1] == 0.5


def test_without_files_a_network_of_random_weights_is_built():
    model = timm.create_model(VIT, arch="vit_tiny_patch16_224", volume=(32, 32, 48), num_classes=2)
    flat = timm.create_model("vit_tiny_patch16_224")
    assert model.config.patch == (16, 16, 16)
    assert (model.config.depth, model.embed_dim) == (len(flat.blocks), flat.embed_dim)
    assert model(torch.rand(1, 1, 32, 32, 48)).shape == (1, 2)
    colour = timm.create_model(VIT, arch="vit_tiny_patch16_224", volume=(16, 16, 16), in_chans=3)
    assert colour(torch.rand(1, 3, 16, 16, 16)).shape == (1, 192)


@every_network
def test_each_network_has_a_usual_size(kind):
    config = inflate_zoo.timm._inflated(kind, None)
    assert config.kind() == kind
    assert get_pretrained_cfg_value(kind, "input_size") == (1, *config.volume[1:])
    assert library_keys(config)["pretrained_cfg"]["first_conv"] == get_pretrained_cfg_value(
        kind, "first_conv"
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"in_chans": 3}, r"in_chans=3, but the weights were converted for 2 channel\(s\)"),
        ({"drop_rate": 0.1}, "take no drop_rate"),
        ({"pos_drop": 1, "fused": True}, "take no fused, pos_drop"),
        ({"volume": (5, 4, 6)}, "volume 5x4x6 does not fit"),
    ],
)
def test_what_cannot_be_is_told(options, message, folders):
    with pytest.raises(UsageError, match=message):
        created(folders[VIT], **options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"arch": "resnet50"}, "only vision transformers are converted"),
        ({"arch": "no_such_model"}, "timm has no model 'no_such_model'"),
        ({"arch": "swin_tiny_patch4_window7_224"}, "'inflated_vit' is not the network"),
        ({"config": {"model_type": VIT}}, "no valid backbone"),
        ({"in_chans": 0}, "in_chans=0 does not fit: Input should be greater than 0"),
        ({"img_size": (16, 32, 32)}, r"img_size \(16, 32, 32\) is no height and width"),
    ],
)
def test_what_cannot_be_built_is_told(options, message):
    with pytest.raises(UsageError, match=message):
        timm.create_model(VIT, **options)


def copied(folder, target, config=None, tensors=None):
    """A folder with changed files."""
    target.mkdir()
    raw = json.loads((folder / "config.json").read_text()) | (config or {})
    (target / "config.json").write_text(json.dumps(raw))
    found = load_file(folder / "model.safetensors")
    save_file((tensors or dict)(found), target / "model.safetensors")
    return target


def test_files_are_read_as_strictly_as_by_load(folders, tmp_path):
    def without(tensors):
        return {name: t for name, t in tensors.items() if name != "pos_embed"}

    short = copied(folders[VIT], tmp_path / "short", tensors=without)
    for options in ({}, {"num_classes": 2}, {"features_only": True}):
        with pytest.raises(AccountingError, match="does not fit"):
            created(short, **options)
    for change in ({"auto_map": {}}, {"architecture": "inflated_swin"}):
        other = copied(folders[VIT], tmp_path / "-".join(change), config=change)
        with pytest.raises(ConfigError):
            created(other)


def test_a_conversion_of_the_first_format_is_timms_once_it_is_saved_again(folders, tmp_path):
    old = own_fields(json.loads((folders[VIT] / "config.json").read_text()))
    (tmp_path / "config.json").write_text(json.dumps(old))
    save_file(load_file(folders[VIT] / "model.safetensors"), tmp_path / "model.safetensors")
    before = (tmp_path / "config.json").read_bytes()
    load(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before
    with pytest.raises(KeyError, match="architecture"):  # timm's own word for it
        created(tmp_path)
    load(tmp_path).save_pretrained(tmp_path)
    assert created(tmp_path).config == load(folders[VIT]).config
