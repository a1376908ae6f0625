"""From a specification to a network: what is equal for all arms, and what a seed decides."""

import shlex

import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo.bench.definitions.catalog import load_protocol
from inflate_zoo.bench.definitions.trials import window_of
from inflate_zoo.bench.scoring.flops import encoder_flops
from inflate_zoo.bench.training.building import build, with_channels
from inflate_zoo.errors import UsageError
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.segmentation.segmenter import segmenter
from tests.segmentation.test_segmenter import backbone, config
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


@pytest.mark.parametrize(
    ("asked", "inflated", "slices"),
    [
        ((4, 8, 8), (4, 8, 8), (4, 8, 8)),
        ((5, 9, 13), (6, 12, 16), (5, 12, 16)),
        ((1, 1, 1), (2, 4, 4), (1, 4, 4)),
    ],
)
def test_the_window_is_rounded_up_to_whole_patches(run, asked, inflated, slices):
    for kind, expected in (("inflated", inflated), ("random", inflated), ("2d", slices)):
        spec = run.trial(kind).spec
        network = spec.protocol.network.model_copy(update={"window": asked})
        protocol = spec.protocol.model_copy(update={"network": network})
        spec = spec.model_copy(update={"protocol": protocol})
        assert window_of(spec) == expected
        built = build(spec, weights_of(run.trial(kind))).eval()
        assert built(torch.rand(1, 1, *expected)).shape[2:] == expected


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


@pytest.mark.parametrize(
    ("spacing", "depth"),
    [((1, 1, 1), 12), ((3.6, 0.6, 0.6), 2), ((0.5, 1, 1), 24), ((50, 1, 1), 2)],
)
def test_a_window_may_be_as_deep_in_mm_as_it_is_high(run, spacing, depth):
    spec = run.trial().spec
    network = spec.protocol.network.model_copy(update={"window": ("spacing", 12, 8)})
    protocol = spec.protocol.model_copy(update={"network": network})
    task = spec.task.model_copy(update={"spacing": spacing})
    assert window_of(spec.model_copy(update={"protocol": protocol, "task": task})) == (depth, 12, 8)


def test_whole_slices_decide_the_window_but_for_its_depth(run):
    for kind, depth, patch in (("inflated", 6, 2), ("2d", 1, 1)):
        spec = run.trial(kind).spec
        network = spec.protocol.network.model_copy(
            update={"decoder": "upernet", "window": (5, 999, 999)}
        )
        protocol = spec.protocol.model_copy(update={"network": network})
        task = spec.task.model_copy(update={"whole_slices": True, "slice_size": 18})
        assert spec.arm.config.patch_depth == patch
        spec = spec.model_copy(update={"protocol": protocol, "task": task})
        assert window_of(spec) == (depth, 20, 20)


def test_the_protocol_of_the_paper():
    protocol = load_protocol("paper")
    assert protocol.network.centre_slice
    assert protocol.data.whole_slices
    assert round(protocol.train.warmup_ratio * protocol.train.steps) == 20
    for task, steps in {"msd-task01": 250_000, "msd-task07": 100_000, "btcv": 25_000}.items():
        own = protocol.of_task(task)
        assert (own.train.steps, own.task_steps, own.name) == (steps, {}, "paper")
    # What is asked for holds for every task, and every deviation can be taken back.
    short = load_protocol("paper", ["train.steps=7"])
    assert short.of_task("msd-task01").train.steps == 7
    backs = [line.partition("--set ")[2] for line in protocol.deviations if "--set" in line]
    assert len(backs) == 9
    for back in backs:
        change = shlex.split(back.partition(" (")[0])[0]
        assert load_protocol("paper", [change]) != protocol
        assert load_protocol("paper", [change]).name.startswith("paper+")


def test_flops_of_a_vit_b_are_those_the_paper_counted():
    for depth, counted in ((5, 214_954_014_720), (1, 213_343_401_984)):
        with torch.device("meta"):
            inner = Backbone(
                config(
                    blocks=12, embed_dim=768, num_heads=12, mlp_dim=3072, in_channels=1,
                    patch_size=(16, 16), position_grid=(32, 32), patch_depth=depth,
                    volume=(depth, 512, 512),
                )
            )  # fmt: skip
            network = segmenter(inner, classes=14, decoder="upernet", features=8)
            assert encoder_flops(network, (1, depth, 512, 512)) == counted


def test_the_decoder_of_whole_slices_needs_whole_slices():
    with pytest.raises(UsageError, match=r"needs data\.whole_slices"):
        load_protocol("paper", ["data.whole_slices=false"])
    with pytest.raises(UsageError, match="norm belongs to decoder 'upernet'"):
        load_protocol("quick", ["network.norm=batch"])


@pytest.mark.parametrize("name", ["volume", "quick", "probe"])
def test_bundled_protocols_fit_their_form(name):
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.backbone == "google/vit-base-patch16-224"
    train, network = protocol.train, protocol.network
    assert train.steps % train.checkpoint_every == 0
    assert 0 < train.validate_every <= train.steps
    assert network.freeze == (name == "probe")
    assert network.decoder == ("unetr" if name == "volume" else "linear")
    assert protocol.data.spacing == protocol.data.intensity == "task"
    if network.freeze:
        assert train.windows_per_case > 1
