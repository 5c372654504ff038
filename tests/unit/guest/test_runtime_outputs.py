"""Taking outputs from a folder that anybody wrote: one plain file at each port, and nothing besides."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twocvm_guest.runtime.outputs import OutputError, collect, is_exceeded


@pytest.fixture
def out(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """An `/out` with the port `report`, and its descriptor."""
    folder = tmp_path / "out"
    (folder / "report").mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield folder, descriptor
    os.close(descriptor)


def test_a_plain_file_is_taken(out: tuple[Path, int]) -> None:
    """A regular file with one name and no more than its bytes becomes a sealed item, also when it is empty."""
    folder, descriptor = out
    (folder / "more").mkdir()
    (folder / "report" / "data").write_bytes(b"x" * 3_000_000)
    (folder / "more" / "data").write_bytes(b"")
    items = collect(descriptor, {"report": 3_000_000, "more": 10})
    assert (items["report"].open().read(), items["more"].size_bytes) == (b"x" * 3_000_000, 0)
    for item in items.values():
        item.close()


def secret(folder: Path) -> Path:
    """A file outside `/out` that nothing in it may lead to."""
    path = folder.parent / "secret"
    path.write_bytes(b"another participant's")
    return path


def _port_is_a_link(folder: Path) -> None:
    (folder / "report").rmdir()
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "data").write_bytes(b"another participant's")
    (folder / "report").symlink_to("../elsewhere")


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "report" / "data"))


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda folder: None, "OUTPUT_MISSING"),
    "other name": (lambda folder: (folder / "report" / "dato").write_bytes(b""), "OUTPUT_UNEXPECTED"),
    "two files": (
        lambda folder: [(folder / "report" / name).write_bytes(b"") for name in ("data", "more")],
        "OUTPUT_UNEXPECTED",
    ),
    "thousands of files": (
        lambda folder: [(folder / "report" / str(number)).write_bytes(b"") for number in range(3000)],
        "OUTPUT_UNEXPECTED",
    ),
    "another port": (lambda folder: (folder / "more").mkdir(), "OUTPUT_UNEXPECTED"),
    "a file beside the ports": (lambda folder: (folder / "data").write_bytes(b""), "OUTPUT_UNEXPECTED"),
    "no port": (lambda folder: (folder / "report").rmdir(), "OUTPUT_UNEXPECTED"),
    "a folder": (lambda folder: (folder / "report" / "data").mkdir(), "OUTPUT_NOT_A_FILE"),
    "a link": (lambda folder: (folder / "report" / "data").symlink_to(secret(folder)), "OUTPUT_NOT_A_FILE"),
    "a relative link": (lambda folder: (folder / "report" / "data").symlink_to("../../secret"), "OUTPUT_NOT_A_FILE"),
    "a link to itself": (lambda folder: (folder / "report" / "data").symlink_to("data"), "OUTPUT_NOT_A_FILE"),
    "a link to the kernel's": (
        lambda folder: (folder / "report" / "data").symlink_to("/proc/self/environ"),
        "OUTPUT_NOT_A_FILE",
    ),
    "a second name": (lambda folder: os.link(secret(folder), folder / "report" / "data"), "OUTPUT_NOT_A_FILE"),
    "a pipe": (lambda folder: os.mkfifo(folder / "report" / "data"), "OUTPUT_NOT_A_FILE"),
    "a socket": (_socket, "OUTPUT_NOT_A_FILE"),
    "a port that is a link": (_port_is_a_link, "OUTPUT_NOT_A_FILE"),
    "a byte too much": (lambda folder: (folder / "report" / "data").write_bytes(bytes(101)), "OUTPUT_TOO_LARGE"),
    "a sparse file": (lambda folder: os.truncate(_touched(folder), 1 << 40), "OUTPUT_TOO_LARGE"),
}


def _touched(folder: Path) -> Path:
    (folder / "report" / "data").touch()
    return folder / "report" / "data"


@pytest.mark.parametrize("case", CASES)
def test_anything_else_is_refused(out: tuple[Path, int], case: str) -> None:
    """Links, pipes, sockets, folders, second names, extra files and bytes too many each have their code."""
    folder, descriptor = out
    make, code = CASES[case]
    make(folder)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OutputError) as caught:
        collect(descriptor, {"report": 100})
    assert caught.value.code == code
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_refused(out: tuple[Path, int]) -> None:
    """A device node in place of the file is refused and never read."""
    folder, descriptor = out
    os.mknod(folder / "report" / "data", 0o20644, os.makedev(1, 5))
    with pytest.raises(OutputError) as caught:
        collect(descriptor, {"report": 100})
    assert caught.value.code == "OUTPUT_NOT_A_FILE"


def test_one_wrong_port_takes_the_others_back(out: tuple[Path, int]) -> None:
    """Where one port is wrong, nothing of the others is kept."""
    folder, descriptor = out
    (folder / "report" / "data").write_bytes(b"good")
    (folder / "more").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OutputError):
        collect(descriptor, {"report": 100, "more": 100})
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_met_limit_is_seen(out: tuple[Path, int]) -> None:
    """A file over its limit explains a failure; one within it, a missing one and a link do not."""
    folder, descriptor = out
    assert not is_exceeded(descriptor, {"report": 10})
    (folder / "report" / "data").symlink_to(secret(folder))
    assert not is_exceeded(descriptor, {"report": 10})
    (folder / "report" / "data").unlink()
    (folder / "report" / "data").write_bytes(bytes(10))
    assert not is_exceeded(descriptor, {"report": 10})
    (folder / "report" / "data").write_bytes(bytes(11))
    assert is_exceeded(descriptor, {"report": 10})
