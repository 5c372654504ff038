"""Reference values as a document: written out, or a CoRIM with the reason for what it leaves open.

    {"values": {"measurements": ["..."]}}          fields of a policy, `policy.reference.FIELDS`
    {"corim": "...", "open": "..."}                base64url; `open` where it names what is not judged

The document's digest names it, as a policy's does. What it comes to is read from it each time, and stored nowhere.

Spec: docs/spec/policies.md, 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from twocvm_verifier import framing, strictjson
from twocvm_verifier.errors import MalformedError, StaleError, UnsupportedError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.policy import Policy
from twocvm_verifier.policy.reference import DOCUMENT, parse_values, with_values
from twocvm_verifier.strictjson import Json

from .envelope import EVER, MAX_CORIM_BYTES, Trust, parse_corim
from .reading import read_corim

# A CoRIM of its greatest size in base64url, and the reason.
MAX_DOCUMENT_BYTES: Final = MAX_CORIM_BYTES * 4 // 3 + 16_384
_MAX_REASON_CHARACTERS: Final = 1024
_ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC)
_JSON_BEGINS: Final = b"{"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValues:
    """Values that are known to be good, as their owner vouches for them.

    Attributes:
        raw: The document's JCS.
        values: Fields of a policy, by their names.
        unread: What a CoRIM names that is not judged, or not as it is named, in words; its owner left it open.
        not_before: When they begin to count (aware, UTC).
        not_after: When they end to (aware, UTC).
    """

    raw: bytes = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)
    unread: tuple[str, ...]
    not_before: datetime
    not_after: datetime

    @property
    def sha256(self) -> bytes:
        """The digest that names them (32 bytes)."""
        return framing.reference_values_digest(self.raw)

    def on(self, policy: Policy, *, at: datetime) -> Policy:
        """Return a policy that demands them beside what `policy` demands.

        Args:
            policy: To which they are added.
            at: When it is judged by (aware, UTC).

        Raises:
            StaleError: They do not count at that time (REFERENCE_VALUES_ENDED).
            TwoCvmError: REFERENCE_VALUES_CONFLICT.
        """
        if not self.not_before <= at <= self.not_after:
            raise StaleError("REFERENCE_VALUES_ENDED", "reference values: do not count at this time")
        return with_values(policy, self.values)


def parse_reference_values(raw: bytes, *, trust: Trust, open_reason: str = "") -> ReferenceValues:
    """Return the reference values of a document, or of a bare CoRIM.

    Args:
        raw: JSON of at most `MAX_DOCUMENT_BYTES`, or a CoRIM.
        trust: Who may sign a CoRIM.
        open_reason: Why what a bare CoRIM names and nobody judges is left open; empty where it is not.

    Raises:
        MalformedError: It is neither.
        SignatureError: CORIM_UNTRUSTED.
        UnsupportedError: CORIM_PROFILE, CORIM_ALTERNATIVES, or CORIM_NOT_JUDGED, where no reason is given.
    """
    if raw[:1] != _JSON_BEGINS:
        reason: dict[str, Json] = {"open": open_reason} if open_reason else {}
        return _of_corim({"corim": strictjson.base64url(raw), **reason}, trust=trust)
    value = strictjson.parse(raw, document=DOCUMENT, max_bytes=MAX_DOCUMENT_BYTES)
    if isinstance(value, Mapping) and "corim" in value:
        return _of_corim(value, trust=trust)
    members = Fields(value, document=DOCUMENT, pointer="", required=frozenset({"values"}))
    return ReferenceValues(
        raw=strictjson.canonical(value),
        values=parse_values(members.json("values")),
        unread=(),
        not_before=_ALWAYS,
        not_after=EVER,
    )


def _of_corim(value: Json, *, trust: Trust) -> ReferenceValues:
    members = Fields(value, document=DOCUMENT, pointer="", required=frozenset({"corim"}), optional=frozenset({"open"}))
    reading = read_corim(parse_corim(members.base64url("corim"), trust=trust))
    reason = members.text("open") if "open" in members else ""
    if "open" in members and (not reason.strip() or len(reason) > _MAX_REASON_CHARACTERS):
        raise MalformedError(DOCUMENT, "/open", f"want a reason of at most {_MAX_REASON_CHARACTERS} characters")
    if reading.unread and not reason:
        raise UnsupportedError("CORIM_NOT_JUDGED", f"corim: {'; '.join(reading.unread)}")
    return ReferenceValues(
        raw=strictjson.canonical(value),
        values=reading.values,
        unread=reading.unread,
        not_before=reading.not_before,
        not_after=reading.not_after,
    )
