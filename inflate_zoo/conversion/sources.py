"""A source, wherever it is: folder, file or Hub repo, with its config, card and weights."""

from __future__ import annotations

import difflib
import logging
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inflate_zoo.errors import ConfigError, HubError, HubNotFoundError, UnknownNameError, UsageError
from inflate_zoo.files.checkpoints import (
    SUFFIXES,
    WEIGHT_FILES,
    find_weights,
    shard_names,
    weight_paths,
)
from inflate_zoo.files.locations import data_folder
from inflate_zoo.files.reading import called, lacking, read_json, require_regular
from inflate_zoo.hub import download
from inflate_zoo.hub.addresses import (
    BUILTIN,
    Address,
    Place,
    is_address,
    is_local,
    is_on_disk,
    locate,
    parse_address,
)
from inflate_zoo.hub.cards import license_fields
from inflate_zoo.naming.configs.normalization import (
    OPEN_CLIP_CONFIG,
    PREPROCESSOR_CONFIG,
    PROCESSOR_CONFIG,
    Preprocessor,
    image_processor,
)
from inflate_zoo.naming.configs.open_clip import OpenClip, is_needed, read_tower
from inflate_zoo.networks.base import SEGMENTER_TYPE
from inflate_zoo.networks.known import CONFIGS

_LOG = logging.getLogger(__name__)
EXTRAS = ("config.json", PREPROCESSOR_CONFIG, PROCESSOR_CONFIG)
_ENDINGS = r"(\.(pth|pt|ckpt)(?=\.tar$))?\.[^.]*$"


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
        preprocessor: What a file beside the weights says of feeding, or `None`.
        license: License fields of the source's card.
        inside: Folder or file of the repo that was asked for; empty for the repo itself.
        open_clip: What OpenCLIP's config says, where config.json leaves it open, or `None`.
    """

    name: str
    repo: str | None
    revision: str | None
    commit: str | None
    folder: Path
    weights: Path
    config: Mapping[str, Any] | None
    preprocessor: Preprocessor | None
    license: Mapping[str, str] = field(default_factory=dict)
    inside: str = ""
    open_clip: OpenClip | None = None

    @property
    def address(self) -> str | None:
        """What names it on the Hub; `None` for a local source."""
        return f"{self.repo}/{self.inside}" if self.repo and self.inside else self.repo

    def files(self) -> list[Path]:
        """Every file that determines the conversion, weights first."""
        paths = weight_paths(self.weights, self.folder)
        if self.weights not in paths:
            paths.append(self.weights)
        names = EXTRAS if self.open_clip is None else (*EXTRAS, OPEN_CLIP_CONFIG)
        extras = [self.folder / name for name in names]
        return paths + [path for path in extras if path.exists()]


def find_source(source: str, revision: str | None = None) -> Source:
    """Find a source and fetch what is needed of it.

    Args:
        source: A folder, a weight file, `builtin/<name>`, or a Hub repo or a folder or file of it:
            `org/name`, `org/name@revision`, `org/name/folder`, `hf-hub:org/name`, or its page.
        revision: Branch, tag or commit of a repo.

    Returns:
        The source, its files on this machine.

    Raises:
        UsageError: There is no such source, or it holds no weights.
        ConfigError: A file beside the weights is malformed.
        HubError: The Hub could not be reached, or refused.
    """
    if not is_local(source):
        return _remote(split_revision(source, revision))
    path = Path(source)
    if revision is not None:
        raise UsageError(
            f"'{called(path)}' is on this machine and has no revisions",
            hint="leave out --revision",
        )
    if source.startswith(BUILTIN) and not is_on_disk(path):
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


def split_revision(source: str, revision: str | None) -> Address:
    """The repo, revision and folder that a source and --revision name.

    Raises:
        UsageError: No repo id, or two different revisions; or a path or name that is mistyped.
    """
    refuse_mistyped(source)
    address = parse_address(source)
    if address.revision is not None and revision not in (None, address.revision):
        raise UsageError(
            f"two revisions for '{address.repo}': '{address.revision}' and '{revision}'",
            hint="give one of them",
        )
    return replace(address, revision=address.revision or revision)


def refuse_mistyped(source: str, others: Iterable[str] = ()) -> None:
    """Refuse a source that is none, where it is plain what was meant.

    Args:
        source: A source that is not on this machine.
        others: Names that are sources where it is used.

    Raises:
        UsageError: A name without organisation that resembles a builtin source, or is timm's; or a
            path of which the first folder is here.
    """
    first = source.partition("/")[0]
    if source.count("/") > 1 and not is_address(source) and is_on_disk(Path(first)):
        raise UsageError(f"there is no file or folder '{source}'", hint="check the path")
    if "/" in source or not source:
        return
    meant = {name: name for name in others}
    for name in builtin_sources():
        meant |= {name.replace("/", "-"): name, name.removeprefix(BUILTIN): name}
    close = difflib.get_close_matches(source.lower(), meant, n=1, cutoff=0.75)
    known = meant[close[0]] if close else _timm_repo(source)
    if known is not None:
        raise UsageError(f"there is no source '{source}'", hint=f"did you mean '{known}'?")


def _timm_repo(name: str) -> str | None:
    """The Hub repo of a timm model's weights; `None` for names that are not timm's."""
    import timm

    arch, _, tag = name.partition(".")
    if not timm.is_model(arch):
        return None
    tag = tag or (timm.get_pretrained_cfg_value(arch, "tag") or "")
    return f"timm/{arch}.{tag}" if tag else f"timm/{arch}"


def _local(path: Path) -> Source:
    with suppress(RuntimeError):  # there is no such user: '~name' may be a folder
        path = path.expanduser()
    if not is_on_disk(path):
        raise UsageError(
            f"there is no file or folder '{called(path)}'{lacking(path)}",
            hint="check the path, or name a Hub repo",
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
    return _assemble(re.sub(_ENDINGS, "", name), path.parent, path)


def _remote(address: Address) -> Source:
    place = locate_weights(address)
    weights = remote_weights(place)
    fetch_extras(place)
    place.fetch([weights])
    if weights.endswith(".index.json"):
        place.fetch(shard_names(read_json(place.folder / weights, "index"), weights))
    name = (address.inside or address.repo).rsplit("/", 1)[-1]
    if place.file:
        name = re.sub(_ENDINGS, "", name)
    origin = (address.repo, address.revision, place.snapshot.commit)
    found = _assemble(name, place.folder, place.folder / weights, origin)
    return replace(found, inside=place.inside, license=stated_license(place))


def stated_license(place: Place) -> dict[str, str]:
    """The license fields of a place's card, fetched already."""
    return license_fields(place.snapshot.folder / place.card) if place.card else {}


def locate_weights(address: Address) -> Place:
    """`locate`, which says what is meant where timm's repos are named without their tag.

    Raises:
        HubNotFoundError: There is no such repo, revision, folder or file.
        HubError: The Hub could not be reached, or refused.
    """
    try:
        return locate(address)
    except HubNotFoundError as error:
        owner, _, name = address.repo.partition("/")
        if owner != "timm" or (meant := _timm_repo(name)) in (None, address.repo):
            raise
        raise HubNotFoundError(error.message, hint=f"did you mean '{meant}'?") from None


def remote_weights(place: Place) -> str:
    """Which of a folder's files holds the weights, or the index of its shards.

    Raises:
        UsageError: None, or several equally good ones.
        HubError: None is cached, and the Hub was not asked.
    """
    if place.file is not None:
        return place.file
    snapshot = place.snapshot
    try:
        return find_weights(Path(place.inside or snapshot.repo), place.files)
    except UsageError:
        if not snapshot.from_cache or any(name.endswith(SUFFIXES) for name in place.files):
            raise
    raise HubError(
        f"the weights of '{snapshot.repo}' are not cached, and the Hub is offline or out of order",
        hint=f"run once online: `HF_HUB_OFFLINE=0 inflate-zoo convert {snapshot.repo}"
        f"@{snapshot.commit}`",
    )


def fetch_extras(place: Place) -> None:
    """Fetch the small files, and refuse a config before anything large is asked for.

    Raises:
        ConfigError: The config is malformed, or asks for code.
        HubError: The Hub could not be reached, or refused.
    """
    place.fetch([name for name in EXTRAS if name in place.files])
    download.fetch_files(place.snapshot, [place.card] if place.card else [])
    config = None
    if EXTRAS[0] in place.files:
        config = read_json(place.folder / EXTRAS[0])
        check_config(config)
    tower = None
    if OPEN_CLIP_CONFIG in place.files and is_needed(config):
        place.fetch([OPEN_CLIP_CONFIG])
        tower = open_clip_beside(place.folder, config)
    fed = PROCESSOR_CONFIG in place.files  # then the other file may well not exist
    wanted = [EXTRAS[0]] if fed else [EXTRAS[0], PREPROCESSOR_CONFIG]
    if tower is not None:  # it says what both of them would
        wanted = []
    absent = [name for name in wanted if name not in place.files]
    absent += [] if place.card else ["README.md"]
    for name in absent:
        if place.snapshot.from_cache:
            warnings.warn(
                f"{name} of '{place.snapshot.repo}' is not cached; if the repo has it, run once "
                "online",
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
        preprocessor=image_processor(optional(PROCESSOR_CONFIG), optional(PREPROCESSOR_CONFIG)),
        license=license_fields(card) if card.is_file() else {},
        open_clip=open_clip_beside(folder, config),
    )


def open_clip_beside(folder: Path, config: Mapping[str, Any] | None) -> OpenClip | None:
    """What OpenCLIP's config in a folder says of an image tower.

    Args:
        folder: Where the files are.
        config: config.json, or `None`; where it says what the source is, that counts.

    Returns:
        `None` where there is none, it is not needed, or it states no image tower.

    Raises:
        ConfigError: It is malformed.
        UnsupportedModelError: The image tower is no transformer that is converted.
        UsageError: It is no regular file, or cannot be read.
    """
    path = folder / OPEN_CLIP_CONFIG
    if not is_needed(config) or not path.exists():
        return None
    require_regular(path, folder)
    return read_tower(read_json(path))


def _folder_name(text: str) -> str:
    """A name that makes no trouble as a folder, in a shell or on a terminal."""
    plain = re.sub(r"[^\w.+-]+", "-", text).encode()[:96].decode(errors="ignore")
    return plain.strip("-.") or "checkpoint"


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a config that asks for code, or is that of a network of ours.

    Raises:
        ConfigError: `auto_map` is there, or `model_type` says so.
    """
    if "auto_map" in config:
        raise ConfigError(
            "config.json: auto_map points to code in the repo, which is never imported",
            hint="if the architecture is a stock one, remove auto_map from a local copy",
        )
    if config.get("model_type") in (*CONFIGS, SEGMENTER_TYPE):
        raise ConfigError(
            "config.json: model_type says these weights are 3D already",
            hint="inflate_zoo.load(...) takes them as they are",
        )
