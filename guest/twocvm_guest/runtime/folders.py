"""A worker's whole world of files: `/in/PORT/data` to read, `/out/PORT` to write one file into, and nothing else.

Where the worker has a mount namespace, both are tmpfs mounts of their own sizes under a root that holds nothing but
them; the inputs' mount is read-only by the time anything could write. Where it has none, they are folders in a
scratch folder of the supervisor's, on tmpfs too, that only this worker's identity may enter.

Every consumer of an item has a copy of its own, without times: no consumer sees that another one read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from . import syscalls

_PAGE_BYTES: Final = 4096
# Nothing of the kernel's: any folder that is there can be mounted over, in a namespace of one's own.
_MOUNT_POINTS: Final = ("/dev/shm", "/tmp", "/run", "/mnt")  # noqa: S108 - only covered, never written to
_PLAIN: Final = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC | syscalls.MS_NOATIME
_READABLE: Final = 0o555
_COPY_BYTES: Final = 1 << 24


class Folders:
    """What a worker reads and writes.

    Args:
        inputs: Port, descriptor of the sealed item and its size in bytes, for each input.
        outputs: The names of the output ports.
        output_bytes: The most that all outputs may hold together.
        scratch: A folder for when there is no mount namespace, or the empty string where one was promised.

    Attributes:
        root: What comes before `/in` and `/out`: empty, or the scratch folder.
    """

    def __init__(
        self, *, inputs: Sequence[tuple[str, int, int]], outputs: Sequence[str], output_bytes: int, scratch: str
    ) -> None:
        self.root = ""
        self._inputs = inputs
        self._outputs = outputs
        self._output_bytes = output_bytes
        self._scratch = scratch

    def mount(self, uid: int) -> None:
        """Make and fill the folders on mounts of their own, make them the root, and take the old root away.

        Args:
            uid: The identity that will write to `/out`.

        Raises:
            OSError: This process may not mount.
        """
        base = next((place for place in _MOUNT_POINTS if os.path.isdir(place)), "/proc")
        syscalls.mount("none", "/", "none", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
        self._tmpfs(base, pages=4, files=8)
        os.mkdir(f"{base}/in")
        os.mkdir(f"{base}/out")
        pages = sum(_pages(size) for _, _, size in self._inputs)
        self._tmpfs(f"{base}/in", pages=pages, files=2 * len(self._inputs))
        # Room for a file of exactly the limit at every port and a page more, so that going over it shows; for each
        # port's folder, its file, and two files that should not be there.
        count = len(self._outputs)
        self._tmpfs(f"{base}/out", pages=_pages(self._output_bytes) + count + 1, files=4 * count)
        self._fill(base)
        for port in self._outputs:
            os.chown(f"{base}/out/{port}", uid, -1)
        syscalls.mount("none", f"{base}/in", "none", syscalls.MS_REMOUNT | syscalls.MS_RDONLY | _PLAIN, "")
        os.chdir(base)
        # pivot_root(2), "pivot_root(".", ".")": the old root lies over the new one until it is taken away.
        syscalls.pivot_root(".", ".")
        syscalls.unmount(".", syscalls.MNT_DETACH)
        os.chdir("/")
        syscalls.mount("none", "/", "none", syscalls.MS_REMOUNT | syscalls.MS_RDONLY | _PLAIN, "")

    def use_scratch(self) -> None:
        """Make and fill the folders in the scratch folder.

        Raises:
            OSError: There is none, or it is not this identity's.
        """
        if not self._scratch:
            raise OSError(errno.ENOENT, "no scratch folder")
        os.mkdir(f"{self._scratch}/in")
        os.mkdir(f"{self._scratch}/out")
        self._fill(self._scratch)
        self.root = self._scratch

    def shown(self) -> tuple[tuple[str, str, bool], ...]:
        """Return what a component is shown: where it is, the name that the component sees, whether it may write there.

        Two folders for all ports, not one for each: the adapter that ordinary C programs are built with mixes up the
        names of more. Below `/out` only the ports' own folders can be written to.
        """
        return ((f"{self.root}/in", "/in", False), (f"{self.root}/out", "/out", True))

    def open_outputs(self) -> int:
        """Return a descriptor of `/out` for the supervisor, which looks there when this worker has ended."""
        return os.open(f"{self.root}/out", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _fill(self, base: str) -> None:
        for port, fd, size in self._inputs:
            folder = f"{base}/in/{port}"
            os.mkdir(folder)
            _copy(fd, f"{folder}/data", size)
            os.chmod(folder, _READABLE)
            os.utime(folder, ns=(0, 0))
        os.chmod(f"{base}/in", _READABLE)
        os.utime(f"{base}/in", ns=(0, 0))
        for port in self._outputs:
            os.mkdir(f"{base}/out/{port}", mode=0o700)
        os.chmod(f"{base}/out", _READABLE)

    @staticmethod
    def _tmpfs(path: str, *, pages: int, files: int) -> None:
        # Both limits are written even where they are small: tmpfs takes 0 for "no limit". The folder itself is a file.
        data = f"size={max(pages, 1) * _PAGE_BYTES},nr_inodes={files + 2},mode=0755"
        syscalls.mount("tmpfs", path, "tmpfs", _PLAIN, data)


def _copy(source: int, path: str, size: int) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    try:
        done = 0
        while done < size:
            count = os.sendfile(target, source, done, min(_COPY_BYTES, size - done))
            if count == 0:
                raise OSError(errno.EIO, f"{Path(path).parent.name}: the item is shorter than it was said to be")
            done += count
        os.utime(target, ns=(0, 0))
    finally:
        os.close(target)


def _pages(size: int) -> int:
    return -(-size // _PAGE_BYTES)
