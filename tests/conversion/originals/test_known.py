"""What builds the original of each class."""

import pytest

from inflate_zoo.conversion.originals.known import ORIGINALS
from inflate_zoo.naming.catalog import families_by_name

SCHEMES = families_by_name()


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_transformers_models_and_references_exist(scheme):
    import timm.models.hiera
    import timm.models.hieradet_sam2
    import torchvision.models.video.swin_transformer
    import transformers

    home = transformers if scheme.library == "transformers" else timm.models
    if scheme.dimensions == 3:
        home = torchvision.models.video.swin_transformer
    if scheme.network == "hiera" and scheme.library != "transformers":
        plain = scheme.reference == "Hiera"
        home = timm.models.hiera if plain else timm.models.hieradet_sam2
    assert hasattr(home, scheme.reference)
    assert scheme.reference in ORIGINALS
