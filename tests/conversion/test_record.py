"""conversion.json: one form, which is written and read."""

import json

import pytest

import inflate_zoo
from inflate_zoo.conversion.converting import convert, verify
from inflate_zoo.conversion.record import ConversionRecord, read_conversion, record_in
from inflate_zoo.errors import UsageError
from inflate_zoo.files.writing.contents import json_text
from tests.support.checkpoints import save_transformers
from tests.support.conversions import LATER, WRONG, conversion_table, early_table

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    vit = save_transformers("vit", folder / "vit")
    out = convert(vit, folder / "out", fold_normalization=True, mean=[0.5], std=[0.25])
    return vit, out, json.loads((out / "conversion.json").read_text())


def rewritten(folder, table):
    (folder / "conversion.json").write_text(json_text(table))


@pytest.fixture
def folder(made):
    _, out, table = made
    yield out
    rewritten(out, table)


@pytest.mark.parametrize("table", [conversion_table(), early_table()])
def test_what_is_read_is_written_again_to_the_byte(tmp_path, table):
    table["recipe"]["of_a_later_release"] = {"a": [1, None]}
    rewritten(tmp_path, table)
    record = read_conversion(tmp_path)
    assert record.text() == (tmp_path / "conversion.json").read_text() == json_text(table)
    assert record.as_dict() == table
    assert list(record.as_dict()) == sorted(table)


def test_what_is_written_is_what_is_read(made):
    _, out, table = made
    record = read_conversion(out)
    assert record.text() == (out / "conversion.json").read_text()
    assert record == ConversionRecord.model_validate(table)
    for part, names in LATER.items():  # whatever has a default is written all the same
        assert set(names) <= set(table[part])
    assert record.recipe.given is not None
    assert (record.recipe.given.mean, record.recipe.given.std) == ((0.5,) * 3, (0.25,) * 3)


def test_a_record_of_the_first_form_is_taken(folder, made):
    """Of release 0.2, which says neither what was taken nor who said how to feed."""
    vit, _, table = made
    early = json.loads(json.dumps(table))
    for part, names in LATER.items():
        for name in names:
            del early[part][name]
    assert early.keys() == early_table().keys()
    rewritten(folder, early)
    record = read_conversion(folder)
    assert (record.source.taken, record.source.inside, record.recipe.given) == (None, "", None)
    assert record.verification is not None
    assert record.verification.feeding == ""
    assert isinstance(inflate_zoo.load(folder), inflate_zoo.Backbone)
    verify(folder, vit)  # by what the source states


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_record_is_refused_wherever_it_is_read(folder, made, wrong):
    vit, _, table = made
    spoil, told = WRONG[wrong]
    table = json.loads(json.dumps(table))
    spoil(table)
    rewritten(folder, table)
    assert record_in(table) is None
    for read in (lambda: read_conversion(folder), lambda: verify(folder, vit)):
        with pytest.raises(UsageError, match=r"'out': conversion.json is incomplete") as caught:
            read()
        assert told in caught.value.message
        assert caught.value.hint == "convert the source again, with --force"
