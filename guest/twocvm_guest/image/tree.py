"""The files of an image while it is put together: every path once, with where it is from.

>>> tree = Tree()
>>> tree.add_file("usr/bin/python3.11", b"...", program=True, origin="python3.11-minimal 3.11.2")
>>> [entry.path for entry in tree.entries()]
['usr', 'usr/bin', 'usr/bin/python3.11']
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_FOLDER: Final = stat.S_IFDIR | 0o755
_LINK: Final = stat.S_IFLNK | 0o777
_PLAIN: Final = stat.S_IFREG | 0o444
_PROGRAM: Final = stat.S_IFREG | 0o555
IMAGE: Final = "image"
"""The origin of what the image adds by itself."""

OWN: Final = "twocvm"
"""The name of this distribution, with which its packages and its origin begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of an image.

    Attributes:
        path: Without a slash in front.
        mode: Type and permissions, as `st_mode`; nothing is writable, and nothing raises privileges.
        content: A file's bytes, or where a link leads; empty for a folder.
        origin: The package and version that it is from.
    """

    path: str
    mode: int
    content: bytes
    origin: str


class Tree:
    """The files so far. Owners, times, and permissions but for "is a program" are not kept."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def add_file(self, path: str, content: bytes, *, program: bool, origin: str) -> None:
        """Add a file; folders above it come along.

        Raises:
            ValueError: The path is taken, leads out of the tree, or lies below what is no folder.
        """
        self._add(Entry(path=path, mode=_PROGRAM if program else _PLAIN, content=content, origin=origin))

    def add_link(self, path: str, target: str, *, origin: str) -> None:
        """Add a symbolic link; as `add_file`."""
        self._add(Entry(path=path, mode=_LINK, content=target.encode(), origin=origin))

    def add_folder(self, path: str) -> None:
        """Add an empty folder, such as one that is mounted over; as `add_file`."""
        self._add(Entry(path=path, mode=_FOLDER, content=b"", origin=IMAGE))

    def remove(self, path: str) -> None:
        """Take a path out again."""
        del self._entries[path]

    def entries(self) -> Iterator[Entry]:
        """Yield everything, sorted by path, so that a folder comes before what is in it."""
        for path in sorted(self._entries):
            yield self._entries[path]

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def write(self, folder: Path) -> None:
        """Write everything below a folder of this machine, for programs that are to run on it here."""
        for entry in self.entries():
            place = folder / entry.path
            if stat.S_ISDIR(entry.mode):
                place.mkdir()
            elif stat.S_ISLNK(entry.mode):
                place.symlink_to(entry.content.decode())
            else:
                place.write_bytes(entry.content)
                place.chmod(stat.S_IMODE(entry.mode))

    def _add(self, entry: Entry) -> None:
        parts = entry.path.split("/")
        if not all(part not in {"", ".", ".."} for part in parts):
            raise ValueError(f"{entry.path!r}: is no path inside an image")
        if entry.path in self._entries:
            raise ValueError(f"{entry.path!r}: is from {self._entries[entry.path].origin} and from {entry.origin}")
        for parent in map(str, reversed(PurePosixPath(entry.path).parents[:-1])):
            above = self._entries.setdefault(parent, Entry(path=parent, mode=_FOLDER, content=b"", origin=IMAGE))
            # What lies behind a link would be written to wherever that leads on the building machine.
            if not stat.S_ISDIR(above.mode):
                raise ValueError(f"{entry.path!r}: {parent!r} is no folder")
        self._entries[entry.path] = entry
