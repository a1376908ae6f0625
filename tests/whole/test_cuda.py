"""What only a GPU does: its branches, its graphs, its resumes. Skipped where there is none."""

from itertools import count

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

import inflate_zoo
from inflate_zoo.bench.training import stepper
from inflate_zoo.bench.training.checkpointing import CHECKPOINT
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.graphs import Graph
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.attempt import prepare_trial
from inflate_zoo.networks.layers import attention
from tests.support.checkpoints import save_transformers
from tests.support.trials import tiny_run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
KINDS = ("inflated", "2d")


@pytest.fixture(autouse=True)
def full_float32():
    """No TF32: errors are to be those of float32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    AcceleratorState._reset_state()


@pytest.mark.parametrize("tokens", [40, attention.MASKED_TOKENS + 40])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_attention_with_prefix_keys(tokens, dtype, tolerance):
    random = torch.Generator().manual_seed(0)
    packed = torch.randn(3, 2, 3, tokens, 64, generator=random)
    slope = torch.randn(2, 3, tokens, 64, generator=random)
    own = packed.detach().to("cuda", dtype).requires_grad_()
    exact = packed.detach().to(dtype).double().requires_grad_()
    got = attention.attend(*own.unbind(0), 5, 6)
    wanted = attention.attend_plainly(*exact.unbind(0), 5, 6)
    got.backward(slope.to("cuda", dtype))
    wanted.backward(slope.to(dtype).double())
    for found, reference in ((got, wanted), (own.grad, exact.grad)):
        error = (found.cpu().double() - reference).norm() / reference.norm()
        assert error <= tolerance


@pytest.mark.parametrize("decoder", ["linear", "unetr", "upernet"])
def test_a_segmenter_gives_what_it_gives_on_a_cpu(decoder):
    depth = 4 if decoder == "upernet" else 16
    backbone = inflate_zoo.load("builtin-dino-3d-center", volume=(depth, 32, 32))
    torch.manual_seed(0)
    network = inflate_zoo.segmenter(backbone, classes=3, decoder=decoder).eval()
    volume = torch.rand(2, 1, depth, 32, 32)
    with torch.inference_mode():
        expected = network(volume)
        got = network.cuda()(volume.cuda()).cpu()
    assert (got - expected).abs().max() <= 1e-4 * expected.square().mean().sqrt()


@pytest.mark.filterwarnings("ignore:the source states no license")
def test_a_conversion_holds_on_a_gpu(tmp_path):
    """Equal slices give the tokens of the 2D original, both on the GPU."""
    from transformers import ViTModel

    save_transformers("vit", tmp_path / "vit")
    converted = inflate_zoo.convert(tmp_path / "vit", tmp_path / "3d", channels=3)
    original = ViTModel.from_pretrained(tmp_path / "vit", attn_implementation="sdpa").cuda().eval()
    side = original.config.image_size
    backbone = inflate_zoo.load(converted, volume=(32, side, side), device="cuda").eval()
    picture = torch.rand(1, 3, side, side, device="cuda")
    with torch.inference_mode():
        flat = original(picture).last_hidden_state
        deep = backbone.forward_features(picture.unsqueeze(2).repeat(1, 1, 32, 1, 1))
    patches = flat[:, 1:].repeat(1, backbone.grid_size[0], 1)
    wanted = torch.cat([flat[:, :1], patches], dim=1)
    assert (deep - wanted).abs().max() <= 1e-4 * wanted.square().mean().sqrt()


class Log(Silent):
    """Remembers the losses; stops where told."""

    def __init__(self, stop=None):
        self.losses, self.stop = [], stop

    def step(self, step, steps, loss, waiting):
        self.losses.append(loss)
        if step == self.stop:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cuda")
    tiny_run(made, kinds=KINDS)
    return made


def trained(trial, *, stop=None, precision="no", compiled=False):
    """Losses and weights of a whole training, killed once after step `stop`."""
    log = Log(stop)
    resources = Resources("cuda", 0, compiled)
    for attempt in range(2 if stop else 1):
        AcceleratorState._reset_state()
        accelerator = Accelerator(mixed_precision=precision)
        predictor, trainer = prepare_trial(trial, accelerator, resources, log, lambda: None)
        if stop and attempt == 0:
            with pytest.raises(KeyboardInterrupt):
                trainer.run()
            log.stop = None
            del log.losses[-1:]
        else:
            trainer.run()
    weights = {name: tensor.cpu() for name, tensor in predictor.network.state_dict().items()}
    (trial.folder / CHECKPOINT).unlink()
    return log.losses, weights


SETTINGS = ("train.steps=8", "train.validate_every=0", "train.checkpoint_every=3")


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_graphs_train_as_single_kernels_do(folder, tmp_path, monkeypatch, kind, precision):
    trial = tiny_run(folder, *SETTINGS, kinds=KINDS, name=str(tmp_path / "run")).trial(kind)
    losses, weights = trained(trial, precision=precision)
    monkeypatch.setattr(stepper, "can_be_graphed", lambda device, processes: False)
    eager, theirs = trained(trial, precision=precision)
    assert losses == pytest.approx(eager, rel=1e-4 if precision == "no" else 2e-2)
    if precision == "no":
        for name, tensor in theirs.items():
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=2e-3)


@pytest.mark.parametrize("short_from", [0, 3])
def test_short_of_memory_it_is_the_same_training(folder, tmp_path, monkeypatch, short_from):
    """Gradients then lie elsewhere in each step, and no graph may look for them."""
    trial = tiny_run(folder, *SETTINGS, kinds=KINDS, name=str(tmp_path / "run")).trial()
    losses, weights = trained(trial)
    real, taken = stepper.Stepper._moved, count()

    def moved(self, groups, numbers):
        if len(groups) > 1 and next(taken) >= short_from:
            raise torch.OutOfMemoryError("no room")
        return real(self, groups, numbers)

    monkeypatch.setattr(stepper.Stepper, "_moved", moved)
    found, others = trained(trial)
    assert next(taken) == short_from + 1
    assert found == pytest.approx(losses, rel=1e-4)
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=0, atol=2e-3)


def test_a_graph_that_is_made_has_changed_nothing():
    norm, batch = torch.nn.BatchNorm1d(4, device="cuda"), torch.rand(8, 4, device="cuda")
    graph = Graph(norm, batch, changed=list(norm.buffers()))
    assert norm.num_batches_tracked == 0
    assert not norm.running_mean.any()
    graph(batch)
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, batch.mean(0) / 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_has_the_same_bits(folder, tmp_path, kind):
    trial = tiny_run(folder, *SETTINGS, kinds=KINDS, name=str(tmp_path / "run")).trial(kind)
    losses, weights = trained(trial, precision="bf16")
    again, others = trained(trial, stop=4, precision="bf16")
    assert again == losses
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_compiled_training_is_the_same_training(folder, tmp_path):
    trial = tiny_run(folder, *SETTINGS, kinds=KINDS, name=str(tmp_path / "run")).trial()
    losses, _ = trained(trial)
    compiled, _ = trained(trial, compiled=True)
    assert compiled == pytest.approx(losses, rel=1e-3)
