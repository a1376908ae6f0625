"""A source, wherever it is: folder, file or Hub repo, with its config, card and weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from inflate_zoo import hub
from inflate_zoo.checkpoints import find_weights, shard_names, weight_paths
from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.files import read_json, require_regular

_EXTRAS = ("config.json", "preprocessor_config.json", "README.md")
_LICENSE_FIELDS = ("license", "license_name", "license_link")


@dataclass(frozen=True, slots=True)
class Source:
    """A 2D checkpoint that was found.

    Attributes:
        name: Last part of the repo id, folder or file stem; names the output.
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
        extras = [self.folder / name for name in _EXTRAS[:2]]
        return paths + [path for path in extras if path.exists()]


def is_local(source: str) -> bool:
    """Whether a source is on this machine, rather than a Hub repo."""
    path = Path(source)
    return path.exists() or source.startswith((".", "/", "~")) or "\\" in source


def find_source(source: str, revision: str | None = None) -> Source:
    """Find a source and fetch what is needed of it.

    Args:
        source: A folder, a weight file, or a Hub repo id, `org/name` or `org/name@revision`.
        revision: Branch, tag or commit of a repo.

    Returns:
        The source, its files on this machine.

    Raises:
        UsageError: There is no such source, or it holds no weights.
        ConfigError: A file beside the weights is malformed.
        HubError: The Hub could not be reached, or refused.
    """
    if is_local(source):
        if revision is not None:
            raise UsageError(
                f"'{Path(source).name}' is on this machine and has no revisions",
                hint="leave out --revision",
            )
        return _local(Path(source).expanduser())
    return _remote(*split_revision(source, revision))


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
    if not path.exists():
        raise UsageError(
            f"there is no file or folder '{path.name}'", hint="check the path, or name a Hub repo"
        )
    if path.is_dir():
        names = [entry.name for entry in path.iterdir()]
        weights = path / find_weights(path, names)
        return _assemble(path.resolve().name, path, weights)
    require_regular(path)
    name = path.name.removesuffix(".index.json")
    return _assemble(name.rsplit(".", 1)[0], path.parent, path)


def _remote(repo: str, revision: str | None) -> Source:
    snapshot = hub.resolve(repo, revision)
    weights = find_weights(Path(repo), snapshot.files)
    extras = [name for name in _EXTRAS if name in snapshot.files]
    hub.fetch(snapshot, [*extras, weights])
    if weights.endswith(".index.json"):
        shards = shard_names(read_json(snapshot.folder / weights), weights)
        hub.fetch(snapshot, shards)
    name = repo.rsplit("/", 1)[-1]
    origin = (repo, revision, snapshot.commit)
    return _assemble(name, snapshot.folder, snapshot.folder / weights, origin)


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
        name,
        *origin,
        folder=folder,
        weights=weights,
        config=config,
        preprocessor=optional("preprocessor_config.json"),
        license=license_fields(card) if card.is_file() else {},
    )


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


def license_fields(card: Path) -> dict[str, str]:
    """The license fields of a model card's front matter; empty where it has none.

    Only plain text is taken; whatever else stands there is left alone.
    """
    text = card.read_text(encoding="utf-8", errors="replace")[:1_000_000]
    found = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    if found is None:
        return {}
    try:
        matter = yaml.safe_load(found.group(1))
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    if not isinstance(matter, dict):
        return {}
    fields = {key: matter.get(key) for key in _LICENSE_FIELDS}
    return {key: value for key, value in fields.items() if isinstance(value, str) and value.strip()}
