"""nnU-Net's trainer on our backbone: what it starts from, how it goes on, what it refuses."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

import inflate_zoo
from inflate_zoo.nnunet.choice import KEY, read_choice
from inflate_zoo.nnunet.framing import Framed
from inflate_zoo.nnunet.options import FILE, PREFIX
from inflate_zoo.nnunet.schedule import rate_factor
from tests.support.checkpoints import save_transformers
from tests.support.nnunet import NAME, PATCH, VOLUME, dataset_table, plans_table, prepare
from tests.support.trials import VIT

pytest.importorskip("nnunetv2", reason="installed apart: see benchmarks/examples")
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from inflate_zoo.nnunet.trainer import nnUNetTrainerInflated, plain

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("source") / "vit", **VIT)


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "vit-3d"
    return inflate_zoo.convert(source, out, patch_depth=2, volume=(4, 8, 8), verify=False)


@pytest.fixture
def home(tmp_path, monkeypatch, converted):
    """nnU-Net's folders with a prepared data set, and a file that chooses the backbone."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in prepare(tmp_path).items():
        monkeypatch.setenv(name, value)
    choose(tmp_path, source=str(converted))
    return tmp_path


def choose(home, **fields):
    """Write the data set's file."""
    quick = {"decoder": "linear", "drop_path": 0.0, "epochs": 4}
    (home / "preprocessed" / NAME / FILE).write_text(json.dumps(quick | fields), encoding="utf-8")


def trainer(kind=nnUNetTrainerInflated, *, configuration="3d_fullres", fold=0, table=None, **plans):
    """As `nnUNetv2_train` makes one; further changes are of the plans."""
    made = plans_table(**plans) | {"continue_training": False}
    return kind(made, configuration, fold, table or dataset_table(), CPU)


def begun(*args, **changes):
    made = trainer(*args, **changes)
    made.initialize()
    return made


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn((2, 1, *PATCH), generator=generator)
    return {"data": data, "target": torch.randint(3, (2, 1, *PATCH), generator=generator).short()}


def different(left, right):
    """Names of the tensors in which two networks differ."""
    left, right = left.state_dict(), right.state_dict()
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


def refusal(**changes):
    """What is said instead of a traceback."""
    with pytest.raises(SystemExit) as raised:
        begun(**changes)
    text = raised.value.code
    assert text.startswith("error: ")
    assert 2 <= len(text.splitlines()) <= 10
    return text


def test_the_encoder_is_what_load_gives_tensor_for_tensor_and_in_its_output(home, converted):
    encoder = begun().network.segmenter.backbone
    loaded = inflate_zoo.load(converted, volume=VOLUME)
    assert different(encoder, loaded) == []
    x = torch.randn(2, 1, *VOLUME)
    with torch.inference_mode():
        assert torch.equal(encoder.eval().forward_features(x), loaded.eval().forward_features(x))


def test_the_network_takes_nnunets_patch_and_gives_its_classes(home):
    made = begun()
    assert isinstance(made.network, Framed)
    assert made.network.segmenter.volume == VOLUME
    with torch.inference_mode():
        assert made.network(torch.randn(2, 1, *PATCH)).shape == (2, 3, *PATCH)


def test_overlapping_regions_get_an_output_each(home):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    table = dataset_table(labels=labels, regions_class_order=[1, 2])
    with torch.inference_mode():
        assert begun(table=table).network(torch.randn(1, 1, *PATCH)).shape == (1, 2, *PATCH)


def test_the_groups_are_ours_and_the_decoders_rate_is_the_one_nnunet_logs(home, converted):
    choose(home, source=str(converted), learning_rate=0.01, weight_decay=0.2, layer_decay=0.5)
    made = begun()
    expected = inflate_zoo.param_groups(
        made.network.segmenter, learning_rate=0.01, weight_decay=0.2, layer_decay=0.5
    )
    assert isinstance(made.optimizer, torch.optim.AdamW)
    found = made.optimizer.param_groups
    keys = ("name", "lr", "weight_decay")
    assert [[g[k] for k in keys] for g in found] == [[g[k] for k in keys] for g in expected[::-1]]
    for left, right in zip(found, expected[::-1], strict=True):
        assert [id(p) for p in left["params"]] == [id(p) for p in right["params"]]
    assert found[0]["lr"] == 0.01


def test_an_epoch_sets_every_rate(home, converted):
    choose(home, source=str(converted), epochs=8, warmup_ratio=0.25)
    made = begun()
    full = [group["lr"] for group in made.optimizer.param_groups]
    made.current_epoch = 5
    made.on_train_epoch_start()
    rates = [group["lr"] for group in made.optimizer.param_groups]
    assert rates == pytest.approx([rate * rate_factor(5, 8, 2) for rate in full])


def test_a_step_trains_encoder_and_decoder_on_one_loss_at_one_resolution(home, converted):
    made = begun()
    made.set_deep_supervision_enabled(True)  # as nnU-Net does before it trains
    before = inflate_zoo.load(converted, volume=VOLUME).state_dict()
    assert made.train_step(batch())["loss"] > 0
    after = made.network.segmenter.backbone
    trained = {name for name, p in after.named_parameters() if p.requires_grad}
    still = {name for name in trained if torch.equal(before[name], after.state_dict()[name])}
    assert still == set()
    assert made.validation_step(batch())["tp_hard"].shape == (2,)


def test_half_precision_is_no_trouble(home):
    network = begun().network
    with torch.autocast("cpu", torch.bfloat16):
        network(batch()["data"]).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.requires_grad)


def test_a_resumed_training_goes_on_alike_without_the_source(home, converted, monkeypatch):
    made = begun()
    made.train_step(batch())
    path = str(Path(made.output_folder) / "checkpoint_latest.pth")
    made.logger.log("train_losses", 1.0, 0)
    made.save_checkpoint(path)
    chosen = read_choice(Path(made.output_folder))
    (home / "preprocessed" / NAME / FILE).unlink()
    monkeypatch.setenv(f"{PREFIX}SOURCE", "no-such-entry")
    again = trainer()
    again.load_checkpoint(path)
    assert different(again.network, made.network) == []
    assert (again.current_epoch, again.num_epochs) == (1, 4)
    assert again.plans_manager.plans[KEY] == chosen.as_dict()
    for each in (made, again):
        each.lr_scheduler.step(1)
        each.train_step(batch(1))
    assert different(again.network, made.network) == []


def test_predicting_needs_neither_the_file_nor_a_variable_nor_the_source(home, converted):
    made = begun()
    plans = json.loads(json.dumps(made.plans_manager.plans))  # as plans.json beside the folds
    weights = made.network.state_dict()
    (home / "preprocessed" / NAME / FILE).unlink()
    hidden = converted.rename(converted.with_name("hidden"))
    try:
        manager = PlansManager(plans)
        configuration = manager.get_configuration("3d_fullres")
        network = nnUNetTrainerInflated.build_network_architecture(
            manager, configuration, 1, 3, enable_deep_supervision=False
        )
    finally:
        hidden.rename(converted)
    network.load_state_dict(weights)
    x = batch()["data"]
    with torch.inference_mode():
        assert torch.equal(network.eval()(x), made.network.eval()(x))


def test_what_was_chosen_is_kept_with_the_fold(home, converted):
    made = begun()
    kept = read_choice(Path(made.output_folder))
    assert (kept.source, kept.folded, kept.patch_size) == ("vit-3d", False, PATCH)
    assert kept.network == made.network.segmenter.config
    assert str(converted) not in (Path(made.output_folder) / FILE).read_text()
    assert kept.weights_sha256 in Path(made.log_file).read_text()


def test_a_derived_trainer_keeps_what_the_file_leaves_open(home, converted):
    class Short(nnUNetTrainerInflated):
        def __init__(self, plans, configuration, fold, dataset_json, device):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.num_epochs = 7

    choose(home, source=str(converted), epochs=None, iterations=3, validation_iterations=2)
    made = begun(Short)
    found = (made.num_epochs, made.num_iterations_per_epoch, made.num_val_iterations_per_epoch)
    assert found == (7, 3, 2)


def test_a_variable_chooses_without_a_file(home, converted, monkeypatch):
    (home / "preprocessed" / NAME / FILE).unlink()
    monkeypatch.setenv(f"{PREFIX}SOURCE", str(converted))
    monkeypatch.setenv(f"{PREFIX}DECODER", "linear")
    assert begun().network.segmenter.config.decoder == "linear"


def test_a_folded_normalisation_is_warned_about_in_the_log(home, source, tmp_path):
    folded = inflate_zoo.convert(
        source, tmp_path / "folded", patch_depth=2, fold_normalization=True, verify=False
    )
    choose(home, source=str(folded))
    assert (
        "WARNING: the backbone was converted for intensities" in Path(begun().log_file).read_text()
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"configuration": "2d"}, "configuration '2d' has 2D patches"),
        ({"configuration": "3d_cascade_fullres"}, "takes the labels of '3d_lowres' as channels"),
        (
            {"table": dataset_table(channel_names={"0": "T1", "1": "T2"})},
            "the backbone takes 1 channel(s), the data set has 2",
        ),
        (
            {
                "table": dataset_table(
                    labels={"background": 0, "a": [1, 2]}, regions_class_order=[1]
                )
            },
            "a single region",
        ),
    ],
)
def test_what_does_not_fit_is_a_sentence(home, changes, told):
    assert told in refusal(**changes)


def test_nothing_chosen_is_a_sentence(home):
    (home / "preprocessed" / NAME / FILE).unlink()
    assert "no backbone is chosen" in refusal()


def test_a_fold_beside_another_network_is_a_sentence(home, converted):
    begun()
    begun(fold=1)
    choose(home, source=str(converted), decoder="unetr")
    assert "'fold_1' was trained with another network" in refusal(fold=0)


def test_a_model_without_its_plans_is_a_sentence(home):
    manager = PlansManager(plans_table())
    with pytest.raises(SystemExit, match=r"error: the model's plans\.json has no 'inf"):
        nnUNetTrainerInflated.build_network_architecture(manager, None, 1, 3)


def test_the_network_is_found_in_what_torch_wraps_around_it(home, tmp_path):
    network = begun().network
    store = f"file://{tmp_path / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        for wrapped in (
            network,
            torch.compile(network),
            nn.parallel.DistributedDataParallel(network),
            nn.parallel.DistributedDataParallel(torch.compile(network)),
        ):
            assert plain(wrapped) is network
    finally:
        distributed.destroy_process_group()
    with pytest.raises(TypeError, match="nnU-Net holds a Linear"):
        plain(nn.Linear(1, 1))
