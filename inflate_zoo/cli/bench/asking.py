"""From the options of `bench` to what is planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

from inflate_zoo.cli.bench.datasets import find_data
from inflate_zoo.errors import UsageError, visible
from inflate_zoo.texts import as_text, is_text

if TYPE_CHECKING:
    from inflate_zoo.bench.arms.making import ArmRequest
    from inflate_zoo.bench.definitions.protocols import ChannelRule
    from inflate_zoo.bench.trials.planning import Comparison
    from inflate_zoo.cli.bench.datasets import DataPlace

DEFAULT_SUITE, DEFAULT_PROTOCOL, DEFAULT_SEEDS = "objectives", "volume", 5
# How a run is begun makes no other one of it: flags, and whether they take a value.
BEGUN: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(("--plan", "--detach"), False)
    | dict.fromkeys(("--on", "--jobs", "--time", "--partition", "--account", "--qos"), True)
    | dict.fromkeys(("--gpus-per-task", "--gres", "--cpus-per-task", "--mem"), True)
    | dict.fromkeys(("--constraint", "--sbatch", "--setup", "--container"), True)
    | dict.fromkeys(("--cpus", "--gpus", "--resource"), True)
)
_PATHS = {"--data", "--out", "--cache"}  # whether they are there yet or not
# Where neither data nor sources are named: nothing is downloaded, minutes on a CPU.
EMBEDDED_TASK, EMBEDDED_SUITE, EMBEDDED_PROTOCOL = "hippocampus-mini", "builtin", "quick"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, as it was typed.

    Attributes:
        data: Folder of the data set, or the one it is downloaded into.
        dataset: Task file or its name.
        download: Whether the data set may be fetched.
        sources: 2D sources, converted weights and arms.
        schemes: Inflation schemes.
        mean: To be folded.
        std: To be folded.
        suite: Suite file or its name.
        protocol: Protocol file or its name.
        changes: Of the protocol, each `name=value`.
        seeds: Trainings of each arm and fold.
        folds: Numbers with commas between them, or `all`.
        rule: How the stem takes several channels.
        out: Run folder.
        cache: Cache folder.
    """

    data: Path | None
    dataset: str | None
    download: bool
    sources: Sequence[str]
    schemes: Sequence[str]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    suite: str | None
    protocol: str | None
    changes: Sequence[str]
    seeds: int
    folds: str
    rule: str
    out: Path | None
    cache: Path | None

    def completed(self) -> Asked:
        """With the embedded task and suite where neither data nor sources are named."""
        named = (self.data, self.dataset, self.suite)
        if self.sources or any(each is not None for each in named):
            return self
        protocol = self.protocol or EMBEDDED_PROTOCOL
        return replace(self, dataset=EMBEDDED_TASK, suite=EMBEDDED_SUITE, protocol=protocol)

    def settled(self) -> dict[str, str | int | None]:
        """What determines the trials, given or not, by the names of the command's parameters."""
        asked = self.completed()
        return {
            "dataset": asked.dataset,
            "suite": asked.suite or (None if asked.sources else DEFAULT_SUITE),
            "protocol": asked.protocol or DEFAULT_PROTOCOL,
            "seeds": asked.seeds,
            "folds": asked.folds,
            "channel_rule": asked.rule,
        }


def comparison_of(asked: Asked, words: Sequence[str]) -> tuple[Comparison, DataPlace]:
    """What is compared, and where its data are; neither data nor sources are read.

    Args:
        asked: The options.
        words: The whole command line.

    Raises:
        UsageError: An option says what cannot be, or the data set is not there.
    """
    from inflate_zoo.bench.definitions.catalog import load_protocol
    from inflate_zoo.bench.trials.planning import Comparison
    from inflate_zoo.files.locations import default_cache
    from inflate_zoo.naming.configs.normalization import given

    asked = asked.completed()
    protocol = load_protocol(asked.protocol or DEFAULT_PROTOCOL, asked.changes)
    cache = asked.cache or default_cache()
    for flag, folder in (("--out", asked.out or Path("runs")), ("--cache", cache)):
        _require_text(flag, folder)
    wanted = replace(_wanted(asked), normalization=given(asked.mean, asked.std))
    folds = _folds(asked.folds)
    compared = Comparison(
        dataset=asked.dataset,
        wanted=wanted,
        protocol=protocol,
        seeds=asked.seeds,
        folds=folds,
        rule=rule_of(asked.rule),
        out=asked.out,
        cache=cache,
        command=shown_command(words),
    )
    return compared, find_data(asked.data, asked.dataset, download=asked.download)


def _require_text(flag: str, folder: Path) -> None:
    """Refuse a folder that safetensors could not open a file in, nor a trial note."""
    whole = str(folder.absolute())
    if not is_text(whole):
        raise UsageError(
            f"the path '{visible(whole)}' is no UTF-8, so nothing can be kept there",
            hint=f"rename its folders, or choose another with {flag}",
        )


def rule_of(text: str) -> ChannelRule:
    """How the stem takes several channels.

    Raises:
        UsageError: No such rule.
    """
    from inflate_zoo.bench.definitions.protocols import ChannelRule

    rules: dict[str, ChannelRule] = {rule: rule for rule in get_args(ChannelRule)}
    if text not in rules:
        raise UsageError(f"no channel rule '{text}'", hint="use sum or rgb")
    return rules[text]


def _wanted(asked: Asked) -> ArmRequest:
    from inflate_zoo.bench.arms.arm_sources import parse_arm
    from inflate_zoo.bench.arms.making import ArmRequest
    from inflate_zoo.bench.arms.sources import refuse_misspelt
    from inflate_zoo.bench.definitions.catalog import load_suite

    if asked.sources and asked.suite:
        raise UsageError("--source and --suite name two comparisons", hint="give one of them")
    for text in asked.sources:
        refuse_misspelt(parse_arm(text).plain)  # before data are looked for
    if asked.sources:
        return ArmRequest(tuple(asked.sources), tuple(asked.schemes or ["center"]))
    found = load_suite(asked.suite or DEFAULT_SUITE)
    return ArmRequest(
        found.sources,
        tuple(asked.schemes or found.schemes),
        random="random" in found.baselines,
        slices="2d" in found.baselines,
    )


def _folds(text: str) -> tuple[int, ...] | None:
    if text == "all":
        return None
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise UsageError(
            f"--folds '{text}' is no list of numbers", hint="e.g. --folds 0,1,2 or --folds all"
        ) from error


def shown_command(words: Sequence[str]) -> tuple[str, ...]:
    """The command as it may be shown to others: what is compared, and no local paths."""
    shown, before = ["inflate-zoo"], ""
    for word in _asked(words[1:]):
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        path = _local_path(flag or before, value)
        shown.append(as_text(flag + equals + (Path(path).name or path) + value[len(path) :]))
        before = word
    return tuple(shown)


def _local_path(flag: str, value: str) -> str:
    """The path that a value begins with, or nothing where it begins with none."""
    from inflate_zoo.bench.arms.arm_sources import parse_arm

    if flag in _PATHS:
        return value
    path = parse_arm(value).plain if value else value
    local = "/" in path and (Path(path).exists() or path.startswith(("/", ".", "~")))
    return path if local else ""


def _asked(words: Sequence[str]) -> Iterator[str]:
    """The words that say what is asked for, not how it is begun."""
    left = iter(words)
    for word in left:
        flag, equals, _ = word.partition("=")
        if flag not in BEGUN:
            yield word
        elif BEGUN[flag] and not equals:
            next(left, None)
