"""Publishing: a conversion or a trained network becomes a repo on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inflate_zoo.conversion.record import read_conversion
from inflate_zoo.errors import ConfigError, HubError, UsageError
from inflate_zoo.files.reading import called, read_json
from inflate_zoo.hub import download
from inflate_zoo.hub.cards import license_fields
from inflate_zoo.hub.upload import Part, Remote, Target
from inflate_zoo.registry.licenses import binds, may_pass_on, non_commercial
from inflate_zoo.registry.parcels import (
    CARD,
    CONVERSION,
    FILES,
    WEIGHTS,
    Believe,
    Kind,
    Upload,
    find_kind,
    identity_of,
    kind_of,
    read_parcel,
    title_of,
)

State = Literal["new", "changed", "same"]
_FREE_TO_REPLACE = {".gitattributes", CARD}  # what a repo holds that was just made


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was done, or would be.

    Attributes:
        repo: Its id.
        created: Whether the repo was not there before.
        private: Whether only its owners see it.
        commit: The commit that holds the files; `None` in a dry run that found a difference.
        files: Each file with what it was in the repo before.
        cases: How many cases of a data set the files name.
    """

    repo: str
    created: bool
    private: bool
    commit: str | None
    files: tuple[tuple[Part, State], ...]
    cases: int

    @property
    def changed(self) -> bool:
        """Whether anything was, or is, to be sent."""
        return any(state != "same" for _, state in self.files)


def push(
    folder: str | Path,
    repo: str,
    *,
    believe: Believe,
    private: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Upload a conversion or a trained network to the Hub, in one commit.

    A repo that is not there is made. One that holds the same recipe, or the same trial, gets what
    has changed; one that holds anything else is left alone.

    Args:
        folder: What `convert` wrote, a trial's folder, or a saved network with a README.md.
        repo: Its id, `organisation/name`.
        believe: What refuses a trial's record.
        private: Make the repo private.
        dry_run: Only ask.

    Returns:
        What was done.

    Raises:
        UsageError: The folder is not whole, its license does not let it be passed on, it holds
            something private, or the repo holds something else.
        HubError: No login, no connection, or the Hub refused.
    """
    path = Path(folder)
    target = Target(_repo_id(repo), called(path), writing=not dry_run)
    kind = find_kind(path)
    token = target.login()
    _require_license(path, kind)
    parcel = read_parcel(path, kind, token, believe)
    before = target.look()
    there = before
    if before is None and not dry_run:
        target.create(private=private)
        there = target.look()
        if there is None:
            raise HubError(
                f"'{target.repo}' was made, but the Hub does not show it yet",
                hint="run the same command again",
            )
    if there is not None:
        _require_place(parcel, there, target.repo, private=private)
    files = tuple((part, _state(part, there)) for part in parcel.parts)
    commit = there.commit if there else None
    if differing := [part for part, state in files if state != "same"]:
        commit = None
        if there is not None and not dry_run:
            commit = target.commit(differing, there.commit, f"inflate-zoo: {parcel.title}")
    hidden = there.private if there else private
    return Pushed(target.repo, before is None, hidden, commit, files, parcel.cases)


def _repo_id(repo: str) -> str:
    name, revision = download.parse_repo(repo)
    if revision is not None or "/" not in name:
        raise UsageError(f"'{repo}' is no repo to push to", hint="write it as organisation/name")
    return name


def _state(part: Part, there: Remote | None) -> State:
    digest = there.files.get(part.name) if there else None
    if digest is None:
        return "new"
    return "same" if part.matches(digest) else "changed"


def _require_place(parcel: Upload, there: Remote, repo: str, *, private: bool) -> None:
    """Refuse a repo whose files are not the parcel's to replace.

    Raises:
        UsageError: Says what it holds.
    """
    if private and not there.private:
        raise UsageError(
            f"'{repo}' is there already, and public", hint="choose another name for a private one"
        )
    names = sorted(set(there.files) - _FREE_TO_REPLACE)
    if not names:
        return
    kind = kind_of(names)
    first = FILES[kind][0] if kind else ""
    digest = there.files.get(first, "")
    found: Mapping[str, Any] = {}
    if kind == parcel.kind and parcel.parts[0].matches(digest):
        return
    if kind and digest and first != WEIGHTS:
        found = _remote_table(repo, there.commit, first)
        if kind == parcel.kind and identity_of(kind, found) == parcel.identity:
            return
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    details = [f"there: {title_of(kind, found)}"] if kind and found else []
    raise UsageError(
        f"'{repo}' holds something else than this {parcel.title}; nothing was sent",
        details=[*details, f"its files: {shown}"],
        hint="push to another repo",
    )


def _remote_table(repo: str, commit: str, name: str) -> Mapping[str, Any]:
    """A repo's JSON file; nothing where it is none."""
    (path,) = download.fetch_files(download.resolve_revision(repo, commit), [name])
    try:
        return read_json(path)
    except ConfigError:
        return {}


def _require_license(folder: Path, kind: Kind) -> None:
    """Refuse weights that may not be passed on, or of which that is not known.

    A conversion's license is the one that was recorded when it was made. Its card may name another
    one only where that one does not tell, or to add that commerce is excluded, which copyleft,
    share-alike and Open RAIL licenses do not let anybody add.

    Raises:
        UsageError: Says the license, where it stands, and what to do.
    """
    source = read_conversion(folder).source if kind == "conversion" else None
    recorded = source.license if source else {}
    origin = (source.repo or source.name) if source else None
    known = recorded.get("license", "")
    card = folder / CARD
    stated = license_fields(card) if card.is_file() else {}
    shown = stated.get("license", "")
    if may_pass_on(known) is False:
        raise UsageError(
            f"the license of '{origin}' is '{known}' ({CONVERSION}): weights made from it may not "
            "be passed on",
            hint=f"pass on the recipe: inflate-zoo convert {origin}, with the same options",
        )
    if not shown:
        example = known if may_pass_on(known) else "<its identifier, e.g. apache-2.0>"
        raise UsageError(
            f"no license is stated in {CARD} of '{called(folder)}'",
            details=["---", f"license: {example}", "---"],
            hint=f"write these lines at the top of {CARD}, with the license that the source's "
            "asks for, then push again",
        )
    if may_pass_on(shown) is False:
        raise UsageError(
            f"the license is '{shown}' ({CARD}): such weights may not be passed on",
            hint="keep them to yourself, or correct it if the source has another one",
        )
    if may_pass_on(known):
        narrowed = may_pass_on(shown) and non_commercial(shown) and not binds(known)
        if shown.lower() != known.lower() and not narrowed:
            raise UsageError(
                f"the license of '{origin}' is '{known}' ({CONVERSION}), {CARD} says '{shown}'",
                hint=f"put 'license: {known}' back into the front matter of {CARD}",
            )
    elif stated == recorded or not _is_answer(stated):
        raise _unknown(shown, CARD if stated != recorded else CONVERSION, stated)


def _is_answer(stated: Mapping[str, str]) -> bool:
    """Whether a card says under which license weights are passed on."""
    named = stated["license"].lower() == "other" and {"license_name", "license_link"} <= set(stated)
    return may_pass_on(stated["license"]) is True or named


def _unknown(name: str, where: str, stated: Mapping[str, str]) -> UsageError:
    link = stated.get("license_link")
    return UsageError(
        f"the license is '{name}' ({where}): that does not say whether weights made from weights "
        "under it may be passed on",
        details=[
            "license: <identifier, e.g. apache-2.0>",
            "or: license: other, license_name: <name and version>, license_link: <its text>",
        ],
        hint=f"find out{f' at {link}' if link else ''}; if they may, say so in the front matter of "
        f"{CARD}, then push again",
    )
