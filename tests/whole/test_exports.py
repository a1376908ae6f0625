"""Every network and every decoder, to every target: proved, or refused by name."""

import pytest

from inflate_zoo import segmenter
from inflate_zoo.errors import UsageError
from inflate_zoo.exporting.targets import TARGETS
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.segmentation.decoders import DECODERS
from tests.support.checkpoints import randomize
from tests.support.exports import job_of
from tests.support.networks import SMALL

# A plain network and a pyramid: decoders ask nothing else of a network than its levels.
DECODED = [(kind, name) for kind in ("inflated_vit", "inflated_swin") for name in DECODERS]


def decoded(kind, decoder):
    small = SMALL[kind]
    depth = small.config.patch_depth if decoder == "upernet" else small.config.volume[0]
    net = small.network((depth, *small.config.volume[1:]))
    return randomize(segmenter(net, classes=3, decoder=decoder, features=8))


def network(kind, decoder):
    return SMALL[kind].network() if decoder is None else decoded(kind, decoder)


@pytest.mark.parametrize("target", ["onnx", "torch-export"])
@pytest.mark.parametrize(("kind", "decoder"), [*((kind, None) for kind in CONFIGS), *DECODED])
def test_the_written_file_gives_what_the_network_gives(kind, decoder, target, tmp_path):
    export = TARGETS[target](job_of(network(kind, decoder)))
    export.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(export.files)
    proof = export.prove(tmp_path)
    assert proof.error_over_rms < 1e-5
    tried = {case.split(", ")[1].split("x")[0] for case in proof.errors}
    assert tried == {"1", "3"}  # while two volumes are traced


@pytest.mark.parametrize("kind", CONFIGS.keys() - {"inflated_vit"})
def test_what_is_no_plain_vision_transformer_is_refused_by_name(kind):
    with pytest.raises(UsageError, match="is no plain vision transformer"):
        TARGETS["monai-vit"](job_of(SMALL[kind].network()))


def test_a_segmenter_of_slices_goes_to_every_target(tmp_path):
    small = SMALL["inflated_vit"]
    flat = small.config.model_copy(
        update={"patch_depth": 1, "volume": (1, *small.config.volume[1:])}
    )
    for target, kind in TARGETS.items():
        net = randomize(type(small.network())(flat))
        model = segmenter(net, classes=3, decoder="unetr", features=8, slice_wise=True)
        export = kind(job_of(randomize(model)))
        (tmp_path / target).mkdir()
        export.write(tmp_path / target)
        assert export.prove(tmp_path / target).error_over_rms < 1e-5
