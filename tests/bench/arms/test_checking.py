"""Arms and windows that a source cannot have."""

import pytest

from inflate_zoo.bench.arms.arm_sources import parse_arm
from inflate_zoo.bench.arms.checking import require_arm
from inflate_zoo.bench.arms.resolving import FoundSources
from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import UsageError
from tests.support.checkpoints import save_swin3d, save_transformers
from tests.support.trials import VIT

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    save_transformers("vit", folder / "vit", **VIT)
    save_transformers("swin", folder / "swin", embed_dim=8, num_heads=[2, 2, 2])
    convert(folder / "swin", folder / "ready", verify=False)
    save_swin3d(folder / "video").rename(folder / "video.pth")
    return folder


@pytest.mark.parametrize(
    "text, told",
    [
        ("ready:depth_window=2", "'ready' holds converted weights: ':depth_window=2' has no use"),
        (
            "ready:depth_window=2:patch_depth=4",
            "'ready' holds converted weights: ':patch_depth=4:depth_window=2' has no use",
        ),
        ("video.pth:patch_depth=4", "'video.pth' is 3D already: ':patch_depth=4' has no use"),
        (
            "vit:patch_depth=4:depth_window=2",
            "'vit' is a network without windows: ':depth_window=2' has no use",
        ),
        ("ready:2d", "'ready' holds converted weights; '2d' needs the 2D checkpoint"),
        ("video.pth:merge_depth", "'video.pth' is 3D already: ':merge_depth' has no use"),
        ("video.pth:2d", "has one arm, as it is: ':2d' has no use"),
        (
            "vit:depth_window=2:merge_depth",
            "'vit' is a network without windows: ':depth_window=2:merge_depth' has no use",
        ),
    ],
)
def test_what_a_source_cannot_be_asked_for_is_refused(sources, tmp_path, text, told):
    with pytest.raises(UsageError) as caught:
        require_arm(parse_arm(f"{sources}/{text}"), FoundSources(tmp_path))
    assert told in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "swin:depth_window=2:merge_depth:average",
        "swin:2d",
        "ready",
        "vit:patch_depth=4",
        "swin:patch_depth=4",
    ],
)
def test_what_it_can_be_asked_for_is_not(sources, tmp_path, text):
    require_arm(parse_arm(f"{sources}/{text}"), FoundSources(tmp_path))
