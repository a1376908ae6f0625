"""Words for what a header tells."""

from inflate_zoo.errors import AccountingError
from inflate_zoo.files.header import TensorInfo
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
