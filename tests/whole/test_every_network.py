"""What every network must do, asked of each: a new one brings its row in `support/networks.py`."""

from itertools import pairwise
from math import prod

import pytest
import torch
from typer.testing import CliRunner

from inflate_zoo import Backbone, convert, load, param_groups, segmenter
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from inflate_zoo.errors import UsageError
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.segmentation.decoders import DECODERS
from tests.support.datasets import write_decathlon
from tests.support.networks import SMALL
from tests.support.trials import SHAPE, one_thread, tiny_run

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
every_network = pytest.mark.parametrize("kind", CONFIGS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_every_network_has_its_row():
    assert SMALL.keys() == CONFIGS.keys()
    assert all(type(SMALL[kind].config) is CONFIGS[kind] for kind in SMALL)
    assert all(len(set(small.config.grid_size)) > 1 for small in SMALL.values())
    assert all(small.config.grid_size[0] > 1 for small in SMALL.values())


# --- what it gives


@every_network
def test_tokens_and_maps_are_of_the_sizes_that_its_config_states(kind):
    net, volume = SMALL[kind].network(), SMALL[kind].volumes()
    levels, prefix = net.config.levels, net.num_prefix_tokens
    with torch.inference_mode():
        tokens = net.forward_features(volume)
        maps = net.forward_intermediates(volume, range(len(levels)), intermediates_only=True)
        (last,) = net.forward_intermediates(volume, [-1], intermediates_only=True)
        pooled = net(volume)
    assert tokens.shape == (2, prefix + prod(net.grid_size), net.embed_dim)
    for level, each in zip(levels, maps, strict=True):
        sides = (n // step for n, step in zip(volume.shape[2:], level.stride, strict=True))
        assert each.shape == (2, level.width, *sides)
    assert torch.equal(last, maps[-1])
    assert last.shape[2:] == net.grid_size
    assert pooled.shape == (2, net.embed_dim)
    if len(set(levels)) > 1:
        assert prefix == 0
    with pytest.raises(ValueError, match="out of range"):
        net.forward_intermediates(volume, [len(levels)], intermediates_only=True)


@every_network
def test_a_batch_without_volumes_gives_results_without_volumes(kind):
    net, one = SMALL[kind].network(), SMALL[kind].volumes()[:1]
    nothing = one[:0]

    def shapes(x):
        (last,) = net.forward_intermediates(x, [-1], intermediates_only=True)
        given = [net.forward_features(x), last, net(x)]
        for decoder in DECODERS:
            model = segmenter(net, classes=3, decoder=decoder).eval()
            given += [*model.encode(x), model(x)]
        return [tuple(each.shape) for each in given]

    with torch.inference_mode():
        assert shapes(nothing) == [(0, *shape[1:]) for shape in shapes(one)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_network
def test_half_types_give_what_float32_gives_but_for_rounding(kind, dtype):
    net, volume = SMALL[kind].network(), SMALL[kind].volumes()
    with torch.inference_mode():
        expected = net.forward_features(volume)
        got = net.to(dtype).forward_features(volume.to(dtype)).float()
    apart = (got - expected).abs().max() / expected.square().mean().sqrt()
    assert 0 < apart < (0.02 if dtype is torch.float16 else 0.2)  # not so where it is NaN


def weighed(net, volume, place):
    """Where a token looks: the centre of what its gradient falls on, in shares of each side."""
    index = torch.tensor(place).dot(torch.tensor([prod(net.grid_size[1:]), net.grid_size[2], 1]))
    x = volume.clone().requires_grad_()
    token = net.forward_features(x)[0, net.num_prefix_tokens + int(index)]
    (token * torch.randn_like(token)).sum().backward()
    energy = x.grad[0].square().sum(dim=0)
    sums = [energy.sum(dim=[axis for axis in range(3) if axis != kept]) for kept in range(3)]
    shares = [each * torch.arange(len(each)) / len(each) for each in sums]
    return torch.stack([each.sum() for each in shares]) / energy.sum()


@every_network
def test_tokens_stand_in_depth_height_width_order(kind):
    net, volume = Backbone(SMALL[kind].config).eval(), SMALL[kind].volumes(1)
    corner = weighed(net, volume, (0, 0, 0))
    for axis, side in enumerate(net.grid_size):
        place = [0, 0, 0]
        place[axis] = side - 1
        moved = weighed(net, volume, place) - corner
        assert moved.argmax() == axis
        assert moved[axis] > 0.1


# --- decoders and groups


@pytest.mark.parametrize("decoder", DECODERS)
@every_network
def test_each_decoder_reads_it_and_comes_back_from_files(kind, decoder, tmp_path):
    small = SMALL[kind]
    depth = small.config.patch_depth if decoder == "upernet" else small.config.volume[0]
    plane = small.config.volume[1:]
    net, volume = small.network((depth, *plane)), small.volumes(depth=depth)
    model = segmenter(net, classes=3, decoder=decoder, features=8).eval()
    with torch.inference_mode():
        logits = model(volume)
        assert logits.shape == (2, 3, 1 if decoder == "upernet" else depth, *plane)
        model.save_pretrained(tmp_path)
        again = load(tmp_path).eval()
        assert torch.equal(again(volume), logits)
    assert type(again.config.backbone) is CONFIGS[kind]
    unread = {p for part in net.unread(maps=decoder != "linear") for p in part.parameters()}
    model.train()(volume).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter not in unread), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


@every_network
def test_each_parameter_is_in_one_group_and_learns_at_its_layers_rate(kind):
    net = SMALL[kind].network()
    groups = param_groups(net, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name for name, p in net.named_parameters()}
    told = [(names[id(p)], group) for group in groups for p in group["params"]]
    assert sorted(name for name, _ in told) == sorted(names.values())
    parameters = dict(net.named_parameters())
    assert net.config.stem in parameters
    for name, group in told:
        decays = parameters[name].ndim > 1 and name not in net.tables
        assert group["weight_decay"] == (0.1 if decays else 0.0), name
        assert group["lr"] == 0.5 ** (net.layers + 1 - net.layer_of(name)), name
    rates = {group["lr"] for group in groups}
    assert {0.5**layer for layer in range(1, net.layers + 2)} <= rates
    assert net.layer_of(net.config.stem) == 0


@every_network
def test_of_what_is_pruned_the_rest_learns_and_takes_other_volumes(kind):
    whole, pruned = SMALL[kind].network(), SMALL[kind].network()
    assert pruned.prune_intermediate_layers([0]) == [0]
    groups = param_groups(pruned, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    rates = {group["name"].rpartition(".")[0]: group["lr"] for group in groups}
    blocks = max(pruned.layer_of(name) for name, _ in pruned.named_parameters() if "blocks" in name)
    assert rates.pop("head", 1.0) == 1.0
    assert rates == {
        "stem": 0.5 ** (blocks + 1),
        **{f"block.{index}": 0.5 ** (blocks - index) for index in range(blocks)},
    }
    volume = tuple(2 * side for side in whole.config.volume)
    x = torch.rand(1, whole.config.in_channels, *volume)
    expected, got = [], []
    for net, maps in ((whole, expected), (pruned, got)):
        net.set_input_size(volume)
        maps += net.forward_intermediates(x, [0], intermediates_only=True)
    assert torch.equal(got[0], expected[0])


# --- files


@every_network
def test_it_comes_back_from_files_for_its_own_and_for_other_volumes(kind, tmp_path):
    small = SMALL[kind]
    net, volume = small.network(), small.volumes()
    net.save_pretrained(tmp_path)
    again = load(tmp_path).eval()
    assert type(again) is type(net)
    with torch.inference_mode():
        assert torch.equal(again(volume), net(volume))
    steps = small.config.levels[-1].stride
    larger = tuple(n + 2 * step for n, step in zip(small.config.volume, steps, strict=True))
    wide = load(tmp_path, volume=larger).eval()
    assert wide.grid_size == tuple(side + 2 for side in net.grid_size)
    assert wide(torch.rand(1, small.config.in_channels, *larger)).isfinite().all()
    with pytest.raises(UsageError, match="not divisible by the patch's"):
        load(tmp_path, volume=(*larger[:2], larger[2] + 1))


# --- drop path and recomputed blocks


def blocks_of(net, volume):
    """Each block that may drop a branch, and what it is called with."""
    called = []
    hooks = [
        block.register_forward_pre_hook(lambda block, given: called.append((block, given)))
        for block in net.modules()
        if hasattr(block, "drop_path")
    ]
    net(volume)
    for hook in hooks:
        hook.remove()
    return called


@every_network
def test_drop_path_drops_branches_of_samples_and_scales_what_is_kept(kind):
    net, volume = SMALL[kind].network(), SMALL[kind].volumes(3)
    kept, dropped = 0.0, 0.99
    with torch.no_grad():
        for block, given in blocks_of(net, volume):
            block.train()
            per_sample, added = len(given[0]) // 3, {}
            assert per_sample == 1  # whatever windows there are, a block takes whole samples
            block.drop_path, block.drop_draws = 0.2, torch.full((2, 3), dropped)
            left = block(*given)  # what passes it where all is dropped: its input, or that pooled
            assert torch.equal(left, given[0]) != getattr(block, "pools", False)
            for rate in (0.2, 0.6):
                block.drop_path = rate
                for which in (0, 1):
                    draws = torch.full((2, 3), dropped)
                    draws[which, 1] = kept
                    block.drop_draws = draws
                    apart = block(*given) - left
                    assert not apart[[0, 2]].any()
                    added[rate, which] = apart[1] * (1 - rate)
            for which in (0, 1):
                assert added[0.2, which].abs().max() > 1e-3
                torch.testing.assert_close(
                    added[0.2, which], added[0.6, which], rtol=1e-3, atol=1e-4
                )
            block.drop_draws = torch.full((2, 3), dropped)
            assert not torch.equal(block.eval()(*given), left)  # evaluation drops nothing


@every_network
def test_drop_path_grows_over_the_blocks_and_follows_the_draws(kind):
    net, volume = SMALL[kind].network(), SMALL[kind].volumes()
    assert net.drop_shape == ()
    net.set_drop_path(0.5)
    rates = [block.drop_path for block, _ in blocks_of(net, volume)]
    assert rates[0] == 0
    assert rates[-1] == 0.5
    assert all(first < second for first, second in pairwise(rates))
    assert net.drop_shape == (len(rates), 2)
    net.train()
    found = []
    for draw in (0.0, 0.0, 0.99):
        net.fix_drops(torch.full((*net.drop_shape, 2), draw))
        found.append(net(volume))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@every_network
def test_recomputed_blocks_give_the_same_finite_gradients(kind):
    net, volume = SMALL[kind].network().train(), SMALL[kind].volumes()
    net.set_drop_path(0.3)
    net.fix_drops(torch.rand(*net.drop_shape, 2))
    calls, grads = [], []
    for block, _ in blocks_of(net, volume):
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    for recomputed in (False, True):
        net.set_grad_checkpointing(recomputed)
        net.zero_grad()
        net(volume).square().sum().backward()
        grads.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    blocks = net.drop_shape[0]
    assert len(calls) == 3 * blocks  # again in the backward pass
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        assert grad.isfinite().all(), name
        torch.testing.assert_close(grads[1][name], grad)


# --- compilers


@pytest.fixture
def _fresh_compiler():
    """Networks that share code count as recompilations of it, of which there may be a few."""
    torch.compiler.reset()


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize("call", ["forward_features", "forward_intermediates"])
@every_network
def test_it_compiles_without_a_graph_break(kind, call):
    net, volume = SMALL[kind].network(), SMALL[kind].volumes()
    run = getattr(net, call)
    given = ([0, -1],) if call == "forward_intermediates" else ()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(volume, *given), run(volume, *given))


@pytest.mark.usefixtures("_fresh_compiler")
@every_network
def test_a_compiled_training_step_gives_the_same_gradients(kind):
    net, volume = SMALL[kind].network().train(), SMALL[kind].volumes()
    net.set_drop_path(0.3)
    net.fix_drops(torch.rand(*net.drop_shape, 2))
    grads = []
    for run in (net, torch.compile(net, fullgraph=True, backend="aot_eager")):
        net.zero_grad()
        run(volume).square().sum().backward()
        grads.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-4)


@every_network
def test_it_is_exported(kind):
    net, volume = SMALL[kind].network(), SMALL[kind].volumes()
    exported = torch.export.export(net, (volume,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(volume), net(volume))


# --- the ranking


@every_network
def test_it_is_trained_beside_random_weights_and_predicts(kind, tmp_path):
    write_decathlon(tmp_path / "data", 10, SHAPE, ("MRI",))
    source = SMALL[kind].save(tmp_path / "vit")  # where the run looks for its source
    changes = ("train.steps=3", "train.learning_rate=1e-2", "network.drop_path=0.2")
    with one_thread():
        run = tiny_run(tmp_path, *changes, kinds=("inflated", "2d", "random"))
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
        trial = run.trial()
        assert type(trial.spec.arm.config) is CONFIGS[kind]
        name = trial.spec.cases.test[0]
        image = run.data / "imagesTr" / f"{name}.nii.gz"
        words = ["predict", str(trial.folder), str(image), "--out", str(tmp_path / "predicted")]
        result = CliRunner().invoke(app.app, [*words, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predicted" / f"{name}.nii.gz").exists()
    trained = load(trial.folder).backbone
    start = load(
        convert(source, tmp_path / "start", patch_depth=2, fold_normalization=True, verify=False),
        volume=trained.config.volume,
    )
    before = dict(start.named_parameters())
    for name, parameter in trained.named_parameters():  # depth tables among them
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name
