"""One item on its way into a locked guest, from its first byte to its admission or its end."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from twocvm_verifier.errors import ReleaseError
from twocvm_verifier.manifest import Component, DataItem

from .held import open_held
from .runtime.items import Chunk
from .session.intake import Offer
from .vault import Arrival

if TYPE_CHECKING:
    from .locked import LockedGuest

_CHUNK_BYTES: Final = 1 << 20


class Upload:
    """One item on its way; made by `LockedGuest.begin_item`. Ends with `close`, whatever came before."""

    def __init__(self, guest: LockedGuest, offer: Offer, item: DataItem | Component, arrival: Arrival) -> None:
        self._guest, self._offer, self._item, self._arrival = guest, offer, item, arrival

    @property
    def is_component(self) -> bool:
        """Whether `finish` inspects and compiles, which takes long."""
        return isinstance(self._item, Component)

    def write(self, chunk: Chunk) -> None:
        """Take the next bytes.

        Raises:
            ReleaseError: ITEM_TOO_LARGE, or SESSION_ENDED where the session ended meanwhile.
        """
        self._arrival.write(chunk)

    def take_held(self) -> None:
        """Take the bytes from what the machine brought, by the digest that was announced. Blocks while it is read.

        Raises:
            ReleaseError: ITEM_NOT_HELD, or as `write`.
        """
        with open_held(self._offer.name, self._offer.sha256) as file:
            while chunk := file.read(_CHUNK_BYTES):
                self.write(chunk)

    def finish(self) -> None:
        """Have the item admitted. Blocks while a component is inspected and compiled.

        Raises:
            ReleaseError: ITEM_DIGEST_MISMATCH, or SESSION_ENDED where the session ended meanwhile.
            ComponentError: The component is not one that the manifest allows.
        """
        item = self._arrival.seal()
        try:
            same = item.size_bytes == self._offer.size_bytes and hmac.compare_digest(item.sha256, self._offer.sha256)
            if not same:
                raise ReleaseError("ITEM_DIGEST_MISMATCH", f"item {self._offer.name!r}: is not what was announced")
            self._guest.admit(self._item, item)
        except BaseException:
            item.close()
            raise

    def close(self) -> None:
        """Forget what was not admitted, so that it may be sent again."""
        self._guest.end_item(self._offer.name, self._arrival)
