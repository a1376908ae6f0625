"""transformers builds, loads and saves our networks like its own."""

import copy
import json
import pickle
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

import inflate_zoo.transformers as ours
from inflate_zoo import Backbone, load
from inflate_zoo.errors import AccountingError, ConfigError, UsageError
from inflate_zoo.networks.backbone import KINDS
from inflate_zoo.networks.config_json import own_fields
from tests.support.hub_standin import HubStandIn, use_hub
from tests.support.networks import SMALL

every_network = pytest.mark.parametrize("kind", SMALL)
VIT, SWIN = "inflated_vit", "inflated_swin"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each network, with random weights; not to be changed."""
    home = tmp_path_factory.mktemp("networks")
    return {kind: small.network().save_pretrained(home / kind) for kind, small in SMALL.items()}


def other(kind):
    """Another volume than the config's, its sides no multiples of one another."""
    stride = SMALL[kind].config.levels[-1].stride
    return tuple(step * n for step, n in zip(stride, (3, 2, 4), strict=True))


def like(kind, volume):
    generator = torch.Generator().manual_seed(2)
    return torch.rand((2, SMALL[kind].config.in_channels, *volume), generator=generator)


@every_network
@torch.inference_mode()
def test_a_folder_gives_what_load_gives(kind, folders):
    model, info = AutoModel.from_pretrained(folders[kind], output_loading_info=True)
    assert not any(info.values())
    assert not model.training
    assert type(model.backbone) is KINDS[kind]
    assert model.config.model_type == kind
    backbone, volumes = load(folders[kind]).eval(), SMALL[kind].volumes()
    output = model(volumes)
    assert torch.equal(output.last_hidden_state, backbone.forward_features(volumes))
    assert torch.equal(output.pooler_output, backbone(volumes))
    assert output.hidden_states is None


@every_network
@torch.inference_mode()
def test_another_volume_gives_what_load_gives_of_it(kind, folders):
    volume = other(kind)
    model = AutoModel.from_pretrained(folders[kind], volume=volume)
    assert model.config.volume == volume
    backbone, volumes = load(folders[kind], volume=volume).eval(), like(kind, volume)
    assert torch.equal(model(pixel_values=volumes).pooler_output, backbone(volumes))
    config = AutoConfig.from_pretrained(folders[kind], volume=volume)
    again = AutoModel.from_pretrained(folders[kind], config=config)
    assert torch.equal(again(volumes).pooler_output, backbone(volumes))


@every_network
@torch.inference_mode()
def test_hidden_states_are_the_tokens_after_each_level(kind, folders):
    model = AutoModel.from_pretrained(folders[kind])
    volumes, width = SMALL[kind].volumes(), model.backbone.num_prefix_tokens
    output = model(volumes, output_hidden_states=True)
    levels = model.backbone.config.levels
    assert torch.equal(output.last_hidden_state, model(volumes).last_hidden_state)
    maps = model.backbone.forward_intermediates(volumes, intermediates_only=True)
    assert len(output.hidden_states) == len(maps) == len(levels)
    for tokens, found in zip(output.hidden_states, maps, strict=True):
        assert torch.equal(tokens[:, width:].mT.reshape(found.shape), found)
        assert tokens.shape[1] == width + found[0, 0].numel()
    named = (output.last_hidden_state, output.pooler_output, output.hidden_states)
    plain = model(volumes, output_hidden_states=True, return_dict=False)
    assert all(torch.equal(a, b) for a, b in zip(plain[:2], named[:2], strict=True))
    assert len(plain[2]) == len(levels)


@every_network
def test_what_is_saved_is_what_load_takes_to_the_byte(kind, folders, tmp_path):
    model = AutoModel.from_pretrained(folders[kind])
    model.save_pretrained(tmp_path / "model")
    model.config.save_pretrained(tmp_path / "config")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "model" / name).read_bytes() == (folders[kind] / name).read_bytes()
    written = (tmp_path / "config" / "config.json").read_bytes()
    assert written == (folders[kind] / "config.json").read_bytes()
    again = load(tmp_path / "model").state_dict()
    assert all(torch.equal(t, again[n]) for n, t in load(folders[kind]).state_dict().items())


@torch.no_grad()
def test_what_was_trained_is_saved_whole(folders, tmp_path):
    model = AutoModel.from_pretrained(folders[VIT], volume=other(VIT))
    for parameter in model.parameters():
        parameter.add_(0.1)
    model.save_pretrained(tmp_path / "own")
    model.save_pretrained(tmp_path / "given", state_dict=model.state_dict(), max_shard_size="1KB")
    model.save_pretrained(tmp_path / "not", is_main_process=False)
    assert not (tmp_path / "not").exists()
    volumes = like(VIT, other(VIT))
    for name in ("own", "given"):
        backbone = load(tmp_path / name, volume=other(VIT)).eval()
        assert torch.equal(backbone(volumes), model(volumes).pooler_output)


@every_network
@torch.no_grad()
def test_what_was_saved_beside_its_files_tables_is_taken_again(kind, folders, tmp_path):
    model = AutoModel.from_pretrained(folders[kind], volume=other(kind))
    shown = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "checkpoint")
    for parameter in model.parameters():
        parameter.zero_()
    found = model.load_state_dict(load_file(tmp_path / "checkpoint" / "model.safetensors"))
    assert found.missing_keys == found.unexpected_keys == []
    assert all(torch.equal(t, shown[n]) for n, t in model.state_dict().items())
    model.load_state_dict(shown)
    assert all(torch.equal(t, shown[n]) for n, t in model.state_dict().items())


@every_network
@pytest.mark.parametrize("train", [False, True])
@torch.no_grad()
def test_tables_of_as_many_places_as_the_files_are_told_from_them(kind, train, folders, tmp_path):
    depth, height, width = SMALL[kind].config.levels[-1].stride
    first = load(folders[kind], volume=(3 * depth, 2 * height, 4 * width))
    for parameter in first.parameters():
        parameter.add_(torch.randn_like(parameter) / 10)
    first.save_pretrained(tmp_path / "first")
    model = AutoModel.from_pretrained(tmp_path / "first", volume=(3 * depth, 4 * height, 2 * width))
    if train:
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
    shown = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "checkpoint")
    for tensors in (load_file(tmp_path / "checkpoint" / "model.safetensors"), shown):
        for parameter in model.parameters():
            parameter.zero_()
        model.load_state_dict(tensors)
        assert all(torch.equal(t, shown[n]) for n, t in model.state_dict().items())


def test_a_classifier_is_taken_off_before_a_model_is_saved(folders, tmp_path):
    model = AutoModel.from_pretrained(folders[VIT])
    model.backbone.reset_classifier(3)
    with pytest.raises(UsageError, match="a classifier of 3 classes has no place"):
        model.save_pretrained(tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_model_takes_the_names_of_files_and_its_own(folders):
    model = AutoModel.from_pretrained(folders[VIT])
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert set(kept) == {f"backbone.{name}" for name in model.backbone.state_dict()}
    for tensors in (load_file(folders[VIT] / "model.safetensors"), kept):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        found = model.load_state_dict(tensors, strict=False)
        assert found.unexpected_keys == []
        assert all(name.endswith("depth_embed") for name in found.missing_keys)
    assert all(torch.equal(t, kept[n]) for n, t in model.state_dict().items())
    around = torch.nn.ModuleDict({"inner": model})
    assert around.load_state_dict(around.state_dict()).missing_keys == []


def test_a_conversion_of_the_first_format_is_taken(folders, tmp_path):
    old = own_fields(json.loads((folders[VIT] / "config.json").read_text()))
    (tmp_path / "config.json").write_text(json.dumps(old))
    save_file(load_file(folders[VIT] / "model.safetensors"), tmp_path / "model.safetensors")
    volumes = SMALL[VIT].volumes()
    with torch.inference_mode():
        new = AutoModel.from_pretrained(folders[VIT])(volumes)
        assert torch.equal(AutoModel.from_pretrained(tmp_path)(volumes)[0], new[0])
    assert json.loads((tmp_path / "config.json").read_text()) == old


@every_network
def test_of_a_config_a_network_of_random_weights_is_made(kind, folders):
    config = AutoConfig.from_pretrained(folders[kind], volume=other(kind))
    model = AutoModel.from_config(config)
    volumes = like(kind, other(kind))
    tokens = model(volumes).last_hidden_state
    assert torch.isfinite(tokens).all()
    assert tokens.std() > 0
    there = Backbone(config.network_config())
    assert model.backbone.state_dict().keys() == there.state_dict().keys()


def test_a_config_can_be_copied_pickled_and_read_from_its_own_fields(folders):
    config = AutoConfig.from_pretrained(folders[VIT])
    for again in (
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        type(config).from_dict(config.to_dict()),
    ):
        assert again.network_config() == load(folders[VIT]).config
    assert json.loads(config.to_json_string()) == config.to_dict()
    assert "embed_dim" in repr(config)
    model = copy.deepcopy(AutoModel.from_pretrained(folders[VIT]))
    assert torch.equal(
        model(SMALL[VIT].volumes())[1],
        pickle.loads(pickle.dumps(model)).eval()(SMALL[VIT].volumes())[1],
    )


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_types_are_those_of_load(dtype, folders, tmp_path):
    expected = load(folders[SWIN], dtype=dtype, volume=other(SWIN))
    model = AutoModel.from_pretrained(folders[SWIN], dtype=dtype, volume=other(SWIN))
    found = model.backbone.state_dict()
    assert all(torch.equal(t, found[n]) for n, t in expected.state_dict().items())
    model.save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).dtype == torch.float32
    own = AutoModel.from_pretrained(tmp_path, dtype="auto")
    assert own.dtype == own.config.dtype == model.dtype


def test_one_device_may_be_named(folders):
    for device in ("cpu", {"": "cpu"}, torch.device("cpu")):
        assert AutoModel.from_pretrained(folders[VIT], device_map=device).device.type == "cpu"
    for several in ("auto", {"a": "cpu", "b": "cpu"}):
        with pytest.raises(UsageError, match="names no single device"):
            AutoModel.from_pretrained(folders[VIT], device_map=several)


def test_blocks_are_recomputed_where_transformers_asks_for_it(folders):
    volumes, gradients = SMALL[VIT].volumes(), []
    for recompute in (False, True):
        model = AutoModel.from_pretrained(folders[VIT]).train()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # another name from 5.2x on
            if recompute:
                model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing is recompute
        assert model.backbone.grad_checkpointing is recompute
        model(volumes).pooler_output.square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert gradients[0]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model.gradient_checkpointing_disable()
    assert not model.backbone.grad_checkpointing


@pytest.fixture
def hub(monkeypatch, tmp_path, folders):
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "home"):
        hub.add_repo("org/net", folders[VIT])
        hub.add_repo("org/net", folders[SWIN], revision="swin")
        yield hub


@torch.inference_mode()
def test_a_repo_of_the_hub_gives_what_load_gives(hub, folders, tmp_path):
    for revision, kind in ((None, VIT), ("swin", SWIN)):
        named = {"revision": revision} if revision else {}
        volumes = like(kind, other(kind))
        model = AutoModel.from_pretrained("org/net", volume=other(kind), **named)
        expected = load(folders[kind], volume=other(kind)).eval()(volumes)
        assert torch.equal(model(volumes).pooler_output, expected)
    AutoModel.from_pretrained("org/net", cache_dir=tmp_path / "elsewhere")
    assert {p.name for p in (tmp_path / "elsewhere").rglob("*.*") if p.is_symlink()} == {
        "config.json",
        "model.safetensors",
    }


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 2}, "num_heads of converted weights cannot be changed"),
        ({"volume": (5, 4, 6)}, "volume 5x4x6 does not fit"),
        ({"ignore_mismatched_sizes": True}, "are not loaded with ignore_mismatched_sizes"),
    ],
)
def test_what_cannot_be_is_told(options, message, folders):
    with pytest.raises(UsageError, match=message):
        AutoModel.from_pretrained(folders[VIT], **options)


def test_a_config_of_another_network_is_told(folders, tmp_path):
    wide = AutoConfig.from_pretrained(folders[VIT])
    wide.pool = "mean"
    with pytest.raises(UsageError, match="the config's pool are not those of 'inflated_vit'"):
        AutoModel.from_pretrained(folders[VIT], config=wide)
    with pytest.raises(UsageError, match="states no embed_dim"):
        type(wide)().network_config()
    with pytest.raises(UsageError, match="does not push"):
        AutoModel.from_pretrained(folders[VIT]).save_pretrained(tmp_path / "x", push_to_hub=True)


def test_files_are_read_as_strictly_as_by_load_and_no_code_runs(folders, tmp_path):
    raw = json.loads((folders[VIT] / "config.json").read_text())
    tensors = load_file(folders[VIT] / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(raw))
    save_file(
        {n: t for n, t in tensors.items() if n != "pos_embed"}, tmp_path / "model.safetensors"
    )
    with pytest.raises(AccountingError, match="does not fit"):
        AutoModel.from_pretrained(tmp_path)
    code = {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(raw | code))
    (tmp_path / "evil.py").write_text("raise SystemExit('code of the repo runs')\n")
    for trust in ({}, {"trust_remote_code": False}, {"trust_remote_code": True}):
        with pytest.raises(ConfigError, match="no valid backbone"):
            AutoModel.from_pretrained(tmp_path, **trust)


def test_the_classes_have_names_of_their_own():
    assert ours.InflatedVitConfig.model_type == VIT
    assert ours.InflatedSwinModel.config_class is ours.InflatedSwinConfig
