"""Every network and every decoder, to every target: proved, or refused by name.

All pairs of them: `python -m tests.export_matrix`.
"""

import pytest

from inflate_zoo import Backbone, segmenter
from inflate_zoo.errors import UsageError
from inflate_zoo.exporting import exported_program, onnx_model
from inflate_zoo.exporting.graphs import capture
from inflate_zoo.exporting.targets import TARGETS
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.segmentation.decoders import DECODERS
from tests.support.checkpoints import randomize
from tests.support.exports import exported, fewer_blocks, job_of
from tests.support.networks import SMALL

PAIRS = [*((kind, None) for kind in CONFIGS), *(("inflated_vit", name) for name in DECODERS)]


@pytest.mark.parametrize(("kind", "decoder"), PAIRS)
def test_the_written_file_gives_what_the_network_gives(kind, decoder, tmp_path, monkeypatch):
    job = job_of(exported(fewer_blocks(kind), decoder))
    program = capture(job.graph)  # once for both: it takes longest
    for module in (onnx_model, exported_program):
        monkeypatch.setattr(module, "capture", lambda _: program)
    for target in ("torch-export", "onnx"):
        export = TARGETS[target](job)
        (tmp_path / target).mkdir()
        export.write(tmp_path / target)
        found = sorted(path.name for path in (tmp_path / target).iterdir())
        assert found == sorted(export.files)
        proof = export.prove(tmp_path / target)
        assert proof.error_over_rms < 1e-5
        tried = {case.split(", ")[1].split("x")[0] for case in proof.errors}
        assert tried == {"1", "3"}  # while two volumes are traced


@pytest.mark.parametrize("kind", CONFIGS.keys() - {"inflated_vit"})
def test_what_is_no_plain_vision_transformer_is_refused_by_name(kind):
    with pytest.raises(UsageError, match="is no plain vision transformer"):
        TARGETS["monai-vit"](job_of(SMALL[kind].network()))


def test_a_segmenter_of_slices_goes_to_every_target(tmp_path):
    config = fewer_blocks("inflated_vit")
    flat = config.model_copy(update={"patch_depth": 1, "volume": (1, *config.volume[1:])})
    net = randomize(Backbone(flat))
    model = randomize(segmenter(net, classes=3, decoder="linear", slice_wise=True))
    for target, kind in TARGETS.items():
        export = kind(job_of(model))
        (tmp_path / target).mkdir()
        export.write(tmp_path / target)
        assert export.prove(tmp_path / target).error_over_rms < 1e-5
