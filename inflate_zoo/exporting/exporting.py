"""Exporting: a source is found, translated, written, proved from its files, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from inflate_zoo.errors import OutputExistsError, UnknownNameError, UsageError
from inflate_zoo.exporting.record import (
    RECORD,
    ExportedFile,
    ExportRecord,
    read_export,
    versions_of,
)
from inflate_zoo.exporting.sources import load_source
from inflate_zoo.exporting.target import Export, ExportJob
from inflate_zoo.exporting.targets import TARGETS
from inflate_zoo.extras import install_hint
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.writing.contents import form_text, write_text
from inflate_zoo.files.writing.staging import check_target, staged


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What a user asks for.

    Attributes:
        source: Folder, Hub repo or zoo entry.
        target: Name of the target.
        out: Output folder; named by source and target by default.
        volume: Volume (depth, height, width) in voxels; `None` takes the source's own.
        batch: Volumes at a time; `None` for any number.
        force: Replace an export to the same target.
    """

    source: str
    target: str
    out: Path | None = None
    volume: Sequence[int] | None = None
    batch: int | None = None
    force: bool = False


def export_source(request: ExportRequest) -> tuple[Path, ExportRecord]:
    """Export a network, proved from the written files.

    Returns:
        The folder, and what its export.json says.

    Raises:
        UnknownNameError: No such target, or no such source.
        UsageError: The source or the output cannot be used, the network cannot be exported so, or
            a library is missing.
        VerificationError: The written files do not give what the network gives; nothing is left.
        WriteError: Disk full, read-only folder.
    """
    kind = _target(request.target)
    if request.out is not None:
        check_target(request.out, force=request.force)
    source = load_source(request.source, request.volume)
    out = request.out or Path(f"{source.name}-{request.target}")
    check_target(out, force=request.force)
    export = kind(ExportJob(source, request.batch))
    _refuse_other(out, request.target, export)
    with staged(out, [*export.files, RECORD], force=request.force) as stage:
        export.write(stage)
        record = _record(request.target, export, stage)
        write_text(stage / RECORD, form_text(record))
    return out, record


def _target(name: str) -> type[Export]:
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    kind = TARGETS[name]
    missing = [module for module in kind.modules if find_spec(module) is None]
    if missing:
        raise UsageError(
            f"target '{name}' needs {', '.join(missing)}: the extra 'export' brings them",
            hint=install_hint(missing),
        )
    return kind


def _refuse_other(out: Path, target: str, export: Export) -> None:
    """Refuse a folder with another export: its files would stay, with nothing that vouches."""
    there = read_export(out)
    if there is not None and (there.target != target or set(there.files) - set(export.files)):
        raise OutputExistsError(
            f"'{out.name}' holds another export, to {there.target}: {', '.join(there.files)}",
            hint="choose another folder with --out",
        )


def _record(target: str, export: Export, folder: Path) -> ExportRecord:
    source = export.job.source
    proof = export.prove(folder)
    files = {
        name: ExportedFile(sha256=sha256(folder / name), bytes=(folder / name).stat().st_size)
        for name in export.files
    }
    return ExportRecord(
        target=target,
        source=source.origin,
        volume=export.volume,
        batch=export.job.batch,
        opset=export.opset,
        inputs=export.inputs,
        outputs=export.outputs,
        input=source.fed,
        classes=source.classes,
        monai_vit=export.monai_vit,
        notes=(*source.notes, *export.notes),
        files=files,
        versions=versions_of(export.packages),
        proof=proof,
    )
