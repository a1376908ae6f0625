"""Torch's own program in a file, and what is never unpickled."""

import io
import json
import pickle
import zipfile

import pytest
import torch

from inflate_zoo.errors import VerificationError
from inflate_zoo.exporting.exported_program import FILE, TorchExport, require_plain
from tests.support.exports import exported, fewer_blocks, job_of


@pytest.fixture(scope="module")
def export():
    return TorchExport(job_of(exported(fewer_blocks("inflated_vit"), None)))


@pytest.fixture(scope="module")
def folder(export, tmp_path_factory):
    made = tmp_path_factory.mktemp("pt2")
    export.write(made)
    return made


def test_the_written_program_gives_what_the_network_gives(export, folder):
    proof = export.prove(folder)
    assert proof.error_over_rms < 1e-6
    assert len(proof.errors) == 4
    assert f"torch {torch.__version__}" in proof.by
    assert export.files == (FILE,)
    assert export.opset is None


def changed(path, target, change):
    """A copy of an archive with some entries changed: `change` is given name and content."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return target


class Hostile:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


def test_what_is_marked_as_pickled_is_refused_before_torch_reads_it(folder, tmp_path):
    def marked(name, content):
        if not name.endswith("_weights_config.json"):
            return content
        table = json.loads(content)
        next(iter(table["config"].values()))["use_pickle"] = True
        return json.dumps(table)

    path = changed(folder / FILE, tmp_path / FILE, marked)
    with pytest.raises(VerificationError, match="is pickled"):
        require_plain(path)


def test_example_inputs_that_are_no_plain_tensors_are_refused_unread(folder, tmp_path):
    def hostile(name, content):
        if "/sample_inputs/" not in name:
            return content
        made = io.BytesIO()
        torch.save(Hostile(), made)
        return made.getvalue()

    path = changed(folder / FILE, tmp_path / FILE, hostile)
    with pytest.raises(VerificationError, match="cannot be proved"):
        require_plain(path)


@pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps([1])])
def test_what_is_no_such_archive_is_refused(content, tmp_path):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(VerificationError, match="cannot be proved"):
        require_plain(tmp_path / FILE)


def test_archives_of_old_releases_which_hold_pickles_are_refused(folder, tmp_path):
    path = changed(folder / FILE, tmp_path / FILE, lambda _, content: content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/data/weights/model.pt", b"")
    with pytest.raises(VerificationError, match=r"model\.pt is pickled"):
        require_plain(path)


def test_another_network_than_the_written_one_is_noticed(folder):
    other = TorchExport(job_of(exported(fewer_blocks("inflated_vit"), None).apply(_shifted)))
    with pytest.raises(VerificationError, match="of the RMS"):
        other.prove(folder)


def _shifted(module):
    if isinstance(module, torch.nn.Linear):
        with torch.no_grad():
            module.weight += 0.01


def test_nothing_else_of_the_package_reads_such_files():
    from tests.whole.test_mirror import PACKAGE

    readers = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "torch.export.load" in path.read_text(encoding="utf-8")
    ]
    assert readers == ["exporting/exported_program.py"]
