"""What readers of several networks ask, on recorded headers of plain vision transformers."""

import pytest

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.from_config import FromConfig, Statement
from inflate_zoo.naming.from_header import FromHeader
from inflate_zoo.naming.patterns import match_header
from inflate_zoo.naming.plan import make_plan
from inflate_zoo.naming.readers.pieces import (
    block_numbers,
    building,
    check_heads,
    disagreement,
    heads_of_width_64,
    is_there,
    require_core,
    settled,
    teller,
    tokens_of,
)
from inflate_zoo.networks.vit.config import VitForm
from tests.support.recorded import case, refused, vision

SCHEMES = families_by_name()
STEM = "embeddings.patch_embeddings.projection.weight"


def matched(kind):
    recorded = case(kind)
    family = SCHEMES[recorded.definition]
    return family, match_header(family, "", recorded.header), recorded.header


def test_a_mistyped_stem_is_listed_with_the_nearest():
    recorded = case("vit")
    recorded.header[STEM.replace("projection", "proj")] = recorded.header.pop(STEM)
    text = refused(recorded, AccountingError)
    assert f"missing: '{STEM}'" in text
    assert f"nearest known name: '{STEM}'" in text


@pytest.mark.parametrize("last", [3, 9999])
def test_a_gap_in_the_blocks_is_refused_at_once(last):
    recorded = case("dino_backbone")
    name = f"blocks.{last}.norm1.weight"
    recorded.header[name] = TensorInfo("F32", (128,))
    text = refused(recorded, AccountingError)
    assert f"the blocks go up to number {last}, but {last - 2} before it are missing" in text
    assert "missing: 'blocks.2.norm1.weight' and the others of its block" in text


@pytest.mark.parametrize("kind, section", [("vit", ""), ("clip", "vision_config.")])
def test_a_width_that_the_heads_do_not_divide_is_refused(kind, section):
    recorded = case(kind)
    vision(recorded)["num_attention_heads"] = 5
    line = f"{section}hidden_size 48 is not divisible by {section}num_attention_heads 5"
    assert line in refused(recorded, ConfigError)


def test_dinos_heads_are_64_wide_or_unknown():
    header = case("dino_backbone").header
    wide = {
        name: TensorInfo(i.dtype, tuple(100 if side == 128 else side for side in i.shape))
        for name, i in header.items()
    }
    with pytest.raises(ConfigError, match="100 wide, no multiple of 64"):
        make_plan(SCHEMES["dino"], wide, {})


def test_what_tells_of_a_piece_is_its_name_or_that_the_name_is_missing():
    family, matching, _ = matched("dino_backbone")
    assert teller(family, matching, "patch_embed.weight") == "'patch_embed.proj.weight' says"
    absent = "the absence of 'blocks.0.ls1.gamma' says"
    assert teller(family, matching, "blocks.0.ls1.gamma") == absent
    assert teller(family, matching, "no.such") == "the tensors say"


def test_blocks_are_numbered_from_0_to_the_last():
    family, matching, _ = matched("dino_backbone")
    assert block_numbers(family, matching) == range(2)


def test_the_core_is_named_as_the_source_names_it():
    family, matching, header = matched("vit")
    core = {"patch_embed.weight": 4, "norm.bias": 0}
    assert require_core(family, matching, header, core) == (STEM, "layernorm.bias")
    with pytest.raises(AccountingError, match=r"'layernorm.bias' has an unexpected shape: F32"):
        require_core(family, matching, header, {"norm.bias": 2})
    with pytest.raises(AccountingError, match="not those of hf_vit") as caught:
        require_core(family, matching, header, {"fc_norm.bias": 0, **core})
    assert caught.value.details[0].startswith("missing: ")


def test_a_piece_that_may_be_absent_is_there_where_any_tensor_of_it_is():
    family, matching, header = matched("dino_backbone")
    numbers = range(2)
    scale = "blocks.{}.ls1.gamma"
    assert not is_there(family, matching, numbers, scale)
    scaled = match_header(family, "", [*header, "blocks.1.ls1.gamma"])
    assert is_there(family, scaled, numbers, scale)
    assert not is_there(family, scaled, range(1), scale)
    bare = match_header(family, "", ["patch_embed.proj.weight"])
    assert is_there(family, bare, numbers, "norm.{wb}")  # none may lack it
    assert not is_there(family, scaled, numbers, "dist_token")  # none has it


@pytest.mark.parametrize("width, heads", [(384, 6), (1024, 16), (1536, 24), (64, 1), (48, 1)])
def test_heads_are_64_wide(width, heads):
    assert heads_of_width_64({}, width) == heads


def test_a_width_that_is_no_multiple_of_64_needs_its_architecture():
    with pytest.raises(ConfigError, match="65 wide, no multiple of 64") as caught:
        heads_of_width_64({}, 65)
    assert "--arch" in caught.value.hint


def test_heads_divide_the_width_claimed_or_that_of_the_tensors():
    statement = Statement("a.json", "look again")

    def check(values):
        check_heads(FromConfig(values, {"embed_dim": "dim", "num_heads": "heads"}), 48, statement)

    check({"num_heads": 16})
    check({"num_heads": 5, "embed_dim": 50})
    with pytest.raises(ConfigError, match=r"a\.json: dim 48 is not divisible by heads 5") as caught:
        check({"num_heads": 5})
    assert caught.value.hint == "look again"
    with pytest.raises(ConfigError, match=r"a\.json: dim 50 is not divisible by heads 16"):
        check({"num_heads": 16, "embed_dim": 50})


def test_facts_need_no_claim():
    values = {"embed_dim": 16}
    assert settled(FromHeader(values, {}), FromConfig({}, {})) == values


def test_a_form_that_cannot_be_is_told_with_its_fields():
    statement = Statement("config.json", "see the card")
    with (
        pytest.raises(ConfigError, match="the source describes no thing that can be") as caught,
        building("thing", statement),
    ):
        VitForm(embed_dim="wide")
    assert "embed_dim" in "".join(caught.value.details)
    assert caught.value.hint == "is the file complete? see the card"


def test_an_image_holds_whole_patches_alone():
    assert tokens_of((30, 64), (8, 16)) == (3, 4)
    assert tokens_of((4, 64), (8, 0)) == (0, 64)


def test_a_disagreement_names_what_states_it_and_what_to_do():
    statement = Statement("weights.json", "mend weights.json")
    told = disagreement(statement, "one is 3, the other 4", "and more")
    assert told.message == "weights.json and the tensors disagree"
    assert told.details == ("one is 3, the other 4", "and more")
    assert told.hint == "mend weights.json"


@pytest.mark.parametrize("width", [1280, 1408, 1664, 2048])
def test_a_width_that_others_are_published_at_needs_its_architecture(width):
    with pytest.raises(ConfigError, match=f"{width} wide, which no published model") as caught:
        heads_of_width_64({}, width)
    assert "--arch" in caught.value.hint
