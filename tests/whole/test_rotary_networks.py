"""Networks with rotary positions go all the way: converted, loaded, decoded, trained."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from inflate_zoo import Backbone, convert, load, param_groups, segmenter, verify
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from inflate_zoo.errors import ConfigError, UsageError
from tests.support.checkpoints import TIMM, build_timm, save_timm, save_transformers
from tests.support.datasets import write_decathlon
from tests.support.trials import SHAPE, VIT, one_thread, tiny_run

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


KINDS = {"dinov3_gated": "inflated_dinov3", "eva02_timm_split": "inflated_eva02"}
SMALL_TIMM = {
    "embed_dim": 16, "depth": 3, "num_heads": 2, "mlp_ratio": 1.0, "patch_size": 4, "img_size": 8,
}  # fmt: skip


def save(kind, folder, *, small=False):
    """A source of that kind in a folder."""
    if kind in TIMM:
        return save_timm(kind, folder, **(SMALL_TIMM if small else {}))
    return save_transformers(kind, folder, **(VIT if small else {}))


@pytest.fixture(scope="module", params=KINDS)
def source(request, tmp_path_factory):
    return save(request.param, tmp_path_factory.mktemp("source") / request.param)


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    return convert(source, tmp_path_factory.mktemp("made") / source.name, patch_depth=2)


def test_it_is_loaded_for_any_volume_and_saved(source, folder, tmp_path):
    network = load(folder, volume=(6, 16, 24)).eval()
    assert network.config.model_type == KINDS[source.name]
    assert network.grid_size == (3, 2, 3)
    volume = torch.rand(1, 1, 6, 16, 24)
    again = Backbone.from_pretrained(network.save_pretrained(tmp_path / "saved")).eval()
    with torch.inference_mode():
        assert torch.equal(network(volume), again(volume))
    assert again.config == network.config
    with pytest.raises(UsageError, match="volume width 20 is not divisible by the patch's 8"):
        load(folder, volume=(6, 16, 20))


def test_a_depth_table_that_learned_is_kept_and_resized(folder, tmp_path):
    network = load(folder, volume=(8, 16, 16))
    with torch.no_grad():
        network.depth_embed.copy_(torch.arange(4.0).view(1, 4, 1))
    saved = network.save_pretrained(tmp_path / "saved")
    assert json.loads((saved / "config.json").read_text())["depth_positions"] == 4
    longer = load(saved, volume=(16, 16, 16)).depth_embed[0, :, 0]
    assert torch.equal(load(saved, volume=(8, 16, 16)).depth_embed, network.depth_embed)
    torch.testing.assert_close(longer[2:6], torch.tensor([0.75, 1.25, 1.75, 2.25]))


def test_what_was_written_is_proved_again(source, folder):
    assert verify(folder, source).passed


def test_converted_weights_are_not_converted_again(folder, tmp_path):
    with pytest.raises(ConfigError, match="3D already"):
        convert(folder, tmp_path / "out")


def test_it_is_inspected(source):
    words = ["inspect", str(source), "--volume", "16,16,24"]
    result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    assert "rotary positions" in result.output
    found = json.loads(CliRunner().invoke(app.app, [*words, "--format", "json"]).stdout)
    assert found["conversion"]["grid"] == [2, 2, 3]


@pytest.mark.parametrize("decoder", ["linear", "unetr", "upernet"])
def test_each_decoder_reads_it_and_comes_back_from_files(folder, tmp_path, decoder):
    depth = 2 if decoder == "upernet" else 4
    network = load(folder, volume=(depth, 16, 24))
    model = segmenter(network, classes=3, decoder=decoder, features=8).eval()
    volume = torch.rand(2, 1, depth, 16, 24)
    with torch.inference_mode():
        logits = model(volume)
        assert logits.shape == (2, 3, 1 if decoder == "upernet" else depth, 16, 24)
        model.save_pretrained(tmp_path / "saved")
        again = load(tmp_path / "saved").eval()
        assert torch.equal(again(volume), logits)
    assert type(again.config.backbone) is type(network.config)


def test_tokens_and_tables_do_not_decay(folder):
    model = segmenter(load(folder, volume=(4, 16, 16)), classes=2, decoder="linear")
    groups = param_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name.removeprefix("backbone.") for name, p in model.named_parameters()}
    told = {group["name"]: {names[id(p)] for p in group["params"]} for group in groups}
    assert told["stem.decay"] == {"patch_embed.weight"}
    assert {"cls_token", "depth_embed", "patch_embed.bias"} <= told["stem.no_decay"]
    assert {"blocks.1.attn.q_bias", "blocks.1.norm1.weight"} <= told["block.1.no_decay"]
    assert [g["lr"] for g in groups if g["name"] == "block.2.decay"] == [0.5]


def test_it_is_trained_beside_random_weights_and_predicts(source, tmp_path):
    write_decathlon(tmp_path / "data", 10, SHAPE, ("MRI",))
    save(source.name, tmp_path / "vit", small=True)  # where the run looks for its source
    with one_thread():
        run = tiny_run(
            tmp_path, "train.steps=3", "network.drop_path=0.2", kinds=("inflated", "2d", "random")
        )
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
        trial = run.trial()
        assert trial.spec.arm.config.model_type == KINDS[source.name]
        name = trial.spec.cases.test[0]
        image = run.data / "imagesTr" / f"{name}.nii.gz"
        words = ["predict", str(trial.folder), str(image), "--out", str(tmp_path / "predicted")]
        result = CliRunner().invoke(app.app, [*words, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predicted" / f"{name}.nii.gz").exists()


# --- the same weights from two libraries

OF_TIMM = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.patch_embeddings.": "patch_embed.proj.",
    "attention.q_proj.bias": "attn.q_bias",
    "attention.v_proj.bias": "attn.v_bias",
    "attention.o_proj.": "attn.proj.",
    "layer_scale1.lambda1": "gamma_1",
    "layer_scale2.lambda1": "gamma_2",
    "mlp.down_proj.": "mlp.fc2.",
    "mlp.gate_proj.": "mlp.fc1_g.",
    "layer.": "blocks.",
}


def as_timm(state, *, gated):
    """The tensors of transformers' DINOv3 under timm's names; timm packs query, key and value."""
    found = {}
    names = {**OF_TIMM, "mlp.up_proj.": "mlp.fc1_x." if gated else "mlp.fc1."}
    for name, tensor in state.items():
        for theirs, timms in names.items():
            name = name.replace(theirs, timms)
        found[name] = tensor
    del found["embeddings.mask_token"]
    for name in [name for name in found if "attention.q_proj.weight" in name]:
        parts = [found.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        found[name.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
    return found


@pytest.mark.parametrize(
    "kind, timms", [
        ("dinov3", "dinov3_timm_qkvb"),
        ("dinov3_no_bias", "dinov3_timm"),
        ("dinov3_gated", "dinov3_timm_gated"),
    ],
)  # fmt: skip
def test_the_same_weights_of_both_libraries_give_the_same_3d_file(kind, timms, tmp_path):
    first = save_transformers(kind, tmp_path / "transformers")
    second = save_timm(timms, tmp_path / "timm", global_pool="token")
    state = as_timm(load_file(first / "model.safetensors"), gated=kind == "dinov3_gated")
    assert state.keys() == build_timm(timms).state_dict().keys()
    save_file(state, second / "model.safetensors", metadata={"format": "pt"})
    made = [convert(source, tmp_path / f"{source.name}-3d") for source in (first, second)]
    for file in ("model.safetensors", "config.json"):
        one, other = ((folder / file).read_bytes() for folder in made)
        assert one == other
