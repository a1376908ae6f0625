"""A real DINOv2 checkpoint and real MRI volumes, where they are at hand beside the checkout."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import inflate_zoo

SHARED = Path(__file__).parents[3] / "shared"
CHECKPOINT = SHARED / "checkpoints" / "dinov2-vits14-saliency"
VOLUMES = SHARED / "data" / "Task04_Hippocampus" / "imagesTr"
pytestmark = [
    pytest.mark.filterwarnings("ignore:the source states no:UserWarning"),
    pytest.mark.skipif(not CHECKPOINT.is_dir(), reason="the real checkpoint is not at hand"),
]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    with pytest.warns(UserWarning, match="no license"):
        return inflate_zoo.convert(CHECKPOINT, tmp_path_factory.mktemp("real") / "out")


def test_end_to_end(converted):
    proof = json.loads((converted / "conversion.json").read_text())["verification"]
    assert proof["passed"]
    assert proof["max_error_over_rms"] < 1e-4
    assert proof["reference"].startswith("transformers")


def read_nifti(path: Path) -> np.ndarray:
    """A volume in height, width, depth order, from the bytes (NIfTI-1 header, section 'dim')."""
    import gzip

    content = gzip.decompress(path.read_bytes())
    dim = np.frombuffer(content, "<i2", 8, 40)
    code = int(np.frombuffer(content, "<i2", 1, 70)[0])
    offset = int(np.frombuffer(content, "<f4", 1, 108)[0])
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8"}[code]
    count = int(np.prod(dim[1:4]))
    return np.frombuffer(content, kind, count, offset).reshape(dim[1:4], order="F").astype("f4")


@pytest.mark.skipif(not VOLUMES.is_dir(), reason="the real volumes are not at hand")
@pytest.mark.parametrize("patch_depth", [1, 4])
def test_features_on_a_real_volume_equal_transformers_slice_by_slice(tmp_path, patch_depth):
    """One depth token per pass: each must equal the 2D network on its centre slice."""
    import transformers

    folder = inflate_zoo.convert(
        CHECKPOINT, tmp_path / "out", patch_depth=patch_depth, fold_normalization=True, verify=False
    )
    raw = read_nifti(sorted(VOLUMES.glob("*.nii.gz"))[0])
    low, high = np.percentile(raw, [0.5, 99.5])
    volume = torch.from_numpy(np.clip((raw - low) / (high - low), 0, 1)).float().permute(2, 0, 1)
    volume = torch.nn.functional.interpolate(
        volume[None, None], size=(8, 518, 518), mode="trilinear"
    )
    backbone = inflate_zoo.load(folder, volume=(patch_depth, 518, 518)).eval()
    model = transformers.Dinov2Model.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406],
                                                            [0.229, 0.224, 0.225]))  # fmt: skip
    with torch.inference_mode():
        for start in (0, 4):
            block = volume[:, :, start : start + patch_depth]
            image = block[:, :, patch_depth // 2].expand(-1, 3, -1, -1)
            expected = model((image - mean) / std).last_hidden_state
            got = backbone.forward_features(block)
            scale = expected.square().mean().sqrt()
            assert (got - expected).abs().max() / scale < 1e-4


@pytest.mark.skipif(not VOLUMES.is_dir(), reason="the real volumes are not at hand")
@pytest.mark.parametrize(
    "fields",
    [{"do_normalize": False}, {"do_rescale": False, "image_mean": [123.675] * 3}],
    ids=["not normalised", "not rescaled"],
)
def test_a_real_slice_fed_by_the_processor_of_its_files(tmp_path, fields):
    """The 3D network in [0, 1] against transformers' model behind transformers' processor."""
    import transformers

    source = tmp_path / "source"
    shutil.copytree(CHECKPOINT, source)
    size = {"do_resize": False, "do_center_crop": False, "image_std": [58.4] * 3}
    transformers.BitImageProcessor(**size, **fields).save_pretrained(source)
    folder = inflate_zoo.convert(
        source, tmp_path / "out", patch_depth=1, fold_normalization=True, verify=False
    )
    raw = read_nifti(sorted(VOLUMES.glob("*.nii.gz"))[0])
    low, high = np.percentile(raw, [0.5, 99.5])
    intensities = np.clip((raw[:, :, raw.shape[2] // 2] - low) / (high - low), 0, 1)
    slice_hw = torch.nn.functional.interpolate(
        torch.from_numpy(intensities)[None, None], size=(224, 224), mode="bilinear"
    )
    pixels = (slice_hw * 255).round().byte()
    processor = transformers.AutoImageProcessor.from_pretrained(source)
    fed = processor(pixels[0].expand(3, -1, -1), return_tensors="pt")["pixel_values"]
    backbone = inflate_zoo.load(folder, volume=(1, 224, 224)).eval()
    model = transformers.Dinov2Model.from_pretrained(source, dtype=torch.float32).eval()
    with torch.inference_mode():
        # The libraries resize tables differently: both take the one of the 3D network.
        model.embeddings.interpolate_pos_encoding = lambda *_: backbone.pos_embed
        expected = model(fed.float()).last_hidden_state
        got = backbone.forward_features(pixels.float().unsqueeze(2) / 255)
    assert (got - expected).abs().max() / expected.square().mean().sqrt() < 1e-4
