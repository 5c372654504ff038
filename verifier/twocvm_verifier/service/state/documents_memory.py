"""Documents in this process's memory: for one process, and gone with it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping

from .documents import Change, Kind, Revision, require_expected, require_room


class MemoryDocuments:
    """A store in memory; see `Documents`."""

    def __init__(self) -> None:
        self._histories: dict[Kind, dict[str, tuple[Revision, ...]]] = defaultdict(dict)
        self._contents: dict[tuple[Kind, bytes], bytes] = {}
        self._lock = threading.Lock()

    def put(self, change: Change) -> None:
        """Move a name; see `Documents`."""
        with self._lock:
            history = self._histories[change.kind].get(change.name, ())
            require_expected(history, change)
            require_room(self._pointers(change.kind), history, change)
            self._contents[change.kind, change.revision.sha256] = change.content
            self._histories[change.kind][change.name] = (*history, change.revision)

    def names(self, kind: Kind) -> Mapping[str, bytes]:
        """Return every name; see `Documents`."""
        with self._lock:
            return self._pointers(kind)

    def history(self, kind: Kind, name: str) -> tuple[Revision, ...]:
        """Return the steps of a name; see `Documents`."""
        with self._lock:
            return self._histories[kind].get(name, ())

    def content(self, kind: Kind, sha256: bytes) -> bytes | None:
        """Return a document; see `Documents`."""
        with self._lock:
            return self._contents.get((kind, sha256))

    def _pointers(self, kind: Kind) -> Mapping[str, bytes]:
        return {name: history[-1].sha256 for name, history in self._histories[kind].items()}
