"""The body of a request that goes past HTTP: from TLS straight to whoever takes it, as long as was announced.

HTTP's own way hands a body on in messages, each of which is copied several times and has to be overwritten as often;
for an item of a gigabyte that is most of the work. Here a piece is decrypted into one buffer, is taken out of it, and
is overwritten, all before the socket is read again. So whoever takes slowly is sent slowly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Sink: TypeAlias = Callable[[memoryview], None]
"""Takes the next bytes of a body; they are overwritten once it returns."""


@dataclass(slots=True, kw_only=True)
class Pour:
    """One body on its way.

    Attributes:
        sink: Takes it.
        remaining_bytes: How many are still to come from the client.
        ended: Done with the last byte, or with what `sink` raised.
    """

    sink: Sink
    remaining_bytes: int
    ended: asyncio.Future[None]

    @property
    def room_bytes(self) -> int:
        """How much may be read for it now; nothing once it has ended, and never what follows it."""
        return 0 if self.ended.done() else self.remaining_bytes

    def take(self, piece: memoryview) -> None:
        """Hand the next bytes to the sink, at most `room_bytes`."""
        self.remaining_bytes -= len(piece)
        try:
            self.sink(piece)
        except Exception as error:  # noqa: BLE001 - it is for whoever waits for the end
            # With its traceback it would hold on to this body, and this body to it: both would be overwritten late.
            self.ended.set_exception(error.with_traceback(None))
        else:
            if self.remaining_bytes == 0:
                self.ended.set_result(None)
