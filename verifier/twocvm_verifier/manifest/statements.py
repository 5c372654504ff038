"""What a participant signs about a manifest: its consent, its go for one guest, and its withdrawal.

A consent key signs nothing but `label || 0x00 || JCS(object)`. A statement is that object with `key` and `signature`
beside its members. To parse one says nothing about who signed it; the `verify_*` functions do, in this order:

1. it names this manifest, and for a go and a withdrawal this guest;
2. its participant is in the manifest;
3. its key is the one that the manifest has for that participant;
4. its signature verifies;
5. a go commits to exactly its participant's items, as the manifest does where that commits.

The format stands in `docs/spec/statements.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature

from twocvm_verifier import framing, strictjson
from twocvm_verifier.errors import BindingError, MalformedError, SignatureError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.strictjson import Json

from .bodies import DOCUMENT, MEMBERS, Body, Consent, Go, Withdraw, parse_body, signed_bytes
from .consentkeys import ConsentPrivateKey, parse_spki, sign, spki_der, verify
from .model import Manifest, ParticipantEntry

# Room for the go of one participant that owns every item of the largest manifest.
MAX_STATEMENT_BYTES: Final = 2**21


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A signed object as it travels; verified by nobody yet.

    Attributes:
        body: What was signed.
        key_spki_der: The key that it says signed it, as exact SPKI DER of one of the three kinds.
        signature: 64 bytes, or 96 for P-384, if it is one.
    """

    body: Body
    key_spki_der: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def object(self) -> Json:
        """The signed object, without `key` and `signature`."""
        return self.body.to_json()

    def to_json(self) -> Json:
        """Return the object as it travels."""
        return {
            **self.body.to_json(),
            "key": strictjson.base64url(self.key_spki_der),
            "signature": strictjson.base64url(self.signature),
        }

    def to_bytes(self) -> bytes:
        """Return the bytes of a statement's file: the JCS of `to_json`."""
        return strictjson.canonical(self.to_json())


def sign_statement(key: ConsentPrivateKey, body: Body) -> Statement:
    """Return `body` signed with a participant's consent key."""
    return Statement(body=body, key_spki_der=spki_der(key), signature=sign(key, signed_bytes(body)))


def sign_consent(key: ConsentPrivateKey, *, manifest_hash: bytes, participant: str) -> Statement:
    """Return a participant's consent to the manifest of that hash (32 bytes)."""
    return sign_statement(key, Consent(manifest=manifest_hash, participant=participant))


def sign_go(
    key: ConsentPrivateKey,
    *,
    manifest_hash: bytes,
    participant: str,
    report_id: bytes,
    guest_spki_sha256: bytes,
    at: datetime,
    items: Mapping[str, bytes],
) -> Statement:
    """Return a participant's go for one guest; the arguments are those of `Go`."""
    go = Go(
        manifest=manifest_hash,
        participant=participant,
        report_id=report_id,
        guest_spki_sha256=guest_spki_sha256,
        at=at,
        items=items,
    )
    return sign_statement(key, go)


def sign_withdraw(key: ConsentPrivateKey, *, manifest_hash: bytes, participant: str, report_id: bytes) -> Statement:
    """Return a participant's withdrawal from one guest's session."""
    return sign_statement(key, Withdraw(manifest=manifest_hash, participant=participant, report_id=report_id))


def parse_statement(kind: type[Body], value: Json, *, pointer: str = "") -> Statement:
    """Return the statement of `kind` that a JSON value writes, verified by nobody.

    Args:
        kind: `Consent`, `Go` or `Withdraw`; a statement does not say itself which it is, its label does.
        value: As `strictjson` gave it.
        pointer: Where it stands in the document around it, for errors.

    Raises:
        MalformedError: A member is missing, unknown, or not in its one form.
    """
    fields = Fields(value, document=DOCUMENT, pointer=pointer, required=MEMBERS[kind] | {"key", "signature"})
    key = fields.base64url("key")
    try:
        parse_spki(key)
    except ValueError as error:
        raise MalformedError(DOCUMENT, f"{pointer}/key", str(error)) from error
    return Statement(body=parse_body(kind, fields, pointer), key_spki_der=key, signature=fields.base64url("signature"))


def parse_statement_file(kind: type[Body], raw: bytes) -> Statement:
    """Return the statement of `kind` that a file or body holds: canonical bytes, nothing else.

    Raises:
        MalformedError: As `parse_statement`; or the bytes are not their own JCS.
    """
    return parse_statement(kind, strictjson.parse_canonical(raw, document=DOCUMENT, max_bytes=MAX_STATEMENT_BYTES))


def verify_consent(statement: Statement, manifest: Manifest) -> Consent:
    """Verify that a participant agreed to `manifest`.

    Raises:
        VerificationError: It did not, or not with this statement (steps 1 to 4).
    """
    consent = _body(statement, Consent)
    _verify_signed(statement, manifest)
    return consent


def verify_go(statement: Statement, *, manifest: Manifest, report_id: bytes, guest_spki_sha256: bytes) -> Go:
    """Verify that a participant goes, for this manifest and exactly this guest.

    Args:
        statement: As parsed.
        manifest: The caller's own.
        report_id: REPORT_ID of the guest (32 bytes), as its evidence shows it.
        guest_spki_sha256: Hash of the TLS key of this connection (32 bytes).

    Raises:
        VerificationError: It does not, or not with this statement (steps 1 to 5).
    """
    go = _body(statement, Go)
    if go.report_id != report_id:
        raise BindingError("STATEMENT_OTHER_GUEST", _differs("go", "report_id", go.report_id, report_id))
    if go.guest_spki_sha256 != guest_spki_sha256:
        raise BindingError(
            "STATEMENT_OTHER_GUEST", _differs("go", "guest_spki_sha256", go.guest_spki_sha256, guest_spki_sha256)
        )
    _verify_signed(statement, manifest)
    _verify_items(go, manifest)
    return go


def verify_withdraw(statement: Statement, *, manifest: Manifest, report_id: bytes) -> Withdraw:
    """Verify that a participant withdraws from the session of this manifest and guest.

    Raises:
        VerificationError: It does not, or not with this statement (steps 1 to 4).
    """
    withdraw = _body(statement, Withdraw)
    if withdraw.report_id != report_id:
        raise BindingError("STATEMENT_OTHER_GUEST", _differs("withdraw", "report_id", withdraw.report_id, report_id))
    _verify_signed(statement, manifest)
    return withdraw


def consents_digest(consents: Iterable[Statement]) -> bytes:
    """Return SHA-256 of the JCS of the array of consents as it travels (32 bytes), for the lock event."""
    return framing.sha256(strictjson.canonical([consent.to_json() for consent in consents]))


_B = TypeVar("_B", Consent, Go, Withdraw)


def _body(statement: Statement, kind: type[_B]) -> _B:
    if not isinstance(statement.body, kind):
        raise TypeError(f"statement: got a {type(statement.body).__name__}, want a {kind.__name__}")
    return statement.body


def _differs(kind: str, member: str, got: bytes, want: bytes) -> str:
    return f"{kind} {member}: got {got.hex()}, want {want.hex()}"


def _verify_signed(statement: Statement, manifest: Manifest) -> None:
    body = statement.body
    kind = type(body).__name__.lower()
    if body.manifest != manifest.hash:
        raise BindingError("STATEMENT_OTHER_MANIFEST", _differs(kind, "manifest", body.manifest, manifest.hash))
    entry = _entry(manifest, body.participant)
    key_hash = framing.sha256(statement.key_spki_der)
    if key_hash != entry.consent:
        raise BindingError("STATEMENT_KEY", _differs(kind, f"key of {entry.name!r}", key_hash, entry.consent))
    try:
        verify(parse_spki(statement.key_spki_der), statement.signature, signed_bytes(body))
    except InvalidSignature as error:
        raise SignatureError(
            "STATEMENT_SIGNATURE", f"{kind} of {entry.name!r}: the signature does not verify"
        ) from error


def _entry(manifest: Manifest, participant: str) -> ParticipantEntry:
    try:
        return manifest.participant(participant)
    except KeyError as error:
        raise BindingError(
            "STATEMENT_PARTICIPANT", f"participant: got {participant!r}, who is not in the manifest"
        ) from error


def _verify_items(go: Go, manifest: Manifest) -> None:
    owned = manifest.items_of(go.participant)
    if go.items.keys() != {item.name for item in owned}:
        raise BindingError(
            "GO_ITEMS", f"go of {go.participant!r}: got {sorted(go.items)}, want {sorted(item.name for item in owned)}"
        )
    for item in owned:
        if item.commitment is not None and go.items[item.name] != item.commitment:
            raise BindingError("GO_COMMITMENT", _differs("go", item.name, go.items[item.name], item.commitment))


__all__ = [
    "MAX_STATEMENT_BYTES",
    "Body",
    "Consent",
    "Go",
    "Statement",
    "Withdraw",
    "consents_digest",
    "parse_statement",
    "parse_statement_file",
    "sign_consent",
    "sign_go",
    "sign_statement",
    "sign_withdraw",
    "signed_bytes",
    "verify_consent",
    "verify_go",
    "verify_withdraw",
]
