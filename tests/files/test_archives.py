"""Archives of strangers: whole, or not at all."""

import gzip
import io
import random
import shutil
import tarfile
import zipfile
from types import SimpleNamespace

import pytest

from inflate_zoo.errors import UsageError, WriteError
from inflate_zoo.files import archives
from inflate_zoo.files.archives import DamagedArchiveError, extract

FILES = {"Task/dataset.json": b"{}", "Task/imagesTr/a.nii.gz": b"voxels" * 1000}


def write_tar(path, files=FILES, members=()):
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o4777
            tar.addfile(info, io.BytesIO(content))
        for info in members:
            tar.addfile(info)
    return path


def write_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def write(path, files=FILES):
    return write_zip(path, files) if path.suffix == ".zip" else write_tar(path, files)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "zip"])
def test_the_one_folder_becomes_the_target(tmp_path, ending):
    archive, told = write(tmp_path / f"a.{ending}"), []
    extract(archive, tmp_path / "out", lambda *amounts: told.append(amounts))
    expected = {name.removeprefix("Task/"): content for name, content in FILES.items()}
    assert contents(tmp_path / "out") == expected
    assert told[-1] == (6002, 6002)
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name, "out"]
    mode = (tmp_path / "out" / "imagesTr" / "a.nii.gz").stat().st_mode
    assert mode & 0o7111 == 0


def test_several_tops_lie_in_the_target(tmp_path):
    files = {"img/a.nii": b"1", "label/a.nii": b"2"}
    extract(write(tmp_path / "a.zip", files), tmp_path / "out")
    assert contents(tmp_path / "out") == files


def test_what_a_mac_leaves_is_left_out(tmp_path):
    junk = {"Task/._dataset.json": b"x", "__MACOSX/Task/a": b"x", "Task/.DS_Store": b"x"}
    extract(write(tmp_path / "a.tar", FILES | junk), tmp_path / "out")
    assert len(contents(tmp_path / "out")) == 2


BAD = ["../x", "Task/../../x", "/etc/x", "C:/x", "C:x", "//host/share/x", "a\\..\\x", "a\nb", "a:b"]


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("ending", ["tar", "zip"])
def test_names_that_lead_out_are_refused_before_anything_is_written(tmp_path, name, ending):
    folder = tmp_path / "inner"
    folder.mkdir()
    archive = write(folder / f"a.{ending}", FILES | {name: b"evil"})
    with pytest.raises(UsageError, match=r"is not unpacked: its member") as caught:
        extract(archive, folder / "out")
    assert "\n" not in caught.value.lines()[0]
    assert sorted(p.name for p in tmp_path.rglob("*")) == [archive.name, "inner"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("Task/odd")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(UsageError, match="a link, a device"):
        extract(write_tar(tmp_path / "a.tar", members=[info]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(UsageError, match="is a link or a device"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_a_password_is_told(tmp_path):
    raw = bytearray(write(tmp_path / "a.zip", {"a": b"1"}).read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(UsageError, match="'a' needs a password"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_names_that_some_systems_take_for_one_are_refused(tmp_path):
    for number, twin in enumerate(("TASK/dataset.json", "Task/dataset.json")):
        archive = write_tar(tmp_path / f"{number}.tar", members=[tarfile.TarInfo(twin)])
        with pytest.raises(UsageError, match="stands there twice"):
            extract(archive, tmp_path / "out")


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_SMALL", 1000)
    archive = write(tmp_path / "a.zip", {"a": bytes(10**7)})
    with pytest.raises(UsageError, match="would become 10,000,000"):
        extract(archive, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize("keep", [0, 200, 4000])
def test_a_truncated_archive_is_told(tmp_path, ending, keep):
    files = {"Task/a": bytes(range(256)) * 100}
    archive = write(tmp_path / f"a.{ending}", files)
    archive.write_bytes(archive.read_bytes()[: min(keep, archive.stat().st_size - 30)])
    with pytest.raises(UsageError, match=r"'a\.[a-z.]+' is damaged") as caught:
        extract(archive, tmp_path / "out")
    assert caught.value.hint == "download it again"
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name]


def large(path):
    return write_tar(path, {"Task/a": random.Random(0).randbytes(30_000), "Task/b": b"small"})


def flipped(raw, place):
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


@pytest.mark.parametrize("where", [-6, -2, 15_000])  # the checksum, the length, the content
def test_a_flipped_bit_of_a_gzip_file_is_told(tmp_path, where):
    archive = large(tmp_path / "a.tar.gz")
    raw = archive.read_bytes()
    archive.write_bytes(flipped(raw, where % len(raw)))
    with pytest.raises(DamagedArchiveError, match=r"'a\.tar\.gz' is damaged"):
        extract(archive, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name]


SECOND = 512 + 30_208  # where the header of the second file is


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:SECOND],
        lambda raw: raw[: SECOND + 200],
        lambda raw: raw[: SECOND + 1024],
        lambda raw: flipped(raw, SECOND + 3),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_tar_without_its_end_is_told(tmp_path, spoil, packed):
    raw = spoil(large(tmp_path / "whole.tar").read_bytes())
    archive = tmp_path / ("a.tgz" if packed else "a.tar")
    archive.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(DamagedArchiveError, match="is damaged"):
        extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("extra", [b"junk behind the archive", bytes(512 * 40)])
def test_what_follows_the_end_of_a_tar_does_not_matter(tmp_path, extra):
    archive = large(tmp_path / "a.tar")
    archive.write_bytes(archive.read_bytes() + extra)
    extract(archive, tmp_path / "out")
    assert len(contents(tmp_path / "out")) == 2


def test_bombs_of_many_files_and_behind_the_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ARCHIVE_MEMBERS", 3)
    many = write_tar(tmp_path / "a.tar", {f"{n}": b"" for n in range(5)})
    with pytest.raises(UsageError, match="in 4 files or more"):
        extract(many, tmp_path / "out")
    monkeypatch.setattr(archives, "_SMALL", 50_000)
    behind = tmp_path / "b.tgz"
    behind.write_bytes(gzip.compress(write_tar(tmp_path / "b.tar").read_bytes() + bytes(10**7)))
    with pytest.raises(UsageError, match="is not unpacked"):
        extract(behind, tmp_path / "out")


def test_an_archive_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        extract(tmp_path, tmp_path / "out")


def test_damage_found_while_unpacking_is_no_fault_of_the_target(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", bytes(range(256)) * 50)
    raw = archive.read_bytes()
    archive.write_bytes(flipped(raw, 40))  # a local header has 30 bytes and the name
    with pytest.raises(DamagedArchiveError, match="is damaged: "):
        extract(archive, tmp_path / "out")


def test_a_member_with_a_wrong_checksum_is_told(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:  # stored: its bytes stand as they are
        file.writestr("a", b"voxels" * 100)
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"voxels") + 7] ^= 255
    archive.write_bytes(raw)
    with pytest.raises(UsageError, match="is damaged"):
        extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_before_and_while(tmp_path, monkeypatch):
    archive = write(tmp_path / "a.tar")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
        with pytest.raises(WriteError, match="unpacking 'out' takes"):
            extract(archive, tmp_path / "out")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_publish", full)
    with pytest.raises(WriteError, match="'out' cannot be written: No space left on device"):
        extract(archive, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar"]
