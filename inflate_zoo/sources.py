"""A source, wherever it is: folder, file or Hub repo, with its config, card and weights."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inflate_zoo import hub
from inflate_zoo.budgets import FRONT_MATTER_BYTES
from inflate_zoo.catalog import data_folder
from inflate_zoo.checkpoints import WEIGHT_FILES, find_weights, shard_names, weight_paths
from inflate_zoo.errors import ConfigError, HubError, UnknownNameError, UsageError
from inflate_zoo.files import read_json, require_regular
from inflate_zoo.foreign import front_matter, reason_of

_LOG = logging.getLogger(__name__)
BUILTIN = "builtin/"
EXTRAS = ("config.json", "preprocessor_config.json", "README.md")
_LICENSE_FIELDS = ("license", "license_name", "license_link")


@dataclass(frozen=True, slots=True)
class Source:
    """A 2D checkpoint that was found.

    Attributes:
        name: Last part of the repo id, folder or file stem, as a plain folder name: it names the
            output.
        repo: Hub repo id, or `None` for a local source.
        revision: Revision asked for, or `None`.
        commit: Commit of the repo, 40 hexadecimal digits, or `None`.
        folder: Where the files are.
        weights: The weight file, or the index of its shards.
        config: config.json, or `None`.
        preprocessor: preprocessor_config.json, or `None`.
        license: License fields of the source's card.
    """

    name: str
    repo: str | None
    revision: str | None
    commit: str | None
    folder: Path
    weights: Path
    config: Mapping[str, Any] | None
    preprocessor: Mapping[str, Any] | None
    license: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> list[Path]:
        """Every file that determines the conversion, weights first."""
        paths = weight_paths(self.weights, self.folder)
        if self.weights not in paths:
            paths.append(self.weights)
        extras = [self.folder / name for name in EXTRAS[:2]]
        return paths + [path for path in extras if path.exists()]


def is_local(source: str) -> bool:
    """Whether a source is on this machine, rather than a Hub repo."""
    if not source:  # to pathlib the current folder
        return False
    on_disk = _exists(Path(source)) or source.startswith((".", "/", "~")) or "\\" in source
    return on_disk or source.startswith(BUILTIN)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, or a folder that may not be looked into
        return False


def find_source(source: str, revision: str | None = None) -> Source:
    """Find a source and fetch what is needed of it.

    Args:
        source: A folder, a weight file, `builtin/<name>`, or a Hub repo id, `org/name` or
            `org/name@revision`.
        revision: Branch, tag or commit of a repo.

    Returns:
        The source, its files on this machine.

    Raises:
        UsageError: There is no such source, or it holds no weights.
        ConfigError: A file beside the weights is malformed.
        HubError: The Hub could not be reached, or refused.
    """
    if not is_local(source):
        return _remote(*split_revision(source, revision))
    path = Path(source)
    if revision is not None:
        raise UsageError(
            f"'{path.name}' is on this machine and has no revisions",
            hint="leave out --revision",
        )
    if source.startswith(BUILTIN) and not _exists(path):
        return _builtin(source)
    return _local(path)


def builtin_sources() -> dict[str, Path]:
    """The 2D checkpoints that ship with the package: `builtin/<name>` to folder."""
    configs = sorted(data_folder("benchmarks/builtin").glob("*/config.json"))
    return {f"{BUILTIN}{path.parent.name}": path.parent for path in configs}


def builtin_of(name: str) -> str | None:
    """The builtin source whose `Source.name` this is; `None` for all others."""
    return next((source for source in builtin_sources() if source.replace("/", "-") == name), None)


def _builtin(source: str) -> Source:
    known = builtin_sources()
    if source not in known:
        raise UnknownNameError("builtin source", source, known)
    folder = known[source]
    return _assemble(source.replace("/", "-"), folder, folder / WEIGHT_FILES[0])


def split_revision(source: str, revision: str | None) -> tuple[str, str | None]:
    """Repo id and revision of `org/name` or `org/name@revision`.

    Raises:
        UsageError: No repo id, or two different revisions.
    """
    repo, inline = hub.parse_repo(source)
    if inline is not None and revision not in (None, inline):
        raise UsageError(
            f"two revisions for '{repo}': '{inline}' and '{revision}'", hint="give one of them"
        )
    return repo, inline or revision


def _local(path: Path) -> Source:
    with suppress(RuntimeError):  # there is no such user: '~name' may be a folder
        path = path.expanduser()
    if not _exists(path):
        raise UsageError(
            f"there is no file or folder '{path.name}'", hint="check the path, or name a Hub repo"
        )
    if path.is_dir():
        try:
            names = [entry.name for entry in path.iterdir()]
        except OSError as error:
            raise UsageError(
                f"the folder '{path.resolve().name}' cannot be read: {error.strerror or error}",
                hint="check its permissions",
            ) from error
        weights = path / find_weights(path, names)
        return _assemble(path.resolve().name, path, weights)
    require_regular(path)
    name = path.name.removesuffix(".index.json")
    return _assemble(name.rsplit(".", 1)[0], path.parent, path)


def _remote(repo: str, revision: str | None) -> Source:
    snapshot = hub.resolve(repo, revision)
    weights = remote_weights(snapshot)
    fetch_extras(snapshot)
    hub.fetch(snapshot, [weights])
    if weights.endswith(".index.json"):
        shards = shard_names(read_json(snapshot.folder / weights, "index"), weights)
        hub.fetch(snapshot, shards)
    name = repo.rsplit("/", 1)[-1]
    origin = (repo, revision, snapshot.commit)
    return _assemble(name, snapshot.folder, snapshot.folder / weights, origin)


def remote_weights(snapshot: hub.Snapshot) -> str:
    """Which of a repo's files holds the weights, or the index of its shards.

    Raises:
        UsageError: None, or several equally good ones.
        HubError: None is cached, and the Hub was not asked.
    """
    try:
        return find_weights(Path(snapshot.repo), snapshot.files)
    except UsageError:
        suffixes = tuple({Path(name).suffix for name in WEIGHT_FILES[::2]} | {".pth", ".pt"})
        if not snapshot.from_cache or any(name.endswith(suffixes) for name in snapshot.files):
            raise
    raise HubError(
        f"the weights of '{snapshot.repo}' are not cached, and the Hub is offline or out of order",
        hint=f"run once online: `HF_HUB_OFFLINE=0 inflate-zoo convert {snapshot.repo}"
        f"@{snapshot.commit}`",
    )


def fetch_extras(snapshot: hub.Snapshot) -> None:
    """Fetch the small files, and refuse a config before anything large is asked for.

    Raises:
        ConfigError: The config is malformed, or asks for code.
        HubError: The Hub could not be reached, or refused.
    """
    hub.fetch(snapshot, [name for name in EXTRAS if name in snapshot.files])
    if EXTRAS[0] in snapshot.files:
        check_config(read_json(snapshot.folder / EXTRAS[0]))
    for name in EXTRAS:
        if snapshot.from_cache and name not in snapshot.files:
            warnings.warn(
                f"{name} of '{snapshot.repo}' is not cached; if the repo has it, run once online",
                stacklevel=2,
            )


def _assemble(
    name: str,
    folder: Path,
    weights: Path,
    origin: tuple[str | None, str | None, str | None] = (None, None, None),
) -> Source:
    def optional(file: str) -> Mapping[str, Any] | None:
        path = folder / file
        if not path.exists():
            return None
        require_regular(path, folder)
        return read_json(path)

    config = optional("config.json")
    if config is not None:
        check_config(config)
    card = folder / "README.md"
    return Source(
        _folder_name(name),
        *origin,
        folder=folder,
        weights=weights,
        config=config,
        preprocessor=optional("preprocessor_config.json"),
        license=license_fields(card) if card.is_file() else {},
    )


def _folder_name(text: str) -> str:
    """A name that makes no trouble as a folder, in a shell or on a terminal."""
    plain = re.sub(r"[^\w.+-]+", "-", text).encode()[:96].decode(errors="ignore")
    return plain.strip("-.") or "checkpoint"


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a config that asks for code.

    Raises:
        ConfigError: `auto_map` is there.
    """
    if "auto_map" in config:
        raise ConfigError(
            "config.json: auto_map points to code in the repo, which is never imported",
            hint="if the architecture is a stock one, remove auto_map from a local copy",
        )
    if config.get("model_type") == "inflated_vit":
        raise ConfigError(
            "config.json: model_type says these weights are 3D already",
            hint="inflate_zoo.load(...) takes them as they are",
        )


class _NoMatterError(Exception):
    """Holds what the parser of a card said."""


def license_fields(card: Path) -> dict[str, str]:
    """The license fields of a model card's front matter; empty where it has none.

    Only plain text is taken, also as a list of one; whatever else stands there is left alone. A
    front matter that cannot be read is told: the card states nothing then.
    """
    try:
        with card.open(encoding="utf-8-sig", errors="replace") as file:
            text = file.read(FRONT_MATTER_BYTES + 16)
    except OSError:
        return {}
    start = re.match(r"---[ \t]*\n", text)
    if start is None:
        return {}
    end = re.compile(r"^---[ \t]*$", re.MULTILINE).search(text, start.end())
    try:
        if end is None and len(text) < FRONT_MATTER_BYTES:
            return {}
        matter = front_matter(text[start.end() : end.start() if end else None], _NoMatterError)
    except _NoMatterError as error:
        reason = reason_of(error.args[0])
        _LOG.warning("%s: its front matter is not read: %s", card.name, reason)
        return {}
    fields = {key: _plain_text(matter.get(key)) for key in _LICENSE_FIELDS}
    return {key: text for key, text in fields.items() if text}


def _plain_text(value: object) -> str:
    """A text of one line, or the only one of a list; else nothing."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    text = value.strip() if isinstance(value, str) else ""
    return text if text.isprintable() else ""
