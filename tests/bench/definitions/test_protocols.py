"""The form of a protocol, and the bundled ones in it."""

import shlex

import pytest

from inflate_zoo.bench.definitions.catalog import load_protocol
from inflate_zoo.errors import ConfigError, UsageError
from tests.support.definitions import write


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


def test_a_protocol_has_a_window_of_its_own_for_tasks_of_small_volumes():
    protocol = load_protocol("probe")
    for task, window in {
        "hippocampus-mini": (24, 36, 24),
        "msd-task04": (24, 36, 24),
        "msd-task09": ("spacing", 96, 96),
    }.items():
        own = protocol.of_task(task)
        assert (own.network.window, own.task_window, own.name) == (window, {}, "probe")
        assert "task_window" not in own.model_dump()  # as trials were named before there was one
    # What is asked for holds for every task.
    wide = load_protocol("probe", ["network.window=[32,32,32]"])
    assert wide.of_task("msd-task04").network.window == (32, 32, 32)
    longer = load_protocol("probe", ["train.steps=2000"]).of_task("msd-task04")
    assert (longer.network.window, longer.train.steps) == ((24, 36, 24), 2000)


def test_what_a_protocol_says_that_extends_another_holds_for_every_task_too(tmp_path):
    def extended(base, text):
        path = tmp_path / "mine.toml"
        path.write_text(f'extends = "{base}"\n{text}')
        return load_protocol(str(path)).of_task("msd-task04" if base == "probe" else "msd-task01")

    assert extended("paper", "[train]\nsteps = 7").train.steps == 7
    assert extended("paper", "[train]\nbatch = 8").train.steps == 250_000
    both = "[train]\nsteps = 7\n[task_steps]\nmsd-task01 = 9"
    assert extended("paper", both).train.steps == 9
    own = "[network]\nwindow = [32, 32, 32]\n[task_steps]\nmsd-task04 = 9"
    wide = extended("probe", own)
    assert (wide.network.window, wide.train.steps) == ((32, 32, 32), 9)
    assert extended("probe", "[train]\nsteps = 7").network.window == (24, 36, 24)


def test_what_a_whole_table_asks_for_holds_for_every_task_too():
    for change, same in (
        ("train={steps=7}", "train.steps=7"),
        ("train={steps=7, batch=8}", "train.steps=7"),
    ):
        short = load_protocol("paper", [change, "train.batch=8"])
        assert short == load_protocol("paper", [same, "train.batch=8"]).model_copy(
            update={"overrides": short.overrides}
        )
        assert short.of_task("msd-task01").train.steps == 7
    wide = load_protocol("probe", ["network={window=[32,32,32]}"])
    assert wide.of_task("msd-task04").network.window == (32, 32, 32)
    others = load_protocol("paper", ["train={batch=8}", "network={features=64}"])
    assert others.of_task("msd-task01").train.steps == 250_000


def test_the_decoder_of_whole_slices_needs_whole_slices():
    with pytest.raises(UsageError, match=r"needs data\.whole_slices"):
        load_protocol("paper", ["data.whole_slices=false"])
    with pytest.raises(UsageError, match="norm belongs to decoder 'upernet'"):
        load_protocol("quick", ["network.norm=batch"])
    alone = ["network.norm=batch", "train.batch=1", "train.dice_group=1"]
    with pytest.raises(UsageError, match=r"needs train\.batch above 1"):
        load_protocol("paper", alone)
    assert load_protocol("paper", alone[1:]).train.batch == 1
    assert load_protocol("paper", [*alone, "train.batch=2"]).train.batch == 2


def test_nothing_is_asked_in_vain_of_whole_slices():
    with pytest.raises(UsageError, match="the depth alone counts"):
        load_protocol("paper", ["network.window=[5,224,224]"])
    assert load_protocol("paper", ["network.window=[7,512,512]"]).network.window == (7, 512, 512)


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


@pytest.mark.parametrize(
    "text, message",
    [
        ("summary = ", "'x.toml' is no valid TOML"),
        ("a = " + "[" * 5000, "no valid TOML"),
        ('extends = "base"\nname = "y"', "'x.toml' states a name"),
        ('extends = "base"\ncolour = 1', "colour: Extra inputs"),
        ('extends = "base"\n[train]\nstep = 1', "train.step: Extra inputs"),
        ('extends = "base"\n[train]\nsteps = 0', "train.steps: Input should be greater than 0"),
        ('extends = "base"\n[train]\nbatch = 3', "train: batch 3 is no multiple of dice_group 2"),
        ('extends = "base"\ntrain = 5', "train: Input should be"),
        ('summary = "x"', "network: Field required"),
    ],
)
def test_a_malformed_file_is_told_by_field(base, text, message):
    with pytest.raises(ConfigError) as caught:
        load_protocol(write(base, "x", text))
    assert message in str(caught.value)
    assert len(caught.value.lines()) <= 10
