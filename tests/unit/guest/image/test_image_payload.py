"""A payload: the disk, its tree of hashes, and what the first process makes of it before the kernel is asked."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from twocvm_guest.image import erofs, payload, verity
from twocvm_guest.image.command_line import Payload
from twocvm_guest.image.init import payload as attached
from twocvm_guest.image.init.payload import PayloadError
from twocvm_guest.image.payload import read_payload, write_payload
from twocvm_guest.main import run as run_command
from twocvm_verifier.errors import MalformedError

BLOCK = verity.BLOCK_BYTES
# More files than the names of one block, and every length around a block's.
CONTENTS = (b"", b"x", bytes(BLOCK), bytes(BLOCK + 1), b"model" * 300_000, *(b"%d" % number for number in range(120)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of every length, one of them twice."""
    made = tmp_path_factory.mktemp("files")
    (made / "below").mkdir()
    (made / "below" / "again").write_bytes(CONTENTS[1])
    for number, content in enumerate(CONTENTS):
        (made / f"file-{number}").write_bytes(content)
    return made


@pytest.fixture(scope="module")
def disk(folder: Path) -> Path:
    """The disk of that folder."""
    made = folder.parent / "disk"
    write_payload(folder, made)
    return made


def tree_of(disk: Path, blocks: int) -> tuple[bytes, bytes]:
    """The root, and the tree, of the data that a disk has."""
    data = disk.read_bytes()[: blocks * BLOCK]
    starts = range(0, len(data), BLOCK)
    return verity.hash_tree(b"".join(hashlib.sha256(data[at : at + BLOCK]).digest() for at in starts))


def test_same_files_are_the_same_bytes(folder: Path, disk: Path, tmp_path: Path) -> None:
    """Neither names, times nor folders are in it; each file is named once, by its digest."""
    other = tmp_path / "other"
    other.mkdir()
    for number, content in enumerate(reversed(CONTENTS)):
        (other / f"{number}.bin").write_bytes(content)
    written = write_payload(other, tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == disk.read_bytes()
    assert written.payload == read_payload(disk) == write_payload(folder, tmp_path / "again").payload
    assert written.files["0.bin"] == hashlib.sha256(CONTENTS[-1]).digest()
    assert len(set(written.files.values())) == len(CONTENTS)


def test_tree_follows_the_data(disk: Path) -> None:
    """After the blocks that the file system counts comes the tree of exactly these, whose root is the payload's."""
    known = read_payload(disk)
    root, tree = tree_of(disk, known.blocks)
    assert root == known.root
    assert disk.read_bytes()[known.blocks * BLOCK :] == tree
    # 1.5 MB have more hashes than one block holds: a second level, which comes first.
    assert known.blocks > 128
    assert verity.root_of(tree[:BLOCK]) == root


@pytest.mark.parametrize("at", [1024, 1036, BLOCK, BLOCK + 16, 4 * BLOCK, 40 * BLOCK + 7, -BLOCK])
def test_no_byte_can_be_another(disk: Path, tmp_path: Path, at: int) -> None:
    """A bit that is flipped anywhere, in the file system, a file or the tree, is another root or another tree."""
    known = read_payload(disk)
    raw = bytearray(disk.read_bytes())
    raw[at] ^= 1
    (tmp_path / "disk").write_bytes(raw)
    root, tree = tree_of(tmp_path / "disk", known.blocks)
    assert (root, tree) != (known.root, raw[known.blocks * BLOCK :])


def test_another_implementation_reads_it(disk: Path, tmp_path: Path) -> None:
    """EROFS's own tool finds no fault, and every file under its digest."""
    if shutil.which("fsck.erofs") is None:
        pytest.skip("fsck.erofs is not here")
    words = ("fsck.erofs", f"--extract={tmp_path / 'out'}", str(disk))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {hashlib.sha256(content).hexdigest(): content for content in CONTENTS}


@pytest.mark.parametrize(
    "change",
    [lambda raw: b"", lambda raw: raw[:BLOCK], lambda raw: bytes(BLOCK) + raw[BLOCK:], lambda raw: raw[:-BLOCK]],
)
def test_other_disks_are_no_payload(folder: Path, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """What has no file system of ours, or ends before its tree, is refused."""
    small = tmp_path / "small"
    small.mkdir()
    (small / "x").write_bytes(b"x")
    write_payload(small, tmp_path / "disk")
    (tmp_path / "disk").write_bytes(change((tmp_path / "disk").read_bytes()))
    with pytest.raises(MalformedError) as refused:
        read_payload(tmp_path / "disk")
    assert refused.value.code == "MALFORMED_PAYLOAD"


def test_folders_that_are_no_payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to bring is refused, and so is a file that is another one when it is read again."""
    (tmp_path / "files").mkdir()
    with pytest.raises(MalformedError, match="no file"):
        write_payload(tmp_path / "files", tmp_path / "disk")
    (tmp_path / "files" / "x").write_bytes(b"x")
    monkeypatch.setattr(payload, "_digest", lambda _: bytes(32))
    with pytest.raises(MalformedError, match="while it was read"):
        write_payload(tmp_path / "files", tmp_path / "disk")
    with pytest.raises(ValueError, match="two blocks"):
        verity.hash_tree(bytes(32))


@pytest.mark.parametrize(
    "place",
    [
        "files/disk",
        "files/x",
        "files/new/../disk",
        "linked/disk",
        "to-x",
        "to-new",
        "same-as-x",
        "outside/packed",
        "loop",
    ],
)
def test_disk_is_never_packed_into_itself(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Inside the folder, one of its files under another name, or behind a link: refused, and nothing is written."""
    files = tmp_path / "files"
    (files / "new").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (files / "x").write_bytes(b"x")
    (tmp_path / "linked").symlink_to(files)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "to-x").symlink_to(files / "x")
    (tmp_path / "to-new").symlink_to(files / "disk")
    (tmp_path / "same-as-x").hardlink_to(files / "x")
    (tmp_path / "outside" / "packed").write_bytes(b"packed")
    (files / "link").symlink_to(tmp_path / "outside" / "packed")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run_command(["image", "payload", str(files), "--out", str(tmp_path / place)]) == 2
    assert "--out" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert run_command(["image", "payload", str(files), "--out", str(tmp_path / "disk")]) == 0
    assert run_command(["image", "payload", str(tmp_path / "linked"), "--out", str(tmp_path / "disk")]) == 0


def test_command(folder: Path, disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It writes the disk, prints the command line's word and the digests, and says what it cannot write to."""
    assert run_command(["image", "payload", str(folder), "--out", str(tmp_path / "disk")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == read_payload(disk).word()
    assert f"{hashlib.sha256(b'x').hexdigest()}  below/again" in said
    assert run_command(["image", "payload", str(folder), "--out", str(tmp_path / "disk"), "-o", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert Payload(root=bytes.fromhex(facts["root"]), blocks=facts["blocks"]) == read_payload(disk)
    assert run_command(["image", "payload", str(folder), "--out", str(tmp_path)]) == 2


def test_first_process_asks_for_what_was_measured(disk: Path) -> None:
    """The kernel gets one target over all of the data, with the root, and ends the machine at a block that differs."""
    known = read_payload(disk)
    table = attached.target(known)
    start, sectors, _, size, kind = struct.unpack_from("=QQiI16s", table)
    assert (start, sectors, size, kind.rstrip(b"\0")) == (0, known.blocks * 8, len(table), b"verity")
    words = table[40:].rstrip(b"\0").decode().split(" ")
    blocks = str(known.blocks)
    assert words[:8] == ["1", "/dev/vda", "/dev/vda", "4096", "4096", blocks, blocks, "sha256"]
    assert words[8:] == [known.root.hex(), "-", "1", "panic_on_corruption"]
    # linux/dm-ioctl.h: DM_DEV_CREATE and DM_TABLE_LOAD on x86_64.
    assert (attached.number(3), attached.number(9)) == (0xC138FD03, 0xC138FD09)
    request = attached.request(table)
    assert struct.unpack_from("=6I", request) == (4, 0, 0, len(request), 312, 1)
    assert request[48:55] == b"payload"


def test_first_process_refuses_another_disk(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another root, a disk that is too short and one that is not there are told before the kernel is asked."""
    known = read_payload(disk)
    attached.require_root(disk, known)
    (tmp_path / "short").write_bytes(disk.read_bytes()[:BLOCK])
    wrong = Payload(root=bytes(32), blocks=known.blocks)
    for other, named in ((disk, wrong), (tmp_path / "short", known), (tmp_path / "none", known)):
        with pytest.raises(PayloadError, match="disk"):
            attached.require_root(other, named)
    monkeypatch.setattr(attached, "_WAIT_SECONDS", 0.05)
    with pytest.raises(PayloadError, match="not there"):
        attached._await(tmp_path / "none")
    monkeypatch.setattr(attached, "CONTROL", Path("/dev/null"))
    with pytest.raises(OSError, match="ioctl"):
        attached.map_disk(known)


def test_attaching_is_in_one_order(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drivers, disk, root, device, mount: read-only, without programs, devices and raised rights."""
    done: list[object] = []
    monkeypatch.setattr(attached.kernel, "load_modules", lambda *, order: done.append(order))
    monkeypatch.setattr(attached, "map_disk", lambda _: done.append("map"))
    monkeypatch.setattr(attached.mounts, "mount", done.append)
    monkeypatch.setattr(attached, "DISK", disk)
    monkeypatch.setattr(attached, "MAPPED", disk)
    attached.attach(read_payload(disk))
    order, mapped, mount = done
    assert (order, mapped) == ("payload", "map")
    assert (mount.kind, mount.source, mount.target, mount.flags) == ("erofs", str(disk), "/run/payload", 0xF)
    done.clear()
    with pytest.raises(PayloadError):
        attached.attach(Payload(root=bytes(32), blocks=2))
    assert done == ["payload"]


def test_file_system_is_read_as_it_was_written() -> None:
    """Its number of blocks comes back; a file of nothing takes none."""
    raw = erofs.head({"0" * 64: 0, "1" * 64: 1})
    assert len(raw) == 3 * BLOCK
    assert erofs.blocks_in(raw) == 4
