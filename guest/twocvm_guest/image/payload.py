"""A payload: large files that a machine brings along on a disk, which its measured command line fixes to the last bit.

Whoever may know them may be anybody: the host reads the disk. So it is for what is public, such as a model's weights or
an interpreter, which its owner then names instead of sending it (`docs/spec/session.md`). On the disk each file is
called by its SHA-256 and by nothing else; equal files are there once. The kernel checks every block when it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import BinaryIO, Final

from twocvm_verifier.errors import MalformedError

from . import erofs, verity
from .command_line import Payload
from .verity import BLOCK_BYTES

_CHUNK_BYTES: Final = 1 << 20
_DOCUMENT: Final = "payload"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPayload:
    """A payload as it was written.

    Attributes:
        payload: What the command line says of it.
        files: The SHA-256 of each file (32 bytes), by its path in the folder that it is from.
    """

    payload: Payload
    files: Mapping[str, bytes]


def write_payload(folder: Path, disk: Path) -> WrittenPayload:
    """Write all files below a folder onto a disk; the same files give the same bytes, whatever they are called.

    Args:
        folder: Read twice. Links are followed.
        disk: A file outside of the folder, over what is there.

    Raises:
        MalformedError: There is no file, or one was changed meanwhile.
        ValueError: The disk is in the folder, or one of its files by another name; nothing was written.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise MalformedError(_DOCUMENT, "", f"{str(folder)!r}: there is no file in it")
    _require_apart(disk, folder, paths)
    files = {path.relative_to(folder).as_posix(): _digest(path) for path in paths}
    by_digest = {digest: folder / name for name, digest in files.items()}
    sizes = {digest.hex(): path.stat().st_size for digest, path in by_digest.items()}
    with disk.open("wb") as out:
        writer = _Writer(out)
        writer.write(erofs.head(sizes))
        for digest, path in sorted(by_digest.items()):
            if writer.copy(path) != digest:
                raise MalformedError(_DOCUMENT, "", f"{str(path)!r}: was changed while it was read")
        return WrittenPayload(payload=writer.close(), files=files)


def read_payload(disk: Path) -> Payload:
    """Return what the command line says of a disk, from its first block and the first of its tree.

    Nothing else is read: whoever does not trust the disk writes it again.

    Raises:
        MalformedError: It is none.
    """
    with disk.open("rb") as file:
        try:
            blocks = erofs.blocks_in(file.read(BLOCK_BYTES))
        except ValueError as error:
            raise MalformedError(_DOCUMENT, "", str(error)) from error
        file.seek(blocks * BLOCK_BYTES)
        highest = file.read(BLOCK_BYTES)
    if len(highest) != BLOCK_BYTES:
        raise MalformedError(_DOCUMENT, "", "disk: is cut short")
    return Payload(root=verity.root_of(highest), blocks=blocks)


class _Writer:
    """A disk while it is written: its data, the hash of each block of it, and at last the tree."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hashes = bytearray()

    def write(self, raw: bytes) -> None:
        """Write whole blocks; the last is filled up."""
        raw += bytes(-len(raw) % BLOCK_BYTES)
        for start in range(0, len(raw), BLOCK_BYTES):
            self._hashes += hashlib.sha256(raw[start : start + BLOCK_BYTES]).digest()
        self._out.write(raw)

    def copy(self, path: Path) -> bytes:
        """Write a file, and return its SHA-256."""
        whole = hashlib.sha256()
        for chunk in _chunks(path):
            whole.update(chunk)
            self.write(chunk)
        return whole.digest()

    def close(self) -> Payload:
        """Write the tree, and return its root."""
        root, tree = verity.hash_tree(bytes(self._hashes))
        self._out.write(tree)
        return Payload(root=root, blocks=len(self._hashes) // len(root))


def _require_apart(disk: Path, folder: Path, paths: Iterable[Path]) -> None:
    # A disk that is read while it is written has no end, and one that is there the second time is another payload.
    within = Path(realpath(disk)).is_relative_to(realpath(folder))
    if within or (disk.exists() and any(map(disk.samefile, paths))):
        raise ValueError(f"{str(disk)!r}: is among the files that it is to hold")


def _digest(path: Path) -> bytes:
    whole = hashlib.sha256()
    for chunk in _chunks(path):
        whole.update(chunk)
    return whole.digest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        # Only the last is shorter: a file of the system is read until so much has come.
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
