"""What type checkers know of what `load` gives: mypy reads it in `.ci/run`, and nothing runs it."""

from pathlib import Path
from typing import assert_type

import inflate_zoo
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.segmentation.segmenter import Segmenter


def each_kind(folder: Path) -> None:
    """With a kind it is that one, without one either."""
    assert_type(inflate_zoo.load(folder), Backbone | Segmenter)
    assert_type(inflate_zoo.load(folder, volume=(4, 8, 8), device="cuda"), Backbone | Segmenter)
    assert_type(inflate_zoo.load("zoo-name", kind="backbone"), Backbone)
    assert_type(inflate_zoo.load(folder, kind="segmenter", dtype="float16"), Segmenter)
    backbone = inflate_zoo.load(folder, kind="backbone", dynamic_img_size=True)
    assert_type(inflate_zoo.segmenter(backbone, classes=2).backbone, Backbone)
