"""An output on its way in: taken only as its receipt says it is, and put in its place whole or not at all.

Decides whether the bytes that were served are those of the receipt, whose report the guest's chip signed: length and
digest must both agree before a file of the wanted name exists. Whether the receipt is to be believed is decided in
`receipts`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from twocvm_verifier.errors import MalformedError, ReleaseError
from twocvm_verifier.receipt import OwnOutput

from . import storage
from .instance import Instance
from .items import Progress

_PADDING_MARK: Final = b"\x80"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output that a verified receipt promises this participant.

    Attributes:
        promised: Name, digest, length and filters, from the receipt.
        instance: Who serves it.
    """

    promised: OwnOutput
    instance: Instance = field(repr=False)

    @property
    def name(self) -> str:
        """Its name in the manifest."""
        return self.promised.name

    @property
    def size_bytes(self) -> int:
        """Its length, from the receipt."""
        return self.promised.sealed.size_bytes

    @property
    def sha256(self) -> bytes:
        """Its digest, from the receipt (32 bytes)."""
        return self.promised.sealed.sha256

    def save(self, path: Path, *, progress: Progress | None = None) -> None:
        """Fetch the output into a file of mode 0600, in one step and on disk before returning.

        A lost connection is replaced, as everywhere (`Instance.persist`). The output stays in the guest until it is
        acknowledged (`Session.ack`).

        Args:
            path: The file; one that is there is replaced.
            progress: Told after every chunk.

        Raises:
            ReleaseError: OUTPUT_MISMATCH, or the guest's refusal; then `path` is as it was.
            OSError: The file cannot be written; then `path` is as it was.
        """
        with storage.arriving(path) as file:

            def fetch() -> None:
                # From its beginning each time: the guest serves an output whole or not at all.
                file.seek(0)
                file.truncate()
                for chunk in self._verified(progress=progress):
                    file.write(chunk)

            self.instance.persist(fetch)

    def read(self) -> bytes:
        """Fetch the output into memory; `size_bytes` says how much that is.

        Raises:
            ReleaseError: OUTPUT_MISMATCH, or the guest's refusal.
        """
        return self.instance.persist(lambda: b"".join(self._verified(progress=None)))

    def _verified(self, *, progress: Progress | None) -> Iterator[bytes]:
        """Yield the bytes; ends well only if they were the promised ones."""
        digest, got = hashlib.sha256(), 0
        with self.instance.guest.output(self.name, size_bytes=self.size_bytes) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                got += len(chunk)
                yield chunk
                if progress:
                    progress(self.name, got, self.size_bytes)
        if (got, digest.digest()) != (self.size_bytes, self.sha256):
            raise ReleaseError("OUTPUT_MISMATCH", f"output {self.name!r}: is not the one in the receipt")


def unpad(content: bytes) -> bytes:
    r"""Return an output as it was before the filter `padding`, which the receipt names last.

    >>> unpad(b"model" + b"\x80" + bytes(10))
    b'model'

    Raises:
        MalformedError: MALFORMED_PADDING; it was not padded.

    Spec: docs/spec/filters.md, `padding`.
    """
    marked = content.rstrip(b"\x00")
    if not marked.endswith(_PADDING_MARK):
        raise MalformedError("padding", "mark", "got none before the zeros at the end, want one byte 0x80")
    return marked[:-1]
