"""Words for what a header tells."""

from inflate_zoo.errors import AccountingError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.from_header import either, leftover_lines
from tests.support.recorded import case, refused


def test_the_nearest_name_is_one_that_is_missing():
    recorded = case("vit_classifier")
    missing = "vit.encoder.layer.1.layernorm_after.weight"
    del recorded.header[missing]
    wrong = "vit.encoder.layer.0.layernorm_after.weights"  # nearer to layer 0, which is there
    recorded.header[wrong] = TensorInfo("F32", (48,))
    text = refused(recorded, AccountingError)
    assert f"left over: '{wrong}' F32 [48]; nearest known name: '{missing}'" in text


def test_many_leftovers_cost_little_time():
    recorded = case("vit")
    for index in range(20_000):
        recorded.header[f"encoder.layer.{index}.unknown"] = TensorInfo("F32", (3,))
    assert "20000 problems" in refused(recorded, AccountingError)


def test_alternatives_are_quoted_one_by_one():
    assert either(["a"]) == "'a'"
    assert either(["a", "b.c"]) == "'a' or 'b.c'"


def test_the_first_leftovers_alone_are_compared_with_the_known():
    header = {f"block.{index}.wieght": TensorInfo("F16", (2,)) for index in range(20)}
    lines = leftover_lines(list(header), header, ["block.weight"])
    near = "; nearest known name: 'block.weight'"
    assert lines[0] == f"left over: 'block.0.wieght' F16 [2]{near}"
    assert [line.endswith(near) for line in lines] == [True] * 16 + [False] * 4
    assert leftover_lines(["z"], {"z": TensorInfo("F32", ())}, ["block.weight"]) == [
        "left over: 'z' F32 []"
    ]
