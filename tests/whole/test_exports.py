"""Networks and decoders to every target: proved, or refused by name.

All pairs of them, to ONNX as well: `python -m tests.export_matrix`, which takes minutes.
"""

import pytest

from inflate_zoo import Backbone, segmenter
from inflate_zoo.errors import UsageError
from inflate_zoo.exporting.targets import TARGETS
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.segmentation.decoders import DECODERS
from tests.support.checkpoints import randomize
from tests.support.exports import exported, fewer_blocks, job_of
from tests.support.networks import SMALL

# What the exporters are given is captured alike, with any number of volumes.
PAIRS = [*((kind, None) for kind in CONFIGS), *(("inflated_vit", name) for name in DECODERS)]


@pytest.mark.parametrize(("kind", "decoder"), PAIRS)
def test_the_written_program_gives_what_the_network_gives(kind, decoder, tmp_path):
    prove("torch-export", job_of(exported(fewer_blocks(kind), decoder)), tmp_path)


@pytest.mark.parametrize("kind", ["inflated_vit", "inflated_dinov3"])
def test_the_written_model_does(kind, tmp_path):
    prove("onnx", job_of(exported(fewer_blocks(kind), None)), tmp_path)


def prove(target, job, folder):
    export = TARGETS[target](job)
    export.write(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(export.files)
    proof = export.prove(folder)
    assert proof.error_over_rms < 1e-5
    tried = {case.split(", ")[1].split("x")[0] for case in proof.errors}
    assert tried == {"1", "3"}  # while two volumes are traced


@pytest.mark.parametrize("kind", sorted(CONFIGS.keys() - {"inflated_vit"}))
def test_what_is_no_plain_vision_transformer_is_refused_by_name(kind):
    with pytest.raises(UsageError, match="is no plain vision transformer"):
        TARGETS["monai-vit"](job_of(SMALL[kind].network()))


def test_a_segmenter_of_slices_takes_any_depth(tmp_path):
    config = fewer_blocks("inflated_vit")
    flat = config.model_copy(update={"patch_depth": 1, "volume": (1, *config.volume[1:])})
    net = randomize(Backbone(flat))
    model = randomize(segmenter(net, classes=3, decoder="linear", slice_wise=True))
    for target in ("torch-export", "monai-vit"):
        export = TARGETS[target](job_of(model))
        (tmp_path / target).mkdir()
        export.write(tmp_path / target)
        assert export.prove(tmp_path / target).error_over_rms < 1e-5
