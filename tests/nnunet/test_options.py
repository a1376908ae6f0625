"""What may be chosen for nnU-Net: the file, the variables, and what is refused."""

import json

import pytest

from inflate_zoo.bench.definitions.catalog import load_protocol
from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.nnunet.options import FILE, PREFIX, Options, Settings, read_options


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "Dataset104_Hippocampus"
    home.mkdir()
    return home


def write(folder, **fields):
    (folder / FILE).write_text(json.dumps(fields), encoding="utf-8")


def test_what_is_not_said_is_as_protocol_volume_has_it():
    protocol = load_protocol("volume")
    for part in (protocol.network, protocol.train):
        table = part.model_dump()
        shared = Settings.model_fields.keys() & table.keys()
        assert shared
        assert {name: getattr(Settings(), name) for name in shared} == {
            name: table[name] for name in shared
        }


def test_the_file_is_read(folder):
    write(folder, source="org/weights", decoder="linear", epochs=7, learning_rate=1)
    options = read_options(folder, {})
    assert (options.source, options.decoder, options.epochs) == ("org/weights", "linear", 7)
    assert options.learning_rate == 1.0
    assert options.settings == Settings(decoder="linear", epochs=7, learning_rate=1.0)


def test_a_variable_goes_before_the_file(folder):
    write(folder, source="org/weights", decoder="linear", epochs=7)
    environment = {
        f"{PREFIX}SOURCE": "123",  # a text, whatever it looks like
        f"{PREFIX}EPOCHS": "null",
        f"{PREFIX}LEARNING_RATE": "1e-4",
        f"{PREFIX}IMAGE_PATH": "false",
        "INFLATE_ZOO_CACHE": "elsewhere",
    }
    expected = Options(
        source="123", decoder="linear", epochs=None, learning_rate=1e-4, image_path=False
    )
    assert read_options(folder, environment) == expected


def test_variables_do_without_a_folder():
    assert read_options(None, {f"{PREFIX}SOURCE": "a"}) == Options(source="a")


def test_nothing_chosen_says_where_it_is_looked_for(folder):
    with pytest.raises(UsageError, match=r"no source in inflate_zoo\.json in 'Dataset104"):
        read_options(folder, {})
    with pytest.raises(UsageError, match="none in INFLATE_ZOO_NNUNET_SOURCE"):
        read_options(None, {f"{PREFIX}EPOCHS": "3"})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"decoder": "upernet"}, "decoder: Input should be 'unetr' or 'linear'"),
        ({"epochs": 0}, "epochs: Input should be greater than or equal to 1"),
        ({"epochs": "3"}, "epochs: Input should be a valid integer"),
        ({"layer_decay": 1.5}, "layer_decay"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"warmup_ratio": float("nan")}, "warmup_ratio"),
        ({"rate": 1}, "rate: Extra inputs are not permitted"),
        ({"source": ""}, "source"),
    ],
)
def test_a_wrong_field_is_named(folder, fields, told):
    write(folder, **{"source": "a", **fields})
    with pytest.raises(ConfigError) as raised:
        read_options(folder, {})
    assert told in str(raised.value)


def test_a_file_that_is_no_object_is_refused(folder):
    (folder / FILE).write_text("[1]", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"inflate_zoo\.json must be an object"):
        read_options(folder, {})


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("EPOCH", "3", "did you mean INFLATE_ZOO_NNUNET_EPOCHS?"),
        ("EPOCHS", "three", "holds 'three', no value as in JSON"),
        ("EPOCHS", "[" * 5000, "no value as in JSON"),
        ("EPOCHS", "[" * 500, "no value as in JSON"),
        ("DECODER", "true", "decoder: Input should be"),
    ],
)
def test_a_wrong_variable_is_named(variable, text, told):
    with pytest.raises(UsageError) as raised:
        read_options(None, {f"{PREFIX}SOURCE": "a", f"{PREFIX}{variable}": text})
    assert told in str(raised.value)
