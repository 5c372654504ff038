"""Everything of participants that a guest holds: uploads on their way, admitted items, sealed outputs.

A vault is emptied once, at once and for ever. From then on nothing can be put in, an upload on its way ends, and a
reader of an output ends too, whatever thread it is in. What a vault holds lies in memory files (`runtime.items`), so
that the end of the process, however it comes, leaves nothing behind either.

>>> vault = Vault()
>>> arrival = vault.receive("greeting", max_bytes=5)
>>> arrival.write(b"hello")
>>> arrival.seal().size_bytes
5
>>> vault.empty()
True
>>> vault.holds_nothing
True
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from twocvm_verifier.errors import ReleaseError

from .runtime.items import Chunk, Item, ItemWriter


class Arrival:
    """One upload on its way; made by `Vault.receive`. One thread writes, any thread may discard."""

    def __init__(self, name: str, *, max_bytes: int) -> None:
        self.name: Final = name
        self._writer: ItemWriter | None = ItemWriter(name, max_bytes=max_bytes)
        # Without it a wipe in another thread could close the descriptor under a write, and a third reuse its number.
        self._guard = threading.Lock()

    def write(self, chunk: Chunk) -> None:
        """Take the next bytes.

        Raises:
            ReleaseError: ITEM_TOO_LARGE, or SESSION_ENDED where the vault was emptied meanwhile.
        """
        with self._guard:
            self._open_writer().write(chunk)

    def seal(self) -> Item:
        """Return what arrived; the caller owns it.

        Raises:
            ReleaseError: SESSION_ENDED where the vault was emptied meanwhile.
        """
        with self._guard:
            writer, self._writer = self._open_writer(), None
            return writer.seal()

    def discard(self) -> None:
        """Forget what arrived; nothing where it was sealed."""
        with self._guard:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.discard()

    def _open_writer(self) -> ItemWriter:
        if self._writer is None:
            raise ReleaseError("SESSION_ENDED", f"item {self.name!r}: the session ended while it arrived")
        return self._writer


class Vault:
    """The items and outputs of one session. From any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._arrivals: set[Arrival] = set()
        self._items: dict[str, Item] = {}
        self._outputs: dict[str, Item] = {}
        self._emptied = False

    @property
    def holds_nothing(self) -> bool:
        """Whether there is neither an upload nor an item nor an output."""
        with self._guard:
            return not (self._arrivals or self._items or self._outputs)

    def receive(self, name: str, *, max_bytes: int) -> Arrival:
        """Return where to write an upload; end it with `release`, whatever became of it.

        Raises:
            ReleaseError: SESSION_ENDED where the vault was emptied.
        """
        with self._guard:
            self._require_open()
            arrival = Arrival(name, max_bytes=max_bytes)
            self._arrivals.add(arrival)
            return arrival

    def release(self, arrival: Arrival) -> None:
        """Forget an upload, and what it wrote unless it was sealed."""
        with self._guard:
            self._arrivals.discard(arrival)
        arrival.discard()

    def keep_item(self, item: Item) -> None:
        """Keep an admitted item for the run; where that fails it is closed.

        Raises:
            ReleaseError: SESSION_ENDED where the vault was emptied.
        """
        self._keep(self._items, {item.name: item})

    def keep_outputs(self, outputs: Mapping[str, Item]) -> None:
        """Keep a run's sealed outputs, by name; where that fails they are closed.

        Raises:
            ReleaseError: SESSION_ENDED where the vault was emptied.
        """
        self._keep(self._outputs, outputs)

    def items(self) -> Mapping[str, Item]:
        """Return the admitted items by name."""
        with self._guard:
            return MappingProxyType(dict(self._items))

    def output(self, name: str) -> Item:
        """Return a sealed output.

        Raises:
            ReleaseError: OUTPUT_WIPED where the vault was emptied.
        """
        with self._guard:
            if self._emptied:
                raise ReleaseError("OUTPUT_WIPED", f"output {name!r}: is gone")
            return self._outputs[name]

    def drop_items(self) -> None:
        """Close the admitted items, which a run needs only once."""
        with self._guard:
            self._close(self._items)

    def empty(self) -> bool:
        """Close everything, and let nothing in any more; return whether this was the first time."""
        with self._guard:
            first, self._emptied = not self._emptied, True
            arrivals, self._arrivals = self._arrivals, set()
            self._close(self._items)
            self._close(self._outputs)
        for arrival in arrivals:
            arrival.discard()
        return first

    def _keep(self, where: dict[str, Item], what: Mapping[str, Item]) -> None:
        with self._guard:
            try:
                self._require_open()
            except ReleaseError:
                for item in what.values():
                    item.close()
                raise
            where.update(what)

    def _require_open(self) -> None:
        if self._emptied:
            raise ReleaseError("SESSION_ENDED", "session: its items are gone")

    @staticmethod
    def _close(items: dict[str, Item]) -> None:
        for item in items.values():
            item.close()
        items.clear()
