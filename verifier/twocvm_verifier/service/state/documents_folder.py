"""Documents in a folder: for all processes of one machine, and still there after it lost its power.

    {policies,reference-values}/content/{sha256}.json      a document
    {policies,reference-values}/names/{name}.jsonl         the history of a name, a line each; it points to the last
    .lock                                                  held while a name is moved

A file is written beside its place, brought to the disk and moved; a document before the name that points to it. So a
crash leaves a name as it was or as it was to be, and at worst a document that no name points to.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from twocvm_verifier import strictjson
from twocvm_verifier.service.problems import ServiceError

from .documents import (
    MAX_DOCUMENT_BYTES,
    Change,
    Kind,
    Revision,
    require_expected,
    require_room,
    revision_json,
    revisions_of,
)


class FolderDocuments:
    """A store in a folder; see `Documents`.

    Args:
        folder: Where it is; made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, change: Change) -> None:
        """Move a name; see `Documents`."""
        with self._locked():
            history = self.history(change.kind, change.name)
            require_expected(history, change)
            require_room(self.names(change.kind), history, change)
            self._write(self._content(change.kind, change.revision.sha256), change.content)
            lines = [strictjson.canonical(revision_json(each)) + b"\n" for each in (*history, change.revision)]
            self._write(self._name(change.kind, change.name), b"".join(lines))

    def names(self, kind: Kind) -> Mapping[str, bytes]:
        """Return every name; see `Documents`."""
        found = sorted(path.stem for path in (self._folder / kind / "names").glob("*.jsonl"))
        histories = {name: self.history(kind, name) for name in found}
        return {name: history[-1].sha256 for name, history in histories.items() if history}

    def history(self, kind: Kind, name: str) -> tuple[Revision, ...]:
        """Return the steps of a name; see `Documents`."""
        raw = self._read(self._name(kind, name))
        return revisions_of((raw or b"").splitlines())

    def content(self, kind: Kind, sha256: bytes) -> bytes | None:
        """Return a document; see `Documents`."""
        return self._read(self._content(kind, sha256))

    def _name(self, kind: Kind, name: str) -> Path:
        return self._folder / kind / "names" / f"{name}.jsonl"

    def _content(self, kind: Kind, sha256: bytes) -> Path:
        return self._folder / kind / "content" / f"{sha256.hex()}.json"

    def _read(self, path: Path) -> bytes | None:
        try:
            with path.open("rb") as stream:
                # One byte more than there can be makes a longer file malformed, not cut off.
                return stream.read(MAX_DOCUMENT_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _down(error) from error

    def _write(self, place: Path, content: bytes) -> None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, beside = tempfile.mkstemp(dir=place.parent, prefix=".new-")
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(beside).replace(place)
            # The move itself is on the disk only once its folder is.
            folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise _down(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self._folder / ".lock").open("wb")
        except OSError as error:
            raise _down(error) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _down(error: OSError) -> ServiceError:
    return ServiceError("DOCUMENTS_UNREACHABLE", f"documents: {error.strerror}")
