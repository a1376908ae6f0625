"""How much of each kind is taken from strangers: one table, so that no reader has its own.

Sizes are in bytes. What is larger is refused before it is read, by its size and by counting the
signs that make a parser build something; real files stay far below.
"""

from types import MappingProxyType
from typing import Literal

Kind = Literal["config", "index", "dataset", "record", "note"]

MB = 1_000_000

SAFETENSORS_HEADER = 25 * MB  # 200 bytes a tensor: a hundred thousand of them
JSON_BYTES = MappingProxyType[Kind, int](
    {
        "config": 8 * MB,  # 21,841 labels, there and back, are 1.7 MB
        "index": 25 * MB,
        "dataset": 25 * MB,
        "record": 64 * MB,  # every score of ten thousand cases
        "note": 64 * 1024,  # a few fields: who works on a trial, what one case is
    }
)
JSON_VALUES = 1_000_000  # an empty object takes 64 bytes, one with a field three times as much
JSON_DEPTH = 64
TOML_BYTES = 256 * 1024
TOML_DOTS = 2_000  # a dotted key takes the parser time with the square of its parts
FRONT_MATTER_BYTES = 64 * 1024
PATTERN_CHARACTERS, PATTERN_REPEATS, PATTERN_UNBOUNDED = 200, 8, 3
MEMORY_LINE = 32 * 1024  # a path, each sign of it six in JSON, and a digest
PICKLE_BYTES = 25 * MB  # beside its tensors
PICKLE_STEPS = 1_000_000  # a second
PICKLE_WORK = 10_000_000  # values hashed
ARCHIVE_MEMBERS = 250_000

# Greatest numbers in definitions, above any real one.
LEAST_MM, MOST_MM = 1e-6, 1e3
MOST_INTENSITY = 1e9
MOST_FACTOR = 1e30  # of a rate, a weight, a norm: float32 holds it
MOST_PIXELS = 4096  # of a side
MOST_STEPS = 1_000_000_000
MOST_WINDOWS = 1_000_000
MOST_CASES = 10_000_000
MOST_WIDTH = 65_536
MOST_BLOCKS = 1_000
MOST_SIDE = 1 << 20  # of a volume, in voxels
MOST_TOKENS = 1 << 24  # of a volume
MOST_LETTERS = 10_000  # of a text in a definition
