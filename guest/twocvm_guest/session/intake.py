"""What participants have to release, what of it has arrived, and what may arrive next.

Decides, before the first byte of an upload is read, whether this is the item that its owner signed for: the name is in
the manifest and the caller owns it (`owned_item`); it is not here and not on its way, it is not too large, and it is
what the owner's go and the manifest commit to (`Intake.begin`). Whoever reads the bytes has to check only that they
are the ones announced. No I/O; the bytes are somewhere else.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from twocvm_verifier import framing
from twocvm_verifier.errors import MalformedError, ReleaseError
from twocvm_verifier.manifest import Component, DataItem, Manifest

# A whole Python interpreter as a component has 18 MB; nothing legitimate comes near this.
MAX_COMPONENT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is said of an item before its first byte, whether it is sent or the machine has it.

    Attributes:
        name: The item's name in the manifest.
        size_bytes: Its length.
        sha256: Its digest (32 bytes).
        salt: Of its commitment (32 bytes), or None where there is none: data has one, a component has not.
    """

    name: str
    size_bytes: int
    sha256: bytes
    salt: bytes | None


def owned_item(manifest: Manifest, name: str, *, caller: str) -> DataItem | Component:
    """Return the data item or component of that name, which must be the caller's to release.

    Raises:
        ReleaseError: UNKNOWN_NAME or NOT_YOURS.
    """
    item = _items(manifest).get(name)
    if item is None:
        raise ReleaseError("UNKNOWN_NAME", f"item: the manifest has no {name!r}")
    if item.owner != caller:
        raise ReleaseError("NOT_YOURS", f"item {name!r}: got {caller!r}, want {item.owner!r}")
    return item


class Intake:
    """Which items are wanted, on their way and admitted.

    Args:
        manifest: What is wanted: every data item and every component.
        commitments: By item, what the owners' goes commit to; exactly the manifest's data items.
    """

    def __init__(self, manifest: Manifest, *, commitments: Mapping[str, bytes]) -> None:
        if commitments.keys() != {item.name for item in manifest.data}:
            raise ValueError("commitments: not exactly the manifest's data items")
        self._commitments: Final = MappingProxyType(dict(commitments))
        self._arriving: set[str] = set()
        self._missing: set[str] = set(_items(manifest))

    @property
    def complete(self) -> bool:
        """Whether everything that the manifest names is admitted."""
        return not self._missing

    def begin(self, item: DataItem | Component, offer: Offer) -> None:
        """Take note that an item is on its way; this ends with `admit` or `abandon`.

        Args:
            item: What `owned_item` returned for `offer.name`.
            offer: What the upload says of itself.

        Raises:
            ReleaseError: ITEM_ADMITTED, ITEM_IN_TRANSIT, ITEM_TOO_LARGE or ITEM_COMMITMENT_MISMATCH.
            MalformedError: Data without a salt, or a component with one.
        """
        name = item.name
        if name not in self._missing:
            raise ReleaseError("ITEM_ADMITTED", f"item {name!r}: is admitted")
        if name in self._arriving:
            raise ReleaseError("ITEM_IN_TRANSIT", f"item {name!r}: is arriving on another connection")
        largest = item.max_bytes if isinstance(item, DataItem) else MAX_COMPONENT_BYTES
        if offer.size_bytes > largest:
            raise ReleaseError("ITEM_TOO_LARGE", f"item {name!r}: got {offer.size_bytes} bytes, want at most {largest}")
        self._require_committed(item, offer)
        self._arriving.add(name)

    def abandon(self, name: str) -> None:
        """Forget that `name` was on its way, so that it may be sent again; what is admitted stays so."""
        self._arriving.discard(name)

    def admit(self, name: str) -> None:
        """Count `name` as arrived, for ever.

        Raises:
            RuntimeError: It was not on its way.
        """
        if name not in self._arriving:
            raise RuntimeError(f"item {name!r}: was never begun")
        self._arriving.remove(name)
        self._missing.remove(name)

    def _require_committed(self, item: DataItem | Component, offer: Offer) -> None:
        if isinstance(item, Component):
            if offer.salt is not None:
                raise MalformedError("request", "item-salt", "a component has none: its digest is in the manifest")
            want, got = item.sha256, offer.sha256
        else:
            if offer.salt is None:
                raise MalformedError("request", "item-salt", "missing: the go commits to data with one")
            # The go's commitment equals the manifest's, where that has one: `verify_go` saw to it.
            want = self._commitments[item.name]
            got = framing.item_commitment(salt=offer.salt, size_bytes=offer.size_bytes, sha256=offer.sha256)
        if not hmac.compare_digest(want, got):
            raise ReleaseError("ITEM_COMMITMENT_MISMATCH", f"item {item.name!r}: is not what was committed to")


def _items(manifest: Manifest) -> dict[str, DataItem | Component]:
    # Names are unique over both kinds.
    items: dict[str, DataItem | Component] = {item.name: item for item in manifest.data}
    return items | {component.name: component for component in manifest.components}
