"""The originals that the proof compares with."""

import pytest

from inflate_zoo.conversion.originals import ORIGINALS
from inflate_zoo.naming.catalog import families_by_name

SCHEMES = families_by_name()


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_transformers_models_and_references_exist(scheme):
    import timm.models.vision_transformer
    import transformers

    home = transformers if scheme.library == "transformers" else timm.models.vision_transformer
    assert hasattr(home, scheme.reference)
    assert scheme.reference in ORIGINALS
