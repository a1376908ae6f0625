"""The readers of all networks, by what a definition calls them: `network`."""

from inflate_zoo.naming.readers.aimv2 import AIMV2
from inflate_zoo.naming.readers.beit import BEIT
from inflate_zoo.naming.readers.dinov3 import DINOV3
from inflate_zoo.naming.readers.eva02 import EVA02
from inflate_zoo.naming.readers.hiera import HIERA
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.naming.readers.sam import SAM
from inflate_zoo.naming.readers.swin import SWIN
from inflate_zoo.naming.readers.swinv2 import SWINV2
from inflate_zoo.naming.readers.video_swin import VIDEO_SWIN
from inflate_zoo.naming.readers.vit import VIT

READERS: dict[str, Reader] = {
    "vit": VIT,
    "beit": BEIT,
    "dinov3": DINOV3,
    "eva02": EVA02,
    "swin": SWIN,
    "swinv2": SWINV2,
    "video_swin": VIDEO_SWIN,
    "aimv2": AIMV2,
    "sam": SAM,
    "hiera": HIERA,
}
