r"""The three objects that a consent key signs, and the bytes that it signs for each (`docs/spec/statements.md`).

An object does not say which of the three it is: its label does, and so do its members.

>>> signed_bytes(Consent(manifest=bytes(32), participant="hospital-a"))[:16]
b'2cvm.consent.v1\x00'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from twocvm_verifier import framing, strictjson
from twocvm_verifier.clock import format_time, parse_time
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.strictjson import Json

from .place import is_name

DOCUMENT: Final = "statement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A participant agrees to a manifest.

    Attributes:
        manifest: Its hash (32 bytes).
        participant: The name of who agrees.
    """

    manifest: bytes
    participant: str

    def to_json(self) -> dict[str, Json]:
        """Return the object that is signed."""
        return {"manifest": self.manifest.hex(), "participant": self.participant}


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """A participant has verified one guest and is about to release to it.

    Attributes:
        manifest: Its hash (32 bytes).
        participant: The name of who goes.
        report_id: REPORT_ID of the guest (32 bytes).
        guest_spki_sha256: SHA-256 of the SPKI DER of the guest's TLS key (32 bytes).
        at: When it was signed, by the participant's clock, in whole seconds.
        items: The commitment (32 bytes) of every data item of the participant, by name.
    """

    manifest: bytes
    participant: str
    report_id: bytes
    guest_spki_sha256: bytes
    at: datetime
    items: Mapping[str, bytes]

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", MappingProxyType(dict(self.items)))

    def to_json(self) -> dict[str, Json]:
        """Return the object that is signed."""
        return {
            "manifest": self.manifest.hex(),
            "participant": self.participant,
            "report_id": self.report_id.hex(),
            "guest_spki_sha256": self.guest_spki_sha256.hex(),
            "at": format_time(self.at),
            "items": {name: commitment.hex() for name, commitment in self.items.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """A participant leaves one guest's session, before its run.

    Attributes:
        manifest: Its hash (32 bytes).
        participant: The name of who leaves.
        report_id: REPORT_ID of the guest (32 bytes).
    """

    manifest: bytes
    participant: str
    report_id: bytes

    def to_json(self) -> dict[str, Json]:
        """Return the object that is signed."""
        return {
            "manifest": self.manifest.hex(),
            "participant": self.participant,
            "report_id": self.report_id.hex(),
        }


Body: TypeAlias = Consent | Go | Withdraw

_LABELS: Final[Mapping[type[Body], str]] = MappingProxyType(
    {Consent: framing.CONSENT, Go: framing.GO, Withdraw: framing.WITHDRAW}
)
MEMBERS: Final[Mapping[type[Body], frozenset[str]]] = MappingProxyType(
    {
        Consent: frozenset({"manifest", "participant"}),
        Go: frozenset({"manifest", "participant", "report_id", "guest_spki_sha256", "at", "items"}),
        Withdraw: frozenset({"manifest", "participant", "report_id"}),
    }
)


def signed_bytes(body: Body) -> bytes:
    """Return what a consent key signs: `label || 0x00 || JCS(object)`."""
    return framing.tagged(_LABELS[type(body)], strictjson.canonical(body.to_json()))


def parse_body(kind: type[Body], fields: Fields, pointer: str) -> Body:
    """Return the object of `kind` whose members `fields` reads.

    Args:
        kind: Which of the three is expected here.
        fields: An object with at least `MEMBERS[kind]`.
        pointer: Where it stands in the document around it, for errors.

    Raises:
        MalformedError: A member is not in its one form.
    """
    manifest, participant = fields.hash("manifest"), fields.name("participant")
    if kind is Consent:
        return Consent(manifest=manifest, participant=participant)
    report_id = fields.hash("report_id")
    if kind is Withdraw:
        return Withdraw(manifest=manifest, participant=participant, report_id=report_id)
    return Go(
        manifest=manifest,
        participant=participant,
        report_id=report_id,
        guest_spki_sha256=fields.hash("guest_spki_sha256"),
        at=_parse_at(fields.text("at"), pointer),
        items=_parse_items(fields.json("items"), f"{pointer}/items"),
    )


def _parse_at(text: str, pointer: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise MalformedError(DOCUMENT, f"{pointer}/at", str(error)) from error


def _parse_items(value: Json, pointer: str) -> Mapping[str, bytes]:
    if not isinstance(value, Mapping):
        raise MalformedError(DOCUMENT, pointer, "not an object")
    if not all(is_name(name) for name in value):
        raise MalformedError(DOCUMENT, pointer, "a member is not named as items are")
    fields = Fields(value, document=DOCUMENT, pointer=pointer, required=value.keys())
    return {name: fields.hash(name) for name in value}
