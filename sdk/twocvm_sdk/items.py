"""A participant's files on their way out: read once to commit to them, read again to send them.

Decides whether the bytes that leave are the bytes that were signed for. A file is opened once and read twice; what is
sent is hashed again on the way, and its last part is held back until the digest is known to be right, so that no
upload of other content is ever whole. Memory stays constant whatever the size.

>>> with FileIO("/dev/null") as file:
...     item = ReadItem(name="records-a", path=Path("/dev/null"), size_bytes=0, sha256=bytes(32), file=file)
...     list(Upload(item, progress=print))
records-a 0 0
[]
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Final, TypeAlias

from twocvm_verifier.errors import ReleaseError
from twocvm_verifier.manifest import Component, DataItem, Manifest

# Large enough for the cost of a call to vanish, small enough to stay in a core's cache while it is encrypted.
CHUNK_BYTES: Final = 256 * 1024

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called while an item is sent: its name, bytes sent so far, bytes in all. Runs on the sending thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadItem:
    """One file that was read to its end once, and is still open.

    Attributes:
        name: The item's name in the manifest.
        path: Where the file is (absolute).
        size_bytes: Its length.
        sha256: Its digest (32 bytes).
        file: The open file.
    """

    name: str
    path: Path
    size_bytes: int
    sha256: bytes
    file: FileIO = field(repr=False)

    def require(self, *, size_bytes: int, sha256: bytes) -> None:
        """Refuse a file that is not the one a go was signed for.

        Raises:
            ReleaseError: ITEM_CHANGED.
        """
        if (self.size_bytes, self.sha256) != (size_bytes, sha256):
            raise ReleaseError("ITEM_CHANGED", f"item {self.name!r}: is not the file that the go was signed for")


def require_names(names: frozenset[str], *, manifest: Manifest, participant: str) -> None:
    """Refuse a set of items that is not exactly what the manifest expects of a participant.

    Raises:
        ValueError: One is missing, or is not this participant's to release.
    """
    owned = {item.name for item in manifest.items_of(participant)}
    owned |= {component.name for component in manifest.components_of(participant)}
    if missing := sorted(owned - names):
        raise ValueError(f"items: {missing} are missing; all of a participant's items are released together")
    if foreign := sorted(names - owned):
        raise ValueError(f"items: {foreign} are not items of {participant!r} in this manifest")


@contextmanager
def read_items(paths: Mapping[str, Path], *, manifest: Manifest) -> Iterator[Mapping[str, ReadItem]]:
    """Open every file, read it once, and keep all of them open for the length of a `with`.

    Args:
        paths: By name; each names a data item or a component of the manifest.
        manifest: What is expected of each.

    Yields:
        The items, by name.

    Raises:
        ReleaseError: ITEM_UNREADABLE, ITEM_TOO_LARGE, or ITEM_COMMITMENT_MISMATCH for a component of another digest.
    """
    expected: dict[str, DataItem | Component] = {item.name: item for item in manifest.data}
    expected |= {component.name: component for component in manifest.components}
    with ExitStack() as opened:
        items: dict[str, ReadItem] = {}
        for name, path in paths.items():
            try:
                file = opened.enter_context(FileIO(path, opener=_open_without_waiting))
                items[name] = _read(name, path, file, expected[name])
            except OSError as error:
                raise ReleaseError("ITEM_UNREADABLE", f"item {name!r}: {str(path)!r}: {error.strerror}") from error
        yield items


class Upload:
    """The body of one upload: as long as was said, in chunks, and never whole if the file has changed.

    Args:
        item: What is sent.
        progress: Told after every chunk.
    """

    def __init__(self, item: ReadItem, *, progress: Progress) -> None:
        self._item = item
        self._progress = progress

    def __len__(self) -> int:
        return self._item.size_bytes

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes that the file had when it was read; what was appended since is nobody's item.

        Raises:
            ReleaseError: ITEM_CHANGED, before the last chunk is given out.
        """
        item, sent, digest = self._item, 0, hashlib.sha256()
        self._progress(item.name, 0, item.size_bytes)
        item.file.seek(0)
        while sent < item.size_bytes:
            chunk = item.file.read(min(CHUNK_BYTES, item.size_bytes - sent))
            digest.update(chunk)
            sent += len(chunk)
            if not chunk or (sent == item.size_bytes and digest.digest() != item.sha256):
                raise ReleaseError("ITEM_CHANGED", f"item {item.name!r}: changed while it was sent")
            yield chunk
            self._progress(item.name, sent, item.size_bytes)


def _open_without_waiting(path: str, flags: int) -> int:
    # A pipe in the place of a file is refused, and must not hang before.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _read(name: str, path: Path, file: FileIO, expected: DataItem | Component) -> ReadItem:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise ReleaseError("ITEM_UNREADABLE", f"item {name!r}: {str(path)!r} is not a regular file")
    size = os.fstat(file.fileno()).st_size
    if isinstance(expected, DataItem) and size > expected.max_bytes:
        raise ReleaseError("ITEM_TOO_LARGE", f"item {name!r}: got {size} bytes, want at most {expected.max_bytes}")
    digest = hashlib.file_digest(file, "sha256").digest()
    if file.tell() != size:
        raise ReleaseError("ITEM_CHANGED", f"item {name!r}: changed while it was read")
    if isinstance(expected, Component) and digest != expected.sha256:
        raise ReleaseError(
            "ITEM_COMMITMENT_MISMATCH", f"component {name!r}: got {digest.hex()}, want {expected.sha256.hex()}"
        )
    return ReadItem(name=name, path=path.absolute(), size_bytes=size, sha256=digest, file=file)
