"""Ways to spoil a file: its bytes, the tree in it, the lines of its text."""
# ruff: noqa: E501 - its tables

import copy
import json
from random import Random

NUMBERS = [0, 1, -1, 2, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 53, (1 << 63) - 1, 1 << 63,
           1 << 64, -(1 << 63), 10**400, 0.5, -0.0, 1e-300, 1e308, float("inf"), float("nan")]  # fmt: skip
TEXTS = ["", "\0", "a" * 3000, "../x", "/etc/passwd", "C:\\x", "\\\\host\\x", "\ud800", "a\nb", "\u202e",
         "<img onerror>", "=1+1", "none", "12", "inf", "a.b", "{}", "{a,b}", "*", "\U0001f600"]  # fmt: skip


def _deep(kind, levels=120):
    value = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


def odd(random: Random, most=1000):
    """A value that does not belong there, `most` times in a list."""
    kind = random.randrange(8)
    if kind < 3:
        return random.choice(NUMBERS)
    if kind < 5:
        return random.choice(TEXTS)
    if kind == 5:
        return random.choice([None, True, False])
    many = min(most, random.choice([2, 3, 5, 1000]))
    plain = [
        [],
        {},
        [[]],
        [{}],
        {"": 0},
        {"a": 1},
        [odd(random, 2)] * many,  # a thousand thousands would be beyond any memory
        _deep("list"),
        _deep("map"),
    ]
    return copy.deepcopy(random.choice(plain))


def _places(value, path=()):
    found = [path]
    if isinstance(value, dict):
        found += [p for key, inner in value.items() for p in _places(inner, (*path, key))]
    elif isinstance(value, list):
        found += [p for i, inner in enumerate(value[:50]) for p in _places(inner, (*path, i))]
    return found


def spoil_tree(random: Random, value):
    """Change a few places of a JSON value: another value, a missing, doubled or foreign field."""
    value = copy.deepcopy(value)
    for turn in range(random.choice([1, 1, 1, 2, 4])):
        path = random.choice(_places(value))
        if not path:
            value = odd(random) if random.random() < 0.05 else value
            continue
        outer = value
        for key in path[:-1]:
            outer = outer[key]
        key, kind = path[-1], random.randrange(10)
        if kind < 6:
            outer[key] = odd(random)
        elif kind == 6:
            del outer[key]
        elif kind == 7 and isinstance(outer, dict):
            outer[random.choice(TEXTS)] = outer[key]
        elif kind == 8 and isinstance(outer, dict):
            outer[str(random.choice(NUMBERS))] = odd(random)
        elif isinstance(outer, list):
            # Once: doubled in one another, they would be beyond any memory.
            outer += [copy.deepcopy(outer[key])] * (1 if turn else random.choice([1, 2, 300]))
        elif isinstance(outer[key], int | float) and abs(outer[key]) < 1e300:
            outer[key] += random.choice([1, -1, 0.5])
    return value


def json_of(random: Random, value) -> bytes:
    """A spoilt tree as JSON, at times with spoilt bytes."""
    content = json.dumps(spoil_tree(random, value)).encode("utf-8", "surrogatepass")
    return spoil_bytes(random, content) if random.random() < 0.2 else content


def spoil_bytes(random: Random, data: bytes) -> bytes:
    """Flip, cut, double or replace a few bytes."""
    spoilt = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 4, 16])):
        place = random.randrange(len(spoilt) + 1)
        kind = random.randrange(7)
        if kind == 0 and place < len(spoilt):
            spoilt[place] ^= 1 << random.randrange(8)
        elif kind == 1 and place < len(spoilt):
            spoilt[place] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
        elif kind == 2:
            del spoilt[place : place + random.choice([1, 4, 100, len(spoilt)])]
        elif kind == 3:
            width = random.choice([1, 2, 4, 8])
            number = random.choice(NUMBERS[:15]) % (1 << 8 * width) if width else 0
            order = random.choice(["little", "big"])
            spoilt[place : place + width] = number.to_bytes(width, order)
        elif kind == 4:
            piece = spoilt[place : place + random.choice([1, 8, 64])]
            spoilt[place:place] = piece * random.choice([1, 2, 100])
        elif kind == 5:
            other = random.randrange(len(spoilt) + 1)
            spoilt[place : place + 8] = spoilt[other : other + 8]
        else:
            spoilt[place:place] = random.randbytes(random.choice([1, 3, 20]))
    return bytes(spoilt)


def spoil_text(random: Random, text: str, words: list[str]) -> bytes:
    """Replace values, lines and signs of a text by `words` and odd values."""
    lines = text.split("\n")
    for _ in range(random.choice([1, 1, 2, 4])):
        place, kind = random.randrange(len(lines)), random.randrange(6)
        word = random.choice(words)
        if kind == 0:
            sign = "=" if "=" in lines[place] else ":"
            name, found, _ = lines[place].partition(sign)
            lines[place] = f"{name}{found} {word}"
        elif kind == 1:
            lines.insert(place, word)
        elif kind == 2:
            lines[place:place] = [lines[place]] * random.choice([1, 2, 500])
        elif kind == 3 and len(lines) > 1:
            del lines[place]
        elif kind == 4:
            at = random.randrange(len(lines[place]) + 1)
            lines[place] = lines[place][:at] + word + lines[place][at:]
        else:
            other = random.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return spoil_bytes(random, content) if random.random() < 0.15 else content
