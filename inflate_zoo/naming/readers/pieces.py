"""What readers of several networks ask of a header and a config."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import Header
from inflate_zoo.naming.configs.from_config import FromConfig, Raw, Statement
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.from_header import FromHeader, either, leftover_lines
from inflate_zoo.naming.patterns import Matching, covers, is_optional, sources_of
from inflate_zoo.networks.base import Form2D
from inflate_zoo.texts import problems_of

# Heads of DINO and BEiT are 64 wide up to the large models, and in DINOv2's giant; others that are
# wider have heads of 80 (ViT-H, 1280), 88 and 104, which no tensor tells.
_WIDEST, _GIANT = 1024, 1536
_NAME_IT = "name the architecture: --arch NAME"
_STEMS = {
    2: "a 2D stem has shape [out, in, height, width]; is this a 3D or a 1D model?",
    3: "a 3D stem has shape [out, in, depth, height, width]; is this a 2D model?",
}


def teller(family: Family, matching: Matching, target: str) -> str:
    """The words for what tells whether a piece is there, by our name of one of its tensors."""
    if target in matching.kept:
        return f"'{matching.kept[target][0]}' says"
    names = sources_of(family, matching.prefix, target, matching.starts)
    return f"the absence of '{names[0]}' says" if names else "the tensors say"


def block_numbers(family: Family, matching: Matching) -> range:
    """The block numbers, 0 to the last without a gap.

    Raises:
        AccountingError: A block lacks all its tensors. A number far off would otherwise ask for
            millions of them.
    """
    found = {int(name.split(".")[1]) for name in matching.kept if name.startswith("blocks.")}
    last = max(found)
    absent = [index for index in range(last) if index not in found]
    if absent:
        names = [
            sources_of(family, matching.prefix, f"blocks.{i}.norm1.weight", matching.starts)[0]
            for i in absent
        ]
        raise AccountingError(
            f"the blocks go up to number {last}, but {len(absent)} before it are missing",
            details=[f"missing: '{name}' and the others of its block" for name in names],
            hint="is the file complete? download it again, or give the whole folder of shards",
        )
    return range(last + 1)


def _spelled(target: str, indices: range) -> list[str]:
    spelled = [target.replace("{wb}", part) for part in ("weight", "bias")]
    return [name.replace("{}", str(index)) for name in spelled for index in indices]


def require_core(
    family: Family, matching: Matching, header: Header, core: Mapping[str, int]
) -> tuple[str, ...]:
    """The source names of those of our tensors without which nothing can be said of a network.

    Args:
        family: The family.
        matching: The names of the header.
        header: Their shapes.
        core: Our name to the rank that the tensor must have; 0 for any.

    Raises:
        AccountingError: One is missing, or of another rank.
    """
    absent = [target for target in core if target not in matching.kept]
    if absent:
        raise _lacks(family, matching, header, absent)
    found = tuple(matching.kept[target][0] for target in core)
    for name, rank in zip(found, core.values(), strict=True):
        if rank and len(header[name].shape) != rank:
            raise AccountingError(
                f"'{name}' has an unexpected shape: {header[name]}",
                hint=_STEMS[family.dimensions],
            )
    return found


def is_there(family: Family, matching: Matching, numbers: range, target: str) -> bool:
    """Whether the network has a piece: one that may be absent is there where any tensor of it is.

    Args:
        family: The family.
        matching: The names of the header.
        numbers: Of the blocks.
        target: Our name, `{}` and `{wb}` allowed.
    """
    if not covers(family, target):
        return False
    there = any(name in matching.kept for name in _spelled(target, numbers))
    return there or not is_optional(family, target)


def heads_of_width_64(_: Raw, embed_dim: int) -> int:
    """Heads of a network whose heads are 64 wide.

    Raises:
        ConfigError: The width is no multiple of that, or one at which others are published.
    """
    if embed_dim > _WIDEST and embed_dim != _GIANT:
        raise ConfigError(
            f"the tensors are {embed_dim} wide, which no published model with heads of 64 is: the "
            "number of heads is unknown",
            hint=_NAME_IT,
        )
    if embed_dim % 64 and embed_dim > 64:
        raise ConfigError(
            f"the tensors are {embed_dim} wide, no multiple of 64: the number of heads is unknown",
            hint=_NAME_IT,
        )
    return max(1, embed_dim // 64)


def check_heads(claims: FromConfig, embed_dim: int, statement: Statement) -> None:
    """Heads that do not divide the width.

    Raises:
        ConfigError: They do not.
    """
    width, heads = claims.values.get("embed_dim", embed_dim), claims.values["num_heads"]
    if width % heads:
        raise ConfigError(
            f"{statement.name}: {claims.labels.get('embed_dim', 'embed_dim')} {width} is not "
            f"divisible by {claims.labels['num_heads']} {heads}",
            hint=statement.hint,
        )


def tokens_of(image: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    """The grid (height, width) of whole patches that an image holds, both in pixels."""
    return image[0] // max(1, patch[0]), image[1] // max(1, patch[1])


def disagreement(statement: Statement, *details: str) -> ConfigError:
    """The error for what is stated of a source and what its tensors are."""
    return ConfigError(
        f"{statement.name} and the tensors disagree", details=details, hint=statement.hint
    )


@contextmanager
def building(what: str, statement: Statement) -> Iterator[None]:
    """Build a form of what a source says.

    Args:
        what: The network.
        statement: Where fields stand.

    Raises:
        ConfigError: They make no network.
    """
    try:
        yield
    except ValidationError as error:
        raise ConfigError(
            f"the source describes no {what} that can be built",
            details=problems_of(error, "it"),
            hint=f"is the file complete? {statement.hint}",
        ) from error


def settled(facts: FromHeader, _: FromConfig) -> Mapping[str, Any]:
    """The facts: none of them needs a claim to be read."""
    return facts.values


def no_check(claims: FromConfig, embed_dim: int, statement: Statement) -> None:
    """Nothing claimed contradicts itself: heads and widths are those of the tensors."""


def no_note(family: Family, form: Form2D) -> str:  # noqa: ARG001 - as every reader is asked
    """Nothing: the form pools as its kind does."""
    return ""


def _lacks(
    family: Family, matching: Matching, header: Header, absent: Sequence[str]
) -> AccountingError:
    names = [sources_of(family, matching.prefix, t, matching.starts) for t in absent]
    details = [f"missing: {either(alternatives)}" for alternatives in names]
    details += leftover_lines(matching.leftover, header, [n for found in names for n in found])
    return AccountingError(
        f"the tensors are not those of {family.name} ({family.summary})",
        details=details,
        hint="'inflate-zoo families' lists the families; --family overrides the choice",
    )
