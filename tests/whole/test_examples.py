"""The example in benchmarks/examples: it runs as written down, and does what it says."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.transforms import RandShiftIntensityd
from torch import distributed

import inflate_zoo
from inflate_zoo.bench.data.volumes import read_volume
from inflate_zoo.segmentation.segmenter import Segmenter

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "examples" / "finetune_monai.py"
WINDOW = (24, 36, 24)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


# MONAI says that it reads DICOM by pydicom alone, whatever is read.
QUIET = {"PYTHONWARNINGS": "ignore::UserWarning:monai.data.image_reader"}


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    """The finished process, and where it wrote."""
    out = tmp_path_factory.mktemp("example") / "segmenter"
    options = ["--cases", "6", "--steps", "3", "--frozen", "1", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        capture_output=True,
        text=True,
        env={**os.environ, **QUIET, "INFLATE_ZOO_CACHE": str(cache), "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    return done, out


@pytest.fixture
def example(cache, monkeypatch):
    """The script's functions, with the zoo's entries kept where `run` keeps them."""
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(cache))
    return runpy.run_path(str(SCRIPT))


def backbone_weights(network):
    """Stem and blocks: the decoder reads no final norm, and tables are resized to the window."""
    backbone = network.backbone if isinstance(network, Segmenter) else network
    kept = ("patch_embed.", "blocks.")
    return {name: value for name, value in backbone.state_dict().items() if name.startswith(kept)}


def test_it_prints_the_dice_of_every_class_and_nothing_else(run):
    done, _ = run
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"Dice Anterior: (0\.\d{3})\nDice Posterior: (0\.\d{3})\n", done.stdout)
    assert found is not None, done.stdout
    assert "Warning" not in done.stderr
    assert "step 2/2" in done.stderr  # after one frozen step


def test_the_saved_segmenter_loads(run):
    _, out = run
    network = inflate_zoo.load(out).eval()
    assert isinstance(network, Segmenter)
    with torch.inference_mode():
        logits = network(torch.rand(1, 1, *WINDOW))
    assert logits.shape == (1, 3, *WINDOW)


def test_all_blocks_are_trained_once_they_are_no_longer_frozen(run, example):
    _, out = run
    before = backbone_weights(inflate_zoo.load("builtin-clip-3d-center"))
    after = backbone_weights(inflate_zoo.load(out))
    assert before.keys() == after.keys()
    same = [name for name in before if torch.equal(before[name], after[name])]
    assert same == []


def test_frozen_steps_leave_the_backbone_alone(example, tmp_path, monkeypatch, capsys):
    out = tmp_path / "segmenter"
    options = ["--cases", "2", "--steps", "1", "--frozen", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["finetune_monai.py", *options])
    example["main"]()
    assert capsys.readouterr().out.startswith("Dice Anterior: ")
    before = backbone_weights(inflate_zoo.load("builtin-clip-3d-center"))
    after = backbone_weights(inflate_zoo.load(out))
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_axes_are_those_of_the_package(example):
    """Depth first, as `inflate_zoo.bench` reads the same file; its three sizes differ."""
    _, for_validation = example["transforms"]((1.0, 1.0, 1.0), (4, 4, 4))
    files = {
        key: example["EMBEDDED"] / folder / "hippocampus_007.nii.gz"
        for key, folder in (("image", "imagesTr"), ("label", "labelsTr"))
    }
    case = for_validation({key: str(path) for key, path in files.items()})
    expected = read_volume(files["label"], "axial").array
    assert case["label"].shape == (1, 40, 47, 34)
    torch.testing.assert_close(
        case["label"].as_tensor(), torch.from_numpy(expected), check_dtype=False
    )
    assert (case["image"].min().item(), case["image"].max().item()) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frozen", "9", "--steps", "8"], "--frozen 9 is not between 0 and the 8 steps"),
        (["--cases", "1"], "1 case(s) in"),
    ],
)
def test_what_cannot_be_trained_is_refused(example, monkeypatch, capsys, options, message):
    monkeypatch.setattr(sys, "argv", ["finetune_monai.py", *options])
    with pytest.raises(SystemExit) as caught:
        example["main"]()
    assert message in f"{caught.value} {capsys.readouterr().err}"


@pytest.mark.parametrize(
    ("name", "processes", "options", "needed"),
    [
        ("finetune_ddp.py", 1, ["--cases", "1"], 2),
        ("finetune_ddp.py", 4, ["--cases", "4"], 5),
        ("finetune_lightning.py", 1, ["--cases", "1"], 2),
        ("finetune_lora.py", 1, ["--cases", "1"], 2),
    ],
)
def test_too_few_cases_are_refused_by_the_others_too(name, processes, options, needed, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(distributed, "init_process_group", lambda _: None)
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed, "get_world_size", lambda: processes)
    monkeypatch.setattr(sys, "argv", [name, *options, "--steps", "1"])
    with pytest.raises(SystemExit, match=rf"case\(s\) in .*: {needed} or more are needed"):
        runpy.run_path(str(SCRIPT.with_name(name)))["main"]()


def output_of(command, cache, *options):
    """What an example prints on stdout, run as its docstring says."""
    done = subprocess.run(
        [*command, *map(str, options)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "INFLATE_ZOO_CACHE": str(cache),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BOTH = re.compile(r"Dice Anterior: [01]\.\d{3}\nDice Posterior: [01]\.\d{3}\n")


def require_trained(out):
    """A segmenter of the window, its encoder no longer what it was."""
    trained = inflate_zoo.load(out)
    assert trained.volume == WINDOW
    before = backbone_weights(inflate_zoo.load("builtin-clip-3d-center"))
    after = backbone_weights(trained)
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_lightning_trains_and_scores(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(cache))
    script = SCRIPT.with_name("finetune_lightning.py")
    options = ["--cases", 5, "--steps", 2, "--out", tmp_path / "out"]
    printed = output_of([sys.executable, str(script)], cache, *options)
    assert BOTH.search(printed), printed
    require_trained(tmp_path / "out")


def test_two_processes_train_one_network(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(cache))
    script = SCRIPT.with_name("finetune_ddp.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    options = ["--cases", 6, "--batch", 1, "--steps", 2, "--out", tmp_path / "out"]
    printed = output_of([*torchrun, str(script)], cache, *options)
    assert len(BOTH.findall(printed)) == 1, printed  # beside what torch 2.10 says of its links
    require_trained(tmp_path / "out")


def test_lora_trains_in_the_trainer_and_is_merged(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(cache))
    script = SCRIPT.with_name("finetune_lora.py")
    options = ["--cases", 5, "--steps", 2, "--rank", 2, "--out", tmp_path / "out"]
    printed = output_of([sys.executable, str(script)], cache, *options)
    assert BOTH.search(printed), printed
    trained = inflate_zoo.load(tmp_path / "out", kind="segmenter")
    before = inflate_zoo.load("builtin-clip-3d-center", volume=WINDOW).state_dict()
    after = trained.backbone.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    linear = ("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight")
    assert changed == {name for name in before if name.endswith(linear)}


class Shifted:
    """Cases that are all alike, until a transform shifts each by what its generator gives."""

    def __init__(self):
        self.transform = RandShiftIntensityd("image", offsets=1.0, prob=1.0)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return self.transform({"image": torch.zeros(1, 1), "index": index})


def test_processes_share_the_cases_and_change_each_its_own_way(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    shares = runpy.run_path(str(SCRIPT.with_name("finetune_ddp.py")))["shares"]
    seen = []
    for rank in range(2):
        torch.manual_seed(0)  # as in every process
        seen.append(list(shares(Shifted(), 3, rank, 2)))
    cases = [each["index"] for (each,) in seen]
    assert sorted(torch.cat(cases).tolist()) == list(range(6))
    first, second = (each["image"].flatten() for (each,) in seen)
    assert not torch.isclose(first, second).any()
