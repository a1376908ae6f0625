"""Pickles that safe loading would take, and that would cost memory or time without end."""

import pickle
import struct
import zipfile

import pytest
import torch

from inflate_zoo.errors import CheckpointError
from inflate_zoo.files.pickles import load_pickle
from tests.support.quick import within

TENSOR = "ctorch._utils\n_rebuild_tensor_v2\n"


def zipped(path, steps, data=b"\0" * 16):
    """A checkpoint as torch writes it, around a pickle of ours."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + steps + b".")
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/data/0", data)
        archive.writestr("archive/version", b"3\n")
    return path


def old_form(path, steps, data=b"\0" * 16, names=b"]" + b"X\1\0\0\0" + b"0a"):
    """A checkpoint as torch wrote it before 1.6, around pickles of ours."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    info = pickle.dumps({"little_endian": True, "protocol_version": 1001, "type_sizes": {}}, 2)
    pickles = b"".join(b"\x80\x02" + each + b"." for each in (steps, names))
    path.write_bytes(magic + info + pickles + struct.pack("<q", 4) + data)
    return path


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    data = pickle.dumps(value, 2)[2:-1]
    assert len(data) > 1
    return data


def storage(count, old=False, view=b"N"):
    view = view if old else b""
    items = text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(count)
    return b"(" + items + view + b"tQ"


def tensor(count, sizes, strides, offset=0, old=False, view=b"N"):
    shape = b"(" + b"".join(map(number, sizes)) + b"t(" + b"".join(map(number, strides)) + b"t"
    last = b"\x89ccollections\nOrderedDict\n)R"
    return (
        TENSOR.encode() + b"(" + storage(count, old, view) + number(offset) + shape + last + b"tR"
    )


def named(value):
    return b"}" + text("weight") + value + b"s"


def call(function, *arguments):
    return b"c" + function.encode() + b"\n(" + b"".join(arguments) + b"tR"


DOUBLED = b"K\x01" + b"q\x00h\x00\x86" * 60  # a tuple of 2^60 numbers


@pytest.fixture
def unread(monkeypatch):
    """Fails where torch would read what was to be refused, instead of hanging or filling memory."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch reads it"))


BOMBS = {
    "bytearray": call("builtins\nbytearray", number(1 << 33)),
    "bytearray, Python 2": call("__builtin__\nbytearray", number(1 << 33)),
    "tensor class": call("torch\nFloatTensor", number(1 << 31)),
    "tensor class, new": b"ctorch\nTensor\n(" + number(1 << 31) + b"t\x81",
    "storage class": call("torch.storage\nUntypedStorage", number(1 << 33)),
    "numpy type": call("numpy\ndtype", text("V1000000000")),
    "numpy type, filled": call("numpy\ndtype", text("f8"), b"\x89", b"\x88")
    + b"(K\x03" + text("t") + b"NJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    "tensor, filled": tensor(4, (4,), (1,)) + b"(K\x00tb",
    "codec": call("_codecs\nencode", text("\xe9" * 9), text("punycode")),
    "by way of a subclass": call(
        "torch._tensor\n_rebuild_from_type_v2",
        b"cbuiltins\nbytearray\n", b"ctorch\nTensor\n", b"(" + number(1 << 33) + b"t", b"N",
    ),
    "hash": b"}" + DOUBLED + b"K\x01s",
    "hash of a set": call("builtins\nset", b"](" + DOUBLED + b"e"),
    "steps": b"N" * 1_000_001,
    "larger than the file": tensor(1 << 40, (1 << 40,), (1,)),
}  # fmt: skip


@pytest.mark.parametrize("write", [zipped, old_form])
@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.usefixtures("unread")
def test_a_pickle_that_asks_for_the_world_is_refused(tmp_path, bomb, write):
    path = write(tmp_path / "m.pth", named(BOMBS[bomb]))
    # A second, unless coverage traces it on a busy core.
    with within(10), pytest.raises(CheckpointError, match=r"'m\.pth'"):
        load_pickle(path)


@pytest.mark.parametrize("write", [zipped, old_form])
@pytest.mark.parametrize(
    ("sizes", "strides", "offset", "fits"),
    [
        ((4,), (1,), 0, True),
        ((2, 2), (1, 2), 0, True),
        ((3,), (1,), 1, True),
        ((1000,), (0,), 0, True),  # expanded: one number
        ((5,), (1,), 0, False),
        ((4,), (1,), 1, False),
        ((2, 2), (4, 1), 0, False),
        ((1 << 28,), (1,), 0, False),
    ],
)
def test_no_tensor_is_larger_than_its_storage(tmp_path, write, sizes, strides, offset, fits):
    steps = named(tensor(4, sizes, strides, offset, old=write is old_form))
    path = write(tmp_path / "m.pth", steps)
    if fits:
        assert tuple(load_pickle(path)["weight"].shape) == sizes
    else:
        with pytest.raises(CheckpointError, match="is larger than its storage"):
            load_pickle(path)


PLAIN = named(tensor(4, (4,), (1,), old=True))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(b"](" + text("0") + DOUBLED + b"e", id="doubled"),
        pytest.param(DOUBLED, id="doubled alone"),
        pytest.param(b"]]a", id="lists"),
        pytest.param(b"N", id="none"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_names_of_storages_are_plain(tmp_path, names, request):
    """torch looks them up after it has loaded all pickles."""
    assert load_pickle(old_form(tmp_path / "right.pth", PLAIN))["weight"].shape == (4,)
    request.getfixturevalue("unread")
    path = old_form(tmp_path / "m.pth", PLAIN, names=names)
    with pytest.raises(CheckpointError, match=r"'m\.pth' is damaged"):
        load_pickle(path)


@pytest.mark.parametrize(
    ("view", "fits"),
    [
        pytest.param(b"(" + text("view") + b"K\x00K\x04t", True, id="whole"),
        pytest.param(b"(" + text("view") + b"K\x00K\x03t", False, id="small"),
        pytest.param(b"](" + text("view") + b"K\x00K\x03e", False, id="small, a list"),
        pytest.param(b"(" + text("view") + b"K\x00Nt", False, id="no size"),
        pytest.param(b"(" + DOUBLED + b"K\x00K\x04t", False, id="doubled"),
        pytest.param(b"](" + DOUBLED + b"K\x00K\x04e", False, id="doubled, a list"),
        pytest.param(b"(" + text("view") + b"t", False, id="name alone"),
    ],
)
def test_views_of_storages_are_plain(tmp_path, view, fits, request):
    path = old_form(tmp_path / "m.pth", named(tensor(4, (4,), (1,), old=True, view=view)))
    if fits:
        assert load_pickle(path)["weight"].shape == (4,)
        return
    request.getfixturevalue("unread")
    with pytest.raises(CheckpointError, match=r"'m\.pth' is damaged"):
        load_pickle(path)
