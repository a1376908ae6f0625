"""From a specification to a network: what is equal for all arms, and what a seed decides."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo import load
from inflate_zoo.bench.training.building import build, with_channels
from inflate_zoo.errors import UsageError
from tests.segmentation.test_segmenter import backbone
from tests.support.trials import FROZEN, LINEAR, one_thread, tiny_run


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


KINDS = ("inflated", "2d", "random")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("building")


@pytest.fixture(scope="module")
def run(folder):
    return tiny_run(folder, "network.drop_path=0.3", kinds=KINDS, seeds=2)


def weights_of(trial):
    from pathlib import Path

    return Path(trial.place.weights) if trial.place.weights else None


def network_of(run, kind="inflated", seed=0, weights=None):
    trial = run.trial(kind, seed)
    return build(trial.spec, weights or weights_of(trial))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_is_built_to_the_same_bits_whatever_ran_before(run, kind):
    first = network_of(run, kind).state_dict()
    torch.manual_seed(12345)
    torch.rand(7)
    assert same(first, network_of(run, kind).state_dict())


def test_seeds_decide_random_weights_and_every_decoder(run):
    first, second = (network_of(run, "random", seed) for seed in (0, 1))
    for name in ("patch_embed.weight", "blocks.1.attn.qkv.weight", "pos_embed", "cls_token"):
        one, other = (net.backbone.state_dict()[name] for net in (first, second))
        assert not torch.equal(one, other), name
    assert not same(first.decoder.state_dict(), second.decoder.state_dict())
    sourced = [network_of(run, "inflated", seed) for seed in (0, 1)]
    assert same(*(net.backbone.state_dict() for net in sourced))
    assert not same(*(net.decoder.state_dict() for net in sourced))


def test_the_decoder_starts_equal_for_all_arms(run):
    one, other = (network_of(run, kind).decoder.state_dict() for kind in ("inflated", "random"))
    assert same(one, other)
    # The slice-wise decoder has the same layers, as kernels see one slice.
    assert same(one, network_of(run, "2d").decoder.state_dict())


def test_an_inflated_arm_holds_the_converted_weights(run):
    trial = run.trial()
    on_disk = load_file(weights_of(trial) / "model.safetensors")
    held = network_of(run).backbone.state_dict()
    equal = [n for n in on_disk if n in held and torch.equal(on_disk[n], held[n])]
    assert {"patch_embed.weight", "blocks.2.mlp.fc2.bias", "norm.weight"} <= set(equal)


@pytest.mark.parametrize("kind", KINDS)
def test_drop_path_grows_to_the_protocols(run, kind):
    assert [b.drop_path for b in network_of(run, kind).backbone.blocks] == pytest.approx(
        [0, 0.15, 0.3]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_trained_parameter_gets_a_gradient(folder, run, kind):
    runs = {
        "unetr": run,
        "linear": tiny_run(folder, *LINEAR, kinds=KINDS, name="linear"),
        "frozen": tiny_run(folder, *FROZEN, kinds=KINDS, name="frozen"),
    }
    for name, planned in runs.items():
        network = network_of(planned, kind)
        network.eval()(torch.rand(2, 1, 4, 8, 8)).square().sum().backward()
        trained = {n for n, p in network.named_parameters() if p.requires_grad}
        assert trained == {n for n, p in network.named_parameters() if p.grad is not None}
        decoder = {f"decoder.{n}" for n, _ in network.decoder.named_parameters()}
        if name == "frozen":
            assert trained == decoder
        else:
            left = {n for n, _ in network.named_parameters()} - trained
            unread = {"backbone.norm.weight", "backbone.norm.bias"}
            assert left == (unread if name == "unetr" else set())


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_widened_stem_agrees_on_equal_channels(channels):
    inner = backbone(in_channels=1)
    wide = with_channels(inner, channels)
    assert wide.config.in_channels == channels
    assert (wide is inner) == (channels == 1)
    x = torch.rand(2, 1, 6, 4, 6)
    with torch.no_grad():
        torch.testing.assert_close(
            wide(x.expand(-1, channels, -1, -1, -1)), inner(x), rtol=1e-4, atol=1e-5
        )
    kernel = wide.patch_embed.weight
    assert all(torch.equal(kernel[:, :1], kernel[:, i : i + 1]) for i in range(channels))
    others = {n: t for n, t in wide.state_dict().items() if n != "patch_embed.weight"}
    kept = {n: t for n, t in inner.state_dict().items() if n != "patch_embed.weight"}
    assert same(others, kept)
    assert wide.patch_embed.weight.dtype == torch.float32


def test_a_trials_files_hold_the_tables_that_are_scored(run, tmp_path):
    network = network_of(run)
    again = load(network.save_pretrained(tmp_path / "saved"))
    assert again.config == network.config
    assert same(again.state_dict(), network.state_dict())


def test_every_arm_takes_the_tasks_channels(tmp_path):
    run = tiny_run(tmp_path, kinds=KINDS, channels=("T1", "T2", "FLAIR"))
    for kind in KINDS:
        network = network_of(run, kind)
        assert network.backbone.config.in_channels == 3
        assert network.decoder.image.conv1.conv.in_channels == 3
        assert all(p.requires_grad for p in network.backbone.patch_embed.parameters())
        assert network.eval()(torch.rand(1, 3, 4, 8, 8)).shape == (1, 3, 4, 8, 8)


def test_weights_that_changed_on_disk_are_refused(run, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in weights_of(run.trial()).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    network_of(run, weights=folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["pos_embed"][0, 0, 0] += 1e-3
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match="changed since the trial was planned"):
        network_of(run, weights=folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="gone from the cache"):
        network_of(run, weights=folder)
    with pytest.raises(UsageError, match="gone from the cache"):
        build(run.trial().spec, None)


def test_slices_of_the_2d_arm_are_independent(run):
    network = network_of(run, "2d").eval()
    x = torch.rand(2, 1, 4, 8, 8)
    other = x.clone()
    other[1, :, 2] = torch.rand(1, 8, 8)
    with torch.no_grad():
        difference = (network(other) - network(x)).abs().amax(dim=(1, 3, 4)) > 1e-5
    assert difference.tolist() == [[False] * 4, [False, False, True, False]]
    inflated = network_of(run).eval()
    with torch.no_grad():
        mixed = (inflated(other) - inflated(x)).abs().amax(dim=(1, 3, 4)) > 1e-5
    assert mixed.tolist() == [[False] * 4, [True] * 4]
