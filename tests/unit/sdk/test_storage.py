"""Files that arrive whole or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from twocvm_sdk import storage


def test_a_file_has_its_name_only_at_the_end(tmp_path: Path) -> None:
    """Until the `with` ends the old content stands; then the new one does, private whatever was there."""
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with storage.arriving(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["model"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    """An exception on the way leaves the old file and nothing else."""
    path = tmp_path / "model"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with storage.arriving(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    """A folder's name, or one in a folder that is not there, is refused before anything is written."""
    for path in (tmp_path, tmp_path / "nowhere" / "model"):
        with pytest.raises(OSError, match=r"is a folder|No such file"), storage.arriving(path):
            pytest.fail("never reached")


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    """What a link leads to stays as it was."""
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "model").symlink_to(tmp_path / "target")
    with storage.arriving(tmp_path / "model") as file:
        file.write(b"ours")
    assert (tmp_path / "target").read_bytes() == b"theirs"
    assert not (tmp_path / "model").is_symlink()


_VICTIMS = """
import os, signal, sys
from pathlib import Path
from twocvm_sdk import storage

path, killed, step = Path(sys.argv[1]), True, 0
while killed:
    path.write_bytes(b"old")
    child = os.fork()
    if child == 0:
        left = step
        def end(event, arguments):
            global left
            if event in ("open", "os.rename", "os.remove"):
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
        sys.addaudithook(end)
        with storage.arriving(path) as file:
            file.write(b"new" * 100000)
        os._exit(0)
    killed = os.WTERMSIG(os.waitpid(child, 0)[1])
    print(killed, path.read_bytes()[:3].decode(), path.stat().st_size)
    step += 1
"""


def test_a_process_killed_at_any_step_leaves_no_part(tmp_path: Path) -> None:
    """Killed before any file operation, the file is the old one or, after the last rename, the whole new one."""
    command = [sys.executable, "-c", _VICTIMS, str(tmp_path / "model")]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    assert set(lines[:-1]) <= {"9 old 3", "9 new 300000"}
    assert lines[0] == "9 old 3"
    assert lines[-1] == "0 new 300000"
    assert len(lines) >= 3
