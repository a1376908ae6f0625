"""What a pickle would build, followed step by step without building any of it.

`torch.load(weights_only=True)` runs no code, but some of the few calls it allows take what they
are told: `bytearray(10**12)`, `torch.FloatTensor(10**12)`, a tensor a thousand times its storage,
a key of tuples in tuples that takes years to hash. Here every step is followed on stand-ins, with
a list of calls of our own, narrower than torch's, and with budgets; only then torch reads the file.
"""

from __future__ import annotations

import re
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from inflate_zoo.files import budgets
from inflate_zoo.files.foreign import BudgetError

_ITEM_BYTES = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2,
               "Char": 1, "Byte": 1, "Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8, "QInt32": 4,
               "QInt8": 1, "QUInt8": 1, "QUInt4x2": 1, "QUInt2x4": 1, "Untyped": 1}  # fmt: skip
_STORAGE = re.compile(r"torch(?:\.cuda|\.storage)?\.(\w+)Storage")
_REBUILT = re.compile(r"torch\._utils\._rebuild_\w+")
_VALUES = re.compile(
    r"torch\.(?:(?:\w+\.)?\w+Storage|(?:\w+\.)?\w*Tensor|bool|per_\w+"
    r"|(?:bfloat|bits|complex|float|int|qint|quint|uint)\d\w*)"
)
_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_CALLS = frozenset({
    "collections.OrderedDict", "collections.Counter", "torch.nn.parameter.Parameter", "torch.Size",
    "torch.serialization._get_layout", "torch.device", "_codecs.encode", "builtins.bytearray",
    "builtins.set", "builtins.complex", "torch._tensor._rebuild_from_type_v2",
    "argparse.Namespace", "numpy.dtype", *_SCALARS,
})  # fmt: skip
_PLAIN_CODECS = ("latin1", "latin-1", "ascii", "utf-8", "utf8")
_DTYPE = re.compile(r"[?bBhHiIlLqQefd]|[biuf][1248]")
_PLAIN_TYPE = (3, None, None, None, -1, -1, 0)  # its state, without its order of bytes
_NUMPY_TYPE = re.compile(r"numpy\.dtypes\.\w+|numpy\.dtype\[\w+\]")


class ForbiddenError(ValueError):
    """A global, or a call of one, that is not on the list."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name.removeprefix("builtins.")


class UnknownStepError(ValueError):
    """An instruction that safe loading does not know."""

    def __init__(self, code: int) -> None:
        super().__init__(f"instruction {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(frozen=True, slots=True)
class _Built:
    by: str


@dataclass(frozen=True, slots=True)
class _Storage:
    bytes: int
    item: int


@dataclass(frozen=True, slots=True)
class _Tuple:
    items: tuple[Any, ...]
    weight: int  # values in it, those of inner tuples too, as often as they are named


def _tuple(items: tuple[Any, ...]) -> _Tuple:
    return _Tuple(items, min(1 + sum(map(_weight, items)), budgets.PICKLE_WORK + 1))


def _weight(value: Any) -> int:
    return value.weight if isinstance(value, _Tuple) else 1


def follow(data: bytes, position: int = 0, *, room: int) -> int:
    """Follow one pickle to its end.

    Args:
        data: Holds it.
        position: Where it begins.
        room: Bytes that its storages may take together: those of the file.

    Returns:
        Where it ends.

    Raises:
        ForbiddenError: It needs a global that is not on the list, or calls one in an odd way.
        UnknownStepError: It has an instruction that torch's safe loading refuses.
        BudgetError: It asks for more than its file holds, or takes too many steps.
    """
    return _Machine(data, position, room).run()


def follow_names(data: bytes, position: int, *, room: int) -> int:
    """Follow the pickle of a list of storages' names, which torch looks up; otherwise `follow`.

    Raises:
        ValueError: It is no list of names.
    """
    machine = _Machine(data, position, room)
    end = machine.run()
    names = machine.stack.pop()
    if not isinstance(names, list) or not all(map(_is_name, names)):
        raise ValueError("its storages have no list of names")
    return end


def _is_name(value: Any) -> bool:
    """Of a storage: tuples in tuples would take years to look up."""
    return isinstance(value, str | int)


@dataclass
class _Machine:
    data: bytes
    position: int
    room: int
    stack: list[Any] = field(default_factory=list)
    marked: list[list[Any]] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)
    storages: dict[Any, int] = field(default_factory=dict)
    work: int = 0

    def run(self) -> int:
        for _ in range(budgets.PICKLE_STEPS):
            (code,) = self.take(1)
            if code == _STOP:
                return self.position
            if (step := _STEPS.get(code)) is None:
                raise UnknownStepError(code)
            step(self)
        raise BudgetError(f"it takes more than {budgets.PICKLE_STEPS:,} steps to load")

    def take(self, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            raise EOFError
        self.position += count
        return taken

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self.data.index(b"\n", self.position)
        text = self.data[self.position : end].decode("utf-8")
        self.position = end + 1
        return text

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def hash(self, *keys: Any) -> None:
        self.work += sum(map(_weight, keys))
        if self.work > budgets.PICKLE_WORK:
            raise BudgetError("its keys are tuples in tuples, which takes for ever to compare")

    def named(self) -> None:
        module, name = self.line(), self.line()
        # Python 2's names, as torch takes them too.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        name = f"{module}.{name}"
        plain = name in _CALLS or _REBUILT.fullmatch(name) or _NUMPY_TYPE.fullmatch(name)
        if not plain and not _VALUES.fullmatch(name):
            raise ForbiddenError(name)
        self.push(_Global(name))

    def call(self) -> None:
        arguments = self.stack.pop()
        function = self.stack.pop()
        self.push(self.result(function, arguments))

    def result(self, function: Any, arguments: Any) -> Any:
        """What a call gives; refuses one that is not on the list."""
        if not isinstance(function, _Global) or not isinstance(arguments, _Tuple):
            raise ForbiddenError(getattr(function, "by", type(function).__name__))
        name, items = function.name, arguments.items
        if _REBUILT.fullmatch(name):
            self.fits(items)
            return _Built(name)
        if name == "torch._tensor._rebuild_from_type_v2":
            return self.result(items[0], items[2])
        if name not in _CALLS and not _NUMPY_TYPE.fullmatch(name):
            raise ForbiddenError(name)
        first = items[0] if items else None
        if name == "torch.Size" and isinstance(first, _Tuple):
            return first
        odd = {
            "builtins.bytearray": type(first) is int,
            "_codecs.encode": items[1:] and items[1] not in _PLAIN_CODECS,
            "numpy.dtype": not (
                isinstance(first, str)
                and _DTYPE.fullmatch(first)
                and all(isinstance(flag, bool | int) for flag in items[1:])
            ),
        }
        if odd.get(name) or (name in _SCALARS and len(items) != 2):
            raise ForbiddenError(name)
        for values in items:
            inner = values if isinstance(values, list) else [values]
            self.hash(*inner)
        return _Built(name)

    def fits(self, items: tuple[Any, ...]) -> None:
        """Refuse a tensor that is larger than its storage: torch would make the storage larger."""
        if len(items) < 4 or not isinstance(items[0], _Storage):
            return
        storage, offset, sizes, strides = items[:4]
        if not (isinstance(sizes, _Tuple) and isinstance(strides, _Tuple)):
            return
        numbers = (offset, *sizes.items, *strides.items)
        if not all(isinstance(number, int) for number in numbers):
            return
        steps = zip(sizes.items, strides.items, strict=False)
        last = offset + sum((size - 1) * stride for size, stride in steps)
        if all(sizes.items) and (last + 1) * storage.item > storage.bytes:
            raise BudgetError(f"a tensor {list(sizes.items)} is larger than its storage"[:200])

    def storage(self) -> None:
        key = self.stack.pop()
        if not isinstance(key, _Tuple):
            raise UnknownStepError(ord("Q"))
        kind, name, count = key.items[1], key.items[2], key.items[4]
        found = _STORAGE.fullmatch(kind.name) if isinstance(kind, _Global) else None
        item = _ITEM_BYTES.get(found.group(1), 1) if found else 1
        if type(count) is not int or count < 0 or not _is_name(name):
            raise ValueError("a storage has no size or no name")
        if name not in self.storages:
            self.storages[name] = count * item
            self.room -= count * item
        if self.room < 0:
            raise BudgetError("its storages are larger than the file")
        held = self.storages[name]
        if (view := key.items[5] if len(key.items) > 5 else None) is not None:
            view_name, _, size = view.items if isinstance(view, _Tuple) else (None,) * 3
            if type(size) is not int or not _is_name(view_name):
                raise ValueError("a view of a storage has no size or no name")
            held = min(held, size * item)
        self.push(_Storage(held, item))

    def build(self) -> None:
        """Fill an object; numpy crashes on the wrong state, and torch makes a storage larger."""
        state = self.stack.pop()
        target = self.stack[-1]
        by = target.by if isinstance(target, _Built) else type(target).__name__
        if by == "numpy.dtype" or _NUMPY_TYPE.fullmatch(by):
            items = state.items if isinstance(state, _Tuple) else ()
            right = items[:1] + items[2:] == _PLAIN_TYPE and items[1] in ("<", ">", "=", "|")
        else:
            right = by in ("argparse.Namespace", "collections.OrderedDict")
        if not right:
            raise ForbiddenError(by)

    def put(self, index: int) -> None:
        self.memory[index] = self.stack[-1]

    def append(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def text(self, form: str) -> str:
        return self.take(self.number(form)).decode("utf-8", "surrogatepass")


def _put_since_mark(machine: _Machine) -> None:
    machine.push(_tuple(tuple(machine.since_mark())))


def _mark(machine: _Machine) -> None:
    machine.marked.append(machine.stack)
    machine.stack = []


def _last(count: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        items = tuple(machine.stack[-count:])
        if len(items) < count:
            raise IndexError("the stack is empty")
        machine.stack[-count:] = [_tuple(items)]

    return step


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    del value
    machine.hash(key)


def _decoded_long(machine: _Machine) -> None:
    machine.push(int.from_bytes(machine.take(machine.number("B")), "little", signed=True))


_STOP = ord(".")
_STEPS: Mapping[int, Callable[[_Machine], object]] = MappingProxyType(
    {
        ord(code): step
        for code, step in {
            "c": _Machine.named,
            "\x81": _Machine.call,
            "R": _Machine.call,
            "b": _Machine.build,
            "a": lambda m: m.append([m.stack.pop()]),
            "e": lambda m: m.append(m.since_mark()),
            "s": _set_item,
            "u": lambda m: m.hash(*m.since_mark()[::2]),
            "(": _mark,
            "t": _put_since_mark,
            "\x85": _last(1),
            "\x86": _last(2),
            "\x87": _last(3),
            "N": lambda m: m.push(None),
            "\x89": lambda m: m.push(False),
            "\x88": lambda m: m.push(True),
            ")": lambda m: m.push(_tuple(())),
            "]": lambda m: m.push([]),
            "}": lambda m: m.push(_Built("dict")),
            "\x8f": lambda m: m.push(_Built("set")),
            "J": lambda m: m.push(m.number("<i")),
            "K": lambda m: m.push(m.number("B")),
            "M": lambda m: m.push(m.number("<H")),
            "G": lambda m: m.push(m.number(">d")),
            "X": lambda m: m.push(m.text("<I")),
            "U": lambda m: m.push(m.text("B")),
            "Q": _Machine.storage,
            "h": lambda m: m.push(m.memory[m.number("B")]),
            "j": lambda m: m.push(m.memory[m.number("<I")]),
            "q": lambda m: m.put(m.number("B")),
            "r": lambda m: m.put(m.number("<I")),
            "\x8a": _decoded_long,
            "\x80": lambda m: m.take(1),
        }.items()
    }
)  # as torch's own table: `torch._weights_only_unpickler`
