"""Atomic writing on full, closed and strange disks, and listing pictures."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
from pictures import as_nobody, folder_for_everyone
from PIL import Image

from distillfss.errors import DataError, OutputError
from distillfss.io.decode import read_image
from distillfss.io.files import atomic_write, check_writable, left_in_subfolders, list_images

OLD = b"what was there before"


def refused(path: Path, data: object = b"new", write: object = atomic_write) -> OutputError:
    with pytest.raises(OutputError) as caught:
        write(path, data) if write is atomic_write else write(path)
    assert caught.value.exit_code == 5
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.cure
    return caught.value


def test_bytes_and_writer(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a", b"one")
    assert (tmp_path / "a").read_bytes() == b"one"

    def writer(file: BinaryIO) -> None:
        file.write(b"t")
        assert (tmp_path / "a").read_bytes() == b"one"  # the old file stays until the new one is whole
        file.write(b"wo")

    atomic_write(tmp_path / "a", writer)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_temporary_file_is_hidden_beside_the_target_and_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    fsync, replace = os.fsync, Path.replace

    def note_sync(handle: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def note_replace(self: Path, target: Path) -> Path:
        events.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)

    def writer(file: BinaryIO) -> None:
        (name,) = [p.name for p in tmp_path.iterdir()]
        assert name.startswith(".distillfss-")
        assert name.endswith(".part")
        file.write(b"x")

    atomic_write(tmp_path / "a", writer)
    assert events == ["file", "replace", "folder"]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_other_errors_pass_and_leave_nothing(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "a").write_bytes(OLD)

    def writer(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        atomic_write(tmp_path / "a", writer)
    assert (tmp_path / "a").read_bytes() == OLD
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("number", "problem", "cure"),
    [
        (errno.ENOSPC, "disk is full", "Free some space"),
        (errno.EDQUOT, "quota", "Free some space"),
        (errno.EFBIG, "larger than", "another disk"),
        (errno.EACCES, "permission denied", "may write to"),
        (errno.EROFS, "read-only", "another disk"),
        (errno.EIO, "could not be written", "Check the disk"),
    ],
)
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_failures_of_the_system_name_file_and_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, problem: str, cure: str, step: str
) -> None:
    target = tmp_path / "model.safetensors"
    target.write_bytes(OLD)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    error = refused(target, fail if step == "write" else b"new")
    assert problem in error.problem
    assert cure in error.cure
    assert target.read_bytes() == OLD
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


WRITE = """
import sys
from distillfss.io.decode import read_image
from distillfss.io.files import atomic_write
from distillfss.errors import OutputError
try:
    atomic_write(sys.argv[1], bytes(200_000))
except OutputError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_limit_of_the_process_is_met_for_real(tmp_path: Path) -> None:
    """The kernel refuses to write beyond RLIMIT_FSIZE, half-way through the file."""
    import resource

    target = tmp_path / "a.bin"
    target.write_bytes(OLD)
    result = subprocess.run(
        [sys.executable, "-c", WRITE, target],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536)),
        check=False,
    )
    assert result.returncode == 5, result.stderr
    assert result.stdout.startswith(f"{target}: the file would be larger than")
    assert target.read_bytes() == OLD
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_full_disk_is_met_for_real(tmp_path: Path) -> None:
    """A file system of 64 KiB in a name space of its own, where the kernel lets us have one."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=64k none '{disk}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this system does not let us mount a small disk")
    script = f"{mount} && echo old > '{disk}/a.bin' && {{ '{sys.executable}' -c \"$1\" '{disk}/a.bin'; echo rc=$?; "
    script += f"cat '{disk}/a.bin'; ls -A '{disk}'; }}"
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", WRITE], capture_output=True, text=True, check=False
    )
    message, code, content, *names = result.stdout.splitlines()
    assert message.startswith(f"{disk}/a.bin: the disk is full. Free some space"), result.stderr
    assert (code, content, names) == ("rc=5", "old", ["a.bin"])


def test_missing_folder_file_as_folder_folder_as_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    for write in (atomic_write, check_writable):
        assert "does not exist" in refused(tmp_path / "missing" / "a", write=write).problem
        assert "not a folder" in refused(tmp_path / "file" / "a", write=write).problem
        assert "is a folder" in refused(tmp_path, write=write).problem
        assert "too long" in refused(tmp_path / ("x" * 300), write=write).problem
    assert (tmp_path / "file").read_bytes() == OLD
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_devices_and_pipes_are_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "device or pipe" in refused(pipe).problem
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert "device or pipe" in refused(Path("/dev/null"), write=check_writable).problem


def test_links_are_followed_and_permissions_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a"
    target.write_bytes(OLD)
    target.chmod(0o640)
    (tmp_path / "link").symlink_to(target)
    atomic_write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    (tmp_path / "ahead").symlink_to(tmp_path / "real" / "b")
    atomic_write(tmp_path / "ahead", b"new")
    assert (tmp_path / "real" / "b").read_bytes() == b"new"


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_the_longest_name_allowed_can_be_written(tmp_path: Path) -> None:
    atomic_write(tmp_path / ("x" * 255), b"new")
    assert [len(p.name) for p in tmp_path.iterdir()] == [255]


def test_folder_or_file_closed_for_writing() -> None:
    with folder_for_everyone() as folder:
        (folder / "a").write_bytes(OLD)
        (folder / "a").chmod(0o444)
        with as_nobody():
            error = refused(folder / "a")
        assert "write-protected" in error.problem
        folder.chmod(0o555)
        for write in (atomic_write, check_writable):
            with as_nobody():
                error = refused(folder / "b", write=write)
            assert "permission denied" in error.problem
            assert "may write to" in error.cure
        folder.chmod(0o777)
        assert (folder / "a").read_bytes() == OLD
        assert [p.name for p in folder.iterdir()] == ["a"]


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").write_bytes(OLD)
    check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == OLD


# --- listing ---------------------------------------------------------------------------------------------------------


def not_listed(source: str | Path) -> DataError:
    with pytest.raises(DataError) as caught:
        list_images(source)
    assert caught.value.exit_code == 3
    assert caught.value.cure
    return caught.value


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a.jpg", "C.Tiff", "notes.txt", ".hidden.png", ".distillfss-0.part", "odd[1].png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "deep.png").write_bytes(b"x")
    return tmp_path


def test_folder_lists_its_pictures_sorted(album: Path) -> None:
    assert [p.name for p in list_images(album)] == ["C.Tiff", "a.jpg", "b.PNG", "odd[1].png"]
    assert list_images(str(album)) == list_images(album)


def test_one_file_is_taken_whatever_its_name(album: Path) -> None:
    assert list_images(album / "notes.txt") == [album / "notes.txt"]
    assert list_images(str(album / "odd[1].png")) == [album / "odd[1].png"]


def test_patterns(album: Path) -> None:
    assert [p.name for p in list_images(f"{album}/*.png")] == ["odd[1].png"]
    assert [p.name for p in list_images(f"{album}/[ab].*")] == ["a.jpg", "b.PNG"]
    assert [p.name for p in list_images(f"{album}/**/*.png")] == ["deep.png", "odd[1].png"]
    assert [p.name for p in list_images(f"{album}/*")] == ["C.Tiff", "a.jpg", "b.PNG", "odd[1].png"]
    assert "no picture matches" in not_listed(f"{album}/*.bmp").problem
    assert "no such folder" in not_listed(f"{album}/missing/*.png").problem


def test_relative_pattern(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    assert list_images("*.jpg") == [Path("a.jpg")]


def test_nothing_there(tmp_path: Path) -> None:
    assert "no pictures in this folder" in not_listed(tmp_path).problem
    assert "sub-folders" not in not_listed(tmp_path).cure
    scans = tmp_path / "scans [1]"
    (scans / "day" / "one").mkdir(parents=True)
    (scans / "day" / "one" / "a.png").touch()
    pattern = not_listed(scans).cure.rpartition("with a pattern: ")[2].strip("'")
    assert list_images(pattern) == [scans / "day" / "one" / "a.png"]
    error = not_listed(tmp_path / "missing")
    assert "no such file or folder" in error.problem
    assert error.path == tmp_path / "missing"


def test_link_to_nowhere_is_listed_so_that_it_can_be_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert list_images(tmp_path) == [tmp_path / "a.png"]


def test_folder_without_read_permission() -> None:
    with folder_for_everyone() as folder:
        closed = folder / "closed"
        closed.mkdir()
        (closed / "a.png").write_bytes(b"x")
        closed.chmod(0o700 if os.getuid() == 0 else 0)
        for source in (closed, f"{closed}/*.png"):
            with as_nobody():
                error = not_listed(source)
            assert error.path == closed
            assert "permission denied" in error.problem
            assert "chmod" in error.cure
        with as_nobody():
            assert "permission denied" in not_listed(closed / "a.png").problem


def test_what_is_no_picture_costs_itself_and_not_its_folder(tmp_path: Path) -> None:
    """Links in a circle, pipes, sockets, folders and names that are no text, beside one sound picture."""
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    strange = tmp_path / os.fsdecode(b"no \xff text\n.png")
    strange.write_bytes(b"no picture")
    Image.new("RGB", (3, 2)).save(tmp_path / "sound.png")
    found = list_images(tmp_path)
    assert [path.name for path in found] == sorted(["circle.png", "zero.png", "pipe.png", strange.name, "sound.png"])
    for path in found:
        if path.name == "sound.png":
            assert read_image(path).pixels.shape == (2, 3, 3)
        else:
            with pytest.raises(DataError) as caught:
                read_image(path)
            assert caught.value.path == path


def test_sub_folders_with_pictures_that_are_left_out_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "scans[1]"
    named = [folder / name for name in ("a", "b", "c", "d", ".hidden", "notes", "empty", "masks", "earlier", "picks")]
    for below in named:
        (below / "deeper").mkdir(parents=True)
        (below / "deeper" / "x.png").touch()
    for below in named[:5] + named[7:]:
        (below / "x.JPG").touch()
    (named[5] / "notes.txt").touch()
    (named[5] / ".x.png").touch()
    (named[6] / "x.png").mkdir()
    (named[8] / ".distillfss-records").mkdir()
    (named[9] / "picked.csv").touch()
    (folder / "x.png").touch()
    pattern = f"'{tmp_path}/scans[[]1]/**/*'"
    told = f"{folder}: pictures in 4 sub-folders (a, b, c and 1 more) are left out; this pattern takes them, too: "
    assert left_in_subfolders(folder, folder / "masks") == [told + pattern]
    assert left_in_subfolders(str(folder), None)[0].startswith(f"{folder}: pictures in 5 sub-folders (a, b, c and 2 ")
    assert {path.parent for path in list_images(pattern.strip("'"))} >= {folder, *named[:4]}
    for nowhere in (folder / "a" / "x.JPG", folder / "a" / "deeper", pattern, tmp_path / "missing", "\0"):
        assert left_in_subfolders(nowhere) == []


def test_other_suffixes_count_in_sub_folders_where_they_count_at_all(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "x.mp4").touch()
    assert left_in_subfolders(tmp_path) == []
    (told,) = left_in_subfolders(tmp_path, None, frozenset({".mp4"}))
    assert told.startswith(f"{tmp_path}: pictures in 1 sub-folder (films) are left out; ")
