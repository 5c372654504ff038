"""What a store of named documents promises, wherever it is.

A document is never changed: it is kept under its digest, and a name points to one. A name moves only for who says where
it pointed when it was read, so that of however many who move it at once one wins and all others are told. Nothing is
ever taken away: what a name pointed to stays in its history. What comes out of a store is believed by nobody before its
digest was made again.

Spec: docs/spec/policies.md, 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from twocvm_verifier import strictjson
from twocvm_verifier.clock import format_time, parse_time
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.strictjson import Json

MAX_NAMES: Final = 256
MAX_REVISIONS: Final = 1024
# A policy of the greatest size, with every field written out.
MAX_DOCUMENT_BYTES: Final = 1 << 20
_STORED: Final = "stored-document"
_MAX_REVISION_BYTES: Final = 1024
_MEMBERS: Final = frozenset({"sha256", "at", "by"})


class Kind(StrEnum):
    """What is kept; each kind has names and digests of its own."""

    POLICY = "policies"
    REFERENCE_VALUES = "reference-values"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One step of a name.

    Attributes:
        sha256: The digest that it points to since then (32 bytes).
        at: When (aware, UTC).
        by: Which admin: `token`, or `certificate` and the first half of its fingerprint.
    """

    sha256: bytes
    at: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A wish to have a name point to a document.

    Attributes:
        kind: Whose names.
        name: As `jsonfields.NAME`.
        expected: The digest that it points to now, as far as the writer knows (32 bytes); empty where there is no such
            name yet.
        content: The document; at most `MAX_DOCUMENT_BYTES`.
        revision: What its history says of it.
    """

    kind: Kind
    name: str
    expected: bytes
    content: bytes = field(repr=False)
    revision: Revision


class Documents(Protocol):
    """A store of documents. Safe to use from several threads, and where it says so from several processes."""

    def put(self, change: Change) -> None:
        """Have a name point to a document, if it still points where the writer says.

        Raises:
            ServiceError: DOCUMENT_CHANGED, where it points elsewhere; DOCUMENTS_FULL; DOCUMENTS_UNREACHABLE.
        """
        ...

    def names(self, kind: Kind) -> Mapping[str, bytes]:
        """Return every name, with the digest that it points to.

        Raises:
            ServiceError: DOCUMENTS_UNREACHABLE.
        """
        ...

    def history(self, kind: Kind, name: str) -> tuple[Revision, ...]:
        """Return the steps of a name, oldest first; none where there is no such name.

        Raises:
            ServiceError: DOCUMENTS_UNREACHABLE.
        """
        ...

    def content(self, kind: Kind, sha256: bytes) -> bytes | None:
        """Return the document of a digest, or None where there is none.

        Raises:
            ServiceError: DOCUMENTS_UNREACHABLE.
        """
        ...


def require_room(names: Mapping[str, bytes], history: Sequence[Revision], change: Change) -> None:
    """Refuse a change that would make a store too large.

    Raises:
        ServiceError: DOCUMENTS_FULL.
    """
    if (change.name not in names and len(names) >= MAX_NAMES) or len(history) >= MAX_REVISIONS:
        raise ServiceError("DOCUMENTS_FULL", f"documents: want at most {MAX_NAMES} names, {MAX_REVISIONS} revisions")


def require_expected(history: Sequence[Revision], change: Change) -> None:
    """Refuse a change of a name that points elsewhere than its writer says.

    Raises:
        ServiceError: DOCUMENT_CHANGED.
    """
    if change.expected != (history[-1].sha256 if history else b""):
        raise ServiceError("DOCUMENT_CHANGED", f"{change.kind} {change.name}: points elsewhere by now")


def revision_json(revision: Revision) -> dict[str, Json]:
    """Return the form that a revision is kept and told in."""
    return {"sha256": revision.sha256.hex(), "at": format_time(revision.at), "by": revision.by}


def revisions_of(raws: Sequence[bytes]) -> tuple[Revision, ...]:
    """Return the revisions that a store kept, each as the JCS of `revision_json`.

    Raises:
        ServiceError: DOCUMENT_DAMAGED, where it kept something else.
    """
    try:
        return tuple(_revision(strictjson.parse(raw, document=_STORED, max_bytes=_MAX_REVISION_BYTES)) for raw in raws)
    except MalformedError as error:
        raise ServiceError("DOCUMENT_DAMAGED", "documents: a history is not as it was written") from error


def _revision(value: Json) -> Revision:
    members = Fields(value, document=_STORED, pointer="", required=_MEMBERS)
    try:
        at = parse_time(members.text("at"))
    except ValueError as error:
        raise MalformedError(_STORED, "/at", str(error)) from error
    return Revision(sha256=members.hash("sha256"), at=at, by=members.text("by"))
