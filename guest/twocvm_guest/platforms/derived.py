"""Keys that an SNP firmware derives for its guest: which there are, and who can ask for one.

Nothing in a session hangs on one, because a guest has no memory that outlives it. The firmware answers over the channel
that reports come through, and one failed request costs the machine its key to that channel (`device`). So whoever wants
a key asks the guest's broker, in turn with all who want reports.

Spec: SNP ABI 56860 r1.58, 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Protocol, runtime_checkable

from twocvm_verifier.errors import UnsupportedError


class RootKey(IntEnum):
    """What a derived key hangs on, beside the fields (table 19, ROOT_KEY_SELECT)."""

    VCEK = 0
    VMRK = 1


class KeyField(IntFlag):
    """What goes into a derived key (table 20, GUEST_FIELD_SELECT)."""

    GUEST_POLICY = 1 << 0
    IMAGE_ID = 1 << 1
    FAMILY_ID = 1 << 2
    MEASUREMENT = 1 << 3
    GUEST_SVN = 1 << 4
    TCB_VERSION = 1 << 5


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """Which key is wanted; the same request on the same chip to the same guest gives the same key.

    Attributes:
        root: What it hangs on.
        fields: What goes into it.
        guest_svn: At most the launch's; counts where the field is chosen.
        tcb_version: At most the committed one (8 bytes, as reports have it); counts where the field is chosen.
    """

    root: RootKey
    fields: KeyField
    guest_svn: int
    tcb_version: bytes


@runtime_checkable
class DerivesKeys(Protocol):
    """A device, or a platform on one, that can derive keys."""

    def derived_key(self, wanted: KeyRequest, /) -> bytes:
        """Return a key that this guest alone gets, on this chip alone (32 bytes).

        Raises:
            UnsupportedError: DERIVED_KEY_UNSUPPORTED: what it stands on derives none.
            DeviceError: There is none; where it is `fatal` there will be no report either.
        """
        ...


def key_from(source: object, wanted: KeyRequest, *, name: str) -> bytes:
    """Return a key of a device or a platform, if it is one that derives keys.

    Args:
        source: The device, or the platform.
        wanted: Which key.
        name: How the source is called, for people.

    Raises:
        UnsupportedError, DeviceError: As `DerivesKeys.derived_key`.
    """
    if not isinstance(source, DerivesKeys):
        raise UnsupportedError("DERIVED_KEY_UNSUPPORTED", f"{name}: derives no keys")
    return source.derived_key(wanted)
