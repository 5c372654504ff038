"""Exactly one statement for each participant: the consents that lock a guest, the goes that open it.

One that is missing, doubled, or of somebody else is refused, by the guest and by every participant, so that nobody can
be left out and no session can be split over two guests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from twocvm_verifier import framing, strictjson
from twocvm_verifier.errors import BindingError, MalformedError
from twocvm_verifier.strictjson import Json

from .bodies import DOCUMENT, Consent, Go
from .model import Manifest
from .statements import (
    Statement,
    consents_digest,
    parse_statement,
    verify_consent,
    verify_go,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consents:
    """Verified: every participant of one manifest agreed to it. Made only by `verify_consents`.

    Attributes:
        statements: Sorted by participant.
        digest: What the lock event holds (32 bytes).
    """

    statements: tuple[Statement, ...]
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Verified: every participant of one manifest goes, to one guest. Made only by `verify_roster`.

    Attributes:
        statements: Sorted by participant.
        digest: What the roster event holds (32 bytes).
    """

    statements: tuple[Statement, ...]
    digest: bytes
    _goes: Mapping[str, Go]

    def go_of(self, participant: str) -> Go:
        """Return the go of a participant; `KeyError` where it is none of the manifest's."""
        return self._goes[participant]


def parse_statements(kind: type[Consent | Go], value: Json, *, pointer: str = "") -> tuple[Statement, ...]:
    """Return the consents or goes of a JSON array, which is sorted by participant and has nobody twice.

    Raises:
        MalformedError: It is not; or a member is no statement of `kind`.
    """
    if not isinstance(value, list):
        raise MalformedError(DOCUMENT, pointer, "not an array")
    statements = tuple(
        parse_statement(kind, member, pointer=f"{pointer}/{index}") for index, member in enumerate(value)
    )
    names = [statement.body.participant for statement in statements]
    if names != sorted(set(names)):
        raise MalformedError(DOCUMENT, pointer, "not sorted by participant, or somebody stands twice")
    return statements


def verify_consents(statements: Sequence[Statement], manifest: Manifest) -> Consents:
    """Verify that exactly the participants of `manifest` agreed to it.

    Args:
        statements: In the order they travelled, sorted by participant.
        manifest: The caller's own.

    Raises:
        BindingError: CONSENTS_INCOMPLETE, or as `verify_consent`.
        SignatureError: As `verify_consent`.
    """
    names = [verify_consent(statement, manifest).participant for statement in statements]
    wanted = sorted(entry.name for entry in manifest.participants)
    if names != wanted:
        raise BindingError("CONSENTS_INCOMPLETE", f"consents: got those of {names}, want those of {wanted}")
    return Consents(statements=tuple(statements), digest=consents_digest(statements))


def verify_roster(
    goes: Sequence[Statement], *, manifest: Manifest, report_id: bytes, guest_spki_sha256: bytes
) -> Roster:
    """Verify that exactly the participants of `manifest` go, all of them to this guest.

    Args:
        goes: In any order.
        manifest: The caller's own.
        report_id: REPORT_ID of the guest (32 bytes), as its evidence shows it.
        guest_spki_sha256: Hash of the TLS key of this connection (32 bytes).

    Raises:
        BindingError: ROSTER_MISMATCH, or as `verify_go`.
        SignatureError: As `verify_go`.
    """
    verified = [
        (verify_go(statement, manifest=manifest, report_id=report_id, guest_spki_sha256=guest_spki_sha256), statement)
        for statement in goes
    ]
    verified.sort(key=lambda pair: pair[0].participant)
    names = [go.participant for go, _ in verified]
    wanted = sorted(entry.name for entry in manifest.participants)
    if names != wanted:
        raise BindingError("ROSTER_MISMATCH", f"roster: got goes of {names}, want those of {wanted}")
    return Roster(
        statements=tuple(statement for _, statement in verified),
        digest=framing.roster_digest(strictjson.canonical([go.to_json() for go, _ in verified])),
        _goes=MappingProxyType({go.participant: go for go, _ in verified}),
    )
