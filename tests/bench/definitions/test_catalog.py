"""Definitions by name and by path; what is wrong with one is told by field."""

import tomllib
from pathlib import Path

import pytest
from monai.apps.datasets import DecathlonDataset

from inflate_zoo.bench.definitions import catalog
from inflate_zoo.bench.definitions.catalog import load_protocol, load_suite, load_task
from inflate_zoo.bench.definitions.protocols import Protocol
from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.files.locations import data_folder
from tests.support.definitions import BASE, write


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A stand-in for the bundled folders."""
    monkeypatch.setattr(catalog, "data_folder", lambda kind: tmp_path / "bundled" / kind)
    folder = tmp_path / "bundled" / "benchmarks" / "protocols"
    folder.mkdir(parents=True)
    (folder / "volume.toml").write_text(BASE)
    return folder


def test_the_bundled_task_is_found_and_agrees_with_monai():
    task = load_task("msd-task04")
    assert (task.name, task.modality) == ("msd-task04", "MRI")
    assert task.values == (0, 1, 2)
    assert task.address == DecathlonDataset.resource["Task04_Hippocampus"]
    assert task.checksum == f"md5:{DecathlonDataset.md5['Task04_Hippocampus']}"


@pytest.mark.parametrize(
    "load, kind", [(load_task, "tasks"), (load_protocol, "protocols"), (load_suite, "suites")]
)
def test_every_bundled_definition_is_sound(load, kind):
    for path in data_folder(f"benchmarks/{kind}").glob("*.toml"):
        assert load(path.stem).name == path.stem


def test_an_unknown_name_gets_a_suggestion(bundled):
    with pytest.raises(UnknownNameError, match="no protocol named 'volum'") as caught:
        load_protocol("volum")
    assert caught.value.hint == "did you mean 'volume'?"
    with pytest.raises(UnknownNameError, match="no suite named"):
        load_suite("volume")
    with pytest.raises(UnknownNameError, match="no task named"):
        load_task("zzz")


def test_a_path_is_read_and_named_after_the_file(base):
    protocol = load_protocol(str(base))
    assert (protocol.name, protocol.train.steps) == ("base", 100)
    suite = write(base, "s", 'summary = "x"\nsources = ["a/b"]\nschemes = ["center"]')
    assert load_suite(suite).sources == ("a/b",)


def test_extends_merges_tables_and_replaces_lists(base):
    path = write(base, "next", 'extends = "base"\ndeviations = ["three"]\n[train]\nsteps = 7')
    last = write(base, "last", 'extends = "next"\n[data]\nspacing = [2, 1, 1]\n[train]\nbatch = 2')
    first, second = load_protocol(path), load_protocol(last)
    assert (first.train.steps, first.train.batch, first.deviations) == (7, 4, ("three",))
    assert (second.train.steps, second.train.batch, second.data.spacing) == (7, 2, (2, 1, 1))
    assert second.name == "last"
    assert second.network == load_protocol(str(base)).network


def test_extends_finds_a_bundled_protocol_of_the_same_name(bundled, tmp_path):
    (tmp_path / "volume.toml").write_text('extends = "volume"\n[train]\nsteps = 3')
    assert load_protocol(str(tmp_path / "volume.toml")).train.steps == 3
    assert load_protocol("volume").train.steps == 100


@pytest.mark.parametrize("ending", ["", ".toml"])
def test_extends_takes_the_file_beside_before_a_bundled_one(bundled, tmp_path, ending):
    (tmp_path / "volume.toml").write_text('extends = "volume"\n[train]\nsteps = 3')
    (tmp_path / "mine.toml").write_text(f'extends = "volume{ending}"\n[train]\nbatch = 2')
    found = load_protocol(str(tmp_path / "mine.toml"))
    assert (found.train.steps, found.train.batch) == (3, 2)
    (tmp_path / "last.toml").write_text(f'extends = "mine{ending}"')
    assert load_protocol(str(tmp_path / "last.toml")).train == found.train


def test_a_circle_is_refused(base):
    write(base, "a", 'extends = "b"')
    write(base, "b", 'extends = "c"')
    with pytest.raises(ConfigError, match="in a circle: a > b > c > a"):
        load_protocol(write(base, "c", 'extends = "a"').replace("c.toml", "a.toml"))


@pytest.mark.parametrize("value", ["5", '"../base"', '"../base.toml"', '"nowhere"', '""'])
def test_a_base_that_is_not_there_is_refused(base, value):
    with pytest.raises(UsageError, match=r"extends is no name|no protocol named"):
        load_protocol(write(base, "x", f"extends = {value}"))


def test_a_file_that_is_no_text_or_absent_is_refused(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no valid TOML"):
        load_task(str(tmp_path / "x.toml"))
    with pytest.raises(UsageError, match=r"'y\.toml' cannot be read"):
        load_task(str(tmp_path / "y.toml"))


@pytest.mark.parametrize(
    "override, field, value",
    [
        ("train.steps=500", "train.steps", 500),
        (" train.learning_rate = 1e-4", "train.learning_rate", 1e-4),
        ("network.decoder=linear", "network.decoder", "linear"),
        ('network.decoder="linear"', "network.decoder", "linear"),
        ("loss.background=true", "loss.background", True),
        ("loss.background=True", "loss.background", True),
        ("network.freeze=False", "network.freeze", False),
        ("train.weight_decay=.5", "train.weight_decay", 0.5),
        ("train.weight_decay=2.", "train.weight_decay", 2),
        ("summary=-", "summary", "-"),
        ("data.spacing=[1,0.5,0.5]", "data.spacing", (1, 0.5, 0.5)),
        ("data.spacing=task", "data.spacing", "task"),
        ("network.patch_depth=4", "network.patch_depth", 4),
        ("network.window=[4,8,8]", "network.window", (4, 8, 8)),
        ('deviations=["none"]', "deviations", ("none",)),
        ("summary=two words", "summary", "two words"),
        ("summary=a=b", "summary", "a=b"),
        ("backbone=someone/else", "backbone", "someone/else"),
    ],
)
def test_overrides(base, override, field, value):
    found = load_protocol(str(base), [override])
    unchanged = load_protocol(str(base))
    assert found.overrides == ((override,) if found.name != unchanged.name else ())
    found = found.model_copy(update={"name": unchanged.name, "overrides": ()})
    *tables, last = field.split(".")
    for table in tables:
        found, unchanged = getattr(found, table), getattr(unchanged, table)
    assert getattr(found, last) == value
    changed = unchanged.model_copy(update={last: value})
    assert found == changed


def test_later_settings_as_all_was_before_change_no_name_and_no_file(base):
    plain = load_protocol(str(base), ["train.steps=5"])
    said = load_protocol(str(base), ["train.steps=5", "network.image_path=true"])
    assert said.name == plain.name
    written = plain.model_dump_json()
    assert "image_path" not in written
    assert "random_learning_rate" not in written
    changed = load_protocol(str(base), ["network.image_path=false", "train.random_learning_rate=1"])
    assert Protocol.model_validate_json(changed.model_dump_json()) == changed
    assert not changed.network.image_path
    assert changed.train.random_learning_rate == 1
    none = load_protocol(str(base), ["network.image_path=false"])
    assert none.name not in (plain.name, changed.name, "base")
    # Other decoders have no image path to leave out: it is the same protocol.
    both = (["network.decoder=linear", f"network.image_path={path}"] for path in ("true", "false"))
    assert len({load_protocol(str(base), changes).name for changes in both}) == 1


def test_the_wording_of_deviations_changes_no_name(base):
    named = load_protocol(str(base), ["train.steps=5"]).name
    text = base.read_text(encoding="utf-8")
    assert '"two"' in text
    base.write_text(text.replace('"two"', '"two, in other words"'), encoding="utf-8")
    assert load_protocol(str(base), ["train.steps=5"]).name == named


def test_the_last_override_counts_and_tables_are_merged(base):
    protocol = load_protocol(
        str(base),
        ["train.steps=5", "train.steps=6", 'data.intensity={rule="window", low=0, high=1}',
         "data.intensity.high=3", "train.batch=3", "train.dice_group=3"],
    )  # fmt: skip
    assert protocol.train.steps == 6
    assert protocol.data.intensity.high == 3
    assert protocol.train.batch == 3


@pytest.mark.parametrize(
    "override, message, hint",
    [
        ("train.step=5", "no field 'train.step'", "did you mean 'train.steps'?"),
        ("steps=5", "no field 'steps'", "did you mean 'train.steps'?"),
        ("data.spacings=5", "no field", "did you mean 'data.spacing'?"),
        ("name=mine", "no field 'name'", ""),
        ("qqqqqqqq=5", "no field 'qqqqqqqq'", "known: augment, "),
        ("train.steps", "is no key=value", "--set train.steps=500"),
        ("train.steps=", "is no key=value", "--set train.steps=500"),
        ("train.steps=many", "train.steps: Input should be a valid integer", "--set"),
        ("train.steps=true", "train.steps: Input should be a valid integer", "--set"),
        ("train.steps=True", "train.steps: Input should be a valid integer", "--set"),
        ('train.steps="50"', "train.steps: Input should be a valid integer", "--set"),
        ("train.clip=true", "train.clip: Input should be a valid number", "--set"),
        ("network.freeze=1", "network.freeze: Input should be a valid boolean", "--set"),
        ("network.freeze=yes", "network.freeze: Input should be a valid boolean", "--set"),
        ('task_steps={t="5"}', "task_steps.t: Input should be a valid integer", "--set"),
        ("network.window=[true,8,8]", "network.window.0: Input should be", "--set"),
        ("train.steps=1.5", "train.steps: Input should be a valid integer", "--set"),
        ("train.steps=1\nbatch=2", "train.steps: Input should be a valid integer", "--set"),
        ("data.spacing=[1,2]", "way\n  data.spacing.2: Field required\ncorrect", "--set"),
        ("data.spacing=fine", "data.spacing: Input should be 'task'", "--set"),
        ("network.decoder=unet", "network.decoder: Input should be 'unetr', 'linear' or", "--set"),
        ("train=5", "train: Input should be a valid dictionary", "--set"),
        ("train.batch=3", "train: batch 3 is no multiple of dice_group 2", "--set"),
        (
            "loss={dice=0, cross_entropy=0, focal=0}",
            "loss: dice, cross_entropy and focal are",
            "--set",
        ),
        ("augment.zoom=[1.2, 0.8]", "augment: zoom [1.2, 0.8] begins with the greater", "--set"),
        ("augment.gamma=[2, 1]", "augment: gamma [2, 1] begins with the greater", "--set"),
    ],
)
def test_overrides_that_do_not_fit(base, override, message, hint):
    with pytest.raises(UsageError) as caught:
        load_protocol(str(base), [override])
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert len(caught.value.lines()) <= 10


def test_every_key_of_a_protocol_can_be_overridden(base):
    table = tomllib.loads(Path(base).read_text())
    keys = set(catalog._keys(catalog.Protocol))
    for name, value in table.items():
        assert name in keys
        if isinstance(value, dict):
            assert {f"{name}.{field}" for field in value} <= keys
    assert {"data.spacing", "data.intensity.low", "name"} <= keys


def test_a_changed_protocol_has_a_name_of_its_own(base):
    names = [load_protocol(str(base), sets).name for sets in (
        [], ["train.steps=7"], ["train.steps=8"], ["train.steps=7", "train.clip=4.5"],
    )]  # fmt: skip
    assert len(set(names)) == 4
    steps = load_protocol(str(base)).train.steps
    assert load_protocol(str(base), [f"train.steps={steps}"]) == load_protocol(str(base))
    assert load_protocol(str(base), ["train.clip=4.5", "train.steps=7"]).name == names[3]
