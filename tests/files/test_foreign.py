"""Foreign parsers: one wrapper, one table of budgets, and nothing around them elsewhere."""

import ast
import logging
import re
import resource
import time
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from inflate_zoo.bench.definitions.catalog import load_protocol
from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.files import budgets
from inflate_zoo.files.foreign import (
    front_matter,
    json_value,
    parsing,
    pattern,
    quiet,
    reason_of,
    toml_table,
)
from inflate_zoo.files.header import read_header
from inflate_zoo.files.reading import read_json
from inflate_zoo.hub.cards import license_fields
from tests.support.quick import forked, within

PACKAGE = Path(__file__).parents[2] / "inflate_zoo"


def refuse(error):
    return UsageError(f"'file' is damaged: {reason_of(error)}", hint="download it again")


@pytest.mark.parametrize(
    "error",
    [
        RecursionError(),
        MemoryError(),
        OverflowError("too big"),
        KeyError("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
        EOFError(),
        OSError("not a gzip file"),
        ZeroDivisionError(),
        StopIteration(),
    ],
)
def test_whatever_a_parser_raises_becomes_ours(error):
    with pytest.raises(UsageError, match=r"'file' is damaged: ..") as caught, parsing(refuse):
        raise error
    assert caught.value.__cause__ is error


def test_a_reason_is_one_printable_line_of_bounded_length():
    told = reason_of(ValueError("a\n \x1b[31m \u202e ^ " + "x" * 10_000))
    assert told.isprintable()
    assert told.startswith("a \\x1b[31m \\u202e xx")
    assert len(told) <= 200


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3), ConfigError("ours", hint="h"), OSError(5, "I/O")]
)
def test_what_is_no_answer_to_the_input_passes(error):
    with pytest.raises(type(error)) as caught, parsing(refuse):
        raise error
    assert caught.value is error


# Where others' parsers begin; every call of one stands inside `parsing`, or in `foreign` itself.
PARSERS = {
    "yaml.load", "yaml.safe_load", "tomllib.load", "tomllib.loads", "json.load", "json.loads",
    "torch.load", "zipfile.ZipFile", "tarfile.open", "tarfile.TarFile", "nib.load", "safe_open",
    "load_file", "timm.create_model", "kind.from_pretrained", "kind.config_class",
    "header.get_data_dtype", "header.get_slope_inter", "grid.header.get_slope_inter",
    "from_json", "np.load", "np.lib.format.open_memmap",
}  # fmt: skip
METHODS = {"model_validate_json", "validate_json"}  # of any form
# They open what their callers read; each call of them is wrapped instead.
OPENERS = {"files/archives.py": {"_members"}}
NAMES_OF_PARSERS = re.compile(
    r"YAMLError|TOMLDecodeError|JSONDecodeError|TarError|ReadError|BadZipFile|BadGzipFile|zlib|"
    r"struct\.error|re\.error|UnpicklingError|HeaderDataError|SafetensorError|RecursionError|"
    r"OverflowError|EOFError|UnicodeError"
)


def guarded(node):
    """Whether a `with` statement holds `parsing`, or one of the functions made of it."""
    calls = [item.context_expr for item in node.items]
    names = [ast.unparse(call.func) for call in calls if isinstance(call, ast.Call)]
    return {"parsing", "_readable"} & set(names)


def parses(node, openers):
    if any(isinstance(each, ast.Constant) and each.value == "w" for each in node.args):
        return False  # it writes
    method = isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
    return method or ast.unparse(node.func) in PARSERS | openers


def unguarded_calls(tree, openers=frozenset()):
    found = []

    def visit(node, inside):
        if isinstance(node, ast.FunctionDef):
            inside = node.name in openers  # a function runs where it is called, not where it stands
        if isinstance(node, ast.With) and guarded(node):
            inside = True
        if isinstance(node, ast.Call) and not inside and parses(node, openers):
            found.append(f"{node.lineno}: {ast.unparse(node.func)}")
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(tree, False)
    return found


@cache
def modules():
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "foreign.py"]
    return [(path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())) for path in paths]


def test_every_call_of_a_foreign_parser_is_wrapped():
    found = {
        name: calls
        for name, tree in modules()
        if (calls := unguarded_calls(tree, OPENERS.get(name, frozenset())))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("with parsing(refuse):\n    torch.load(x)", 0),
        ("with reading(p), parsing(refuse), safe_open(p) as file:\n    pass", 0),
        ("with reading(p):\n    Form.model_validate_json(x)", 1),
        ("with parsing(refuse):\n    def later():\n        return json.loads(x)", 1),
        ("zipfile.ZipFile(x, 'w')", 0),
        ("def _members(x):\n    return zipfile.ZipFile(x)\n_members(x)", 1),
    ],
)
def test_calls_that_are_not_wrapped_are_found(text, count):
    assert len(unguarded_calls(ast.parse(text), frozenset({"_members"}))) == count


def test_no_list_of_a_parsers_exceptions_stands_anywhere():
    found = {
        f"{name} {function.name}: {ast.unparse(node.type)}"
        for name, tree in modules()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler) and node.type is not None
        if NAMES_OF_PARSERS.search(ast.unparse(node.type))
    }
    assert found == {
        # Of `repr`, which parses nothing.
        "naming/configs/from_config.py short: (RecursionError, ValueError)",
        # Of a pipe from a process of ours.
        "bench/engines/processes.py hear: (EOFError, OSError)",
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 65 + "1" + "}" * 65,
        "[" + "1," * budgets.JSON_VALUES + "1]",
        '{"a":1}}',
        "[" * 100_000,
        "9" * 5000,
    ],
    ids=len,
)
def test_json_beyond_a_budget_is_refused(text):
    with pytest.raises(UsageError):
        json_value(text, refuse)
    with pytest.raises(UsageError):
        json_value(text.encode(), refuse)


def cost(call):
    """Seconds and MB that a call takes, in a process of its own."""

    def measured():
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        with pytest.raises(UsageError):
            call()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return time.process_time() - began, (after - before) / 1024

    return forked(measured)


@pytest.mark.parametrize("piece", [b"[],", b'{"a":1},', b'"\\ud83d\\ude00",'], ids=repr)
def test_the_worst_header_and_config_within_their_size_cost_little(tmp_path, piece):
    body = b'{"a":[' + piece * (24_900_000 // len(piece)) + b"1]}"
    (tmp_path / "a.safetensors").write_bytes(len(body).to_bytes(8, "little") + body)
    seconds, megabytes = cost(lambda: read_header(tmp_path / "a.safetensors"))
    assert seconds < 2
    assert megabytes < 300
    (tmp_path / "config.json").write_bytes(body[: 7 << 20])
    seconds, megabytes = cost(lambda: read_json(tmp_path / "config.json"))
    assert seconds < 2
    assert megabytes < 300


@pytest.mark.parametrize(
    "text",
    [
        "x: !!timestamp x", "x: !!bool x", "x: !!int ''", "a: [" * 500, "&a [*a]", "- a", "a: *b",
        "a: &a {x: 1}\nb: {<<: *a}", "x: 1:" + "59:" * 20_000 + "1", "a: " + "x" * (64 << 10),
        "? [a, b]\n: c", "a: \udcff", "x: !!float 1:1e400",
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_hostile_front_matter_is_refused_or_read_quickly(text):
    with within(2), suppress(UsageError):
        assert isinstance(front_matter(text, refuse), dict)


def test_maps_merged_in_one_another_are_refused():
    # Each is nine times the one before.
    steps = [f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}\n" for i in range(1, 8)]
    with pytest.raises(UsageError, match="merges maps"):
        front_matter("x0: &x0 {k: v}\n" + "".join(steps), refuse)


def test_front_matter_beyond_its_budget_is_told_and_states_no_licence(tmp_path, caplog):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\na: [" + "x, " * 330_000 + "]\n---\n")
    assert license_fields(card) == {}
    assert "README.md: its front matter is not read: it is larger than 64 KB" in caplog.text
    card.write_text("---\nlicense: mit\na: [" + "x, " * 20_000 + "]\n---\n")
    assert license_fields(card) == {"license": "mit"}


@pytest.mark.parametrize(
    "text",
    ["a = inf", "a = [1.0, nan]", "a.b = {c = -inf}", "a = 1e999", "a" + ".a" * 2100 + " = 1",
     "a = " + "9" * 5000, "a = " + "[" * 5000, "#" * (257 << 10), "a = \udcff", "a"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_hostile_toml_is_refused(text):
    with pytest.raises(UsageError, match="'file' is damaged"):
        toml_table(text.encode("utf-8", "surrogatepass"), refuse)


@pytest.mark.parametrize(
    "text",
    ["a{99999999999}", "(" * 5000 + ")" * 5000, "(a+)+$", "(?:a|a)*b", "([a-z]+){9}", "a?" * 9,
     "[", ".*.*.*.*x", r"(?P<x>a)(?P<x>b)", "a" * 201],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_pattern_that_can_take_for_ever_is_refused(text):
    with pytest.raises(UsageError):
        pattern(text, refuse)


@pytest.mark.parametrize(
    "text",
    ["patient[0-9]+", r"^(?:sub|case)-(\d+)_ses-\d+", "[*+?{]x", r"\(\+\)*", "a(?=b)", "(a)?"],
)
def test_patterns_that_people_write_are_taken(text):
    assert pattern(text, refuse).pattern == text


def test_a_value_on_the_command_line_that_is_no_text_is_refused():
    with pytest.raises(UsageError, match="cannot be changed that way"):
        load_protocol("quick", ["train.steps=\ud800"])


def test_a_quiet_library_tells_its_errors_alone_and_speaks_again_after(caplog):
    logger = logging.getLogger("some.library")
    logger.setLevel(logging.INFO)  # libraries give theirs a level of their own
    before = logging.root.manager.disable
    with quiet():
        warnings.warn("unheard", stacklevel=1)
        logger.warning("unheard")
        logger.error("heard")
    assert [record.message for record in caplog.records] == ["heard"]
    assert logging.root.manager.disable == before
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", stacklevel=1)
