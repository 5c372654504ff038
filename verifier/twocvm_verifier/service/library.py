"""The owner's documents: policies and reference values that admins put, and everybody may judge by.

Rules:
1. What is put is read first, and kept in the one form that it has; what cannot be judged by is not kept. A policy that
   decides nothing and does not say why is refused.
2. What comes out of the store is read again, and its digest made again: a store that somebody else writes to can take
   documents away, and cannot exchange them.
3. A document may be judged by for ever, by its digest. It is the owner's word only as long as a name points to it.

Spec: docs/spec/policies.md.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast

from cachetools import LRUCache

from twocvm_verifier import strictjson
from twocvm_verifier.clock import Clock
from twocvm_verifier.corim import ReferenceValues, Trust, parse_reference_values
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.policy import Policy, decides_nothing, document_of, parse_policy, policy_of_document

from .problems import ServiceError
from .state.documents import MAX_DOCUMENT_BYTES, Change, Documents, Kind, Revision

TOML: Final = "application/toml"
JSON: Final = "application/json"
# draft-ietf-rats-corim, 12.5, and what earlier drafts called the two.
CORIM_TYPES: Final = (
    "application/rim+cbor",
    "application/rim+cose",
    "application/corim-unsigned+cbor",
    "application/corim-signed+cbor",
)
MEDIA_TYPES: Final = {Kind.POLICY: (JSON, TOML), Kind.REFERENCE_VALUES: (JSON, *CORIM_TYPES)}
_KEPT_IN_MEMORY: Final = 256
_Read: TypeAlias = Policy | ReferenceValues


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an admin wants a name to point to.

    Attributes:
        kind: Of what kind it is.
        name: As `jsonfields.NAME`.
        body: The document as it came.
        media_type: One of those of its kind.
        expected: As `Change`.
        by: As `Revision`.
    """

    kind: Kind
    name: str
    body: bytes = field(repr=False)
    media_type: str
    expected: bytes
    by: str


class Library:
    """The documents of a store, read. May be shared between threads.

    Args:
        store: Where they are.
        trust: Who may sign a CoRIM.
        clock: Says when something was put.
    """

    def __init__(self, store: Documents, *, trust: Trust, clock: Clock) -> None:
        self.store = store
        self._trust = trust
        self._clock = clock
        self._read: LRUCache[tuple[Kind, bytes], _Read] = LRUCache(_KEPT_IN_MEMORY)
        self._lock = threading.Lock()

    def put(self, offer: Offer) -> bytes:
        """Have a name point to a document, and return its digest.

        The same once more changes nothing.

        Raises:
            MalformedError: It is no document of its kind.
            TwoCvmError: POLICY_EMPTY, or as `parse_reference_values`.
            ServiceError: As `Documents.put`.
        """
        sha256, content = self._form(offer)
        if offer.expected != sha256 or self.pointer(offer.kind, offer.name) != sha256:
            at = self._clock.now().replace(microsecond=0)
            self.store.put(
                Change(
                    kind=offer.kind,
                    name=offer.name,
                    expected=offer.expected,
                    content=content,
                    revision=Revision(sha256=sha256, at=at, by=offer.by),
                )
            )
        return sha256

    def pointer(self, kind: Kind, name: str) -> bytes:
        """Return the digest that a name points to, or empty bytes where there is no such name."""
        return self.store.names(kind).get(name, b"")

    def content(self, kind: Kind, sha256: bytes) -> bytes:
        """Return a document, in its one form.

        Raises:
            ServiceError: DOCUMENT_UNKNOWN, DOCUMENT_DAMAGED, DOCUMENTS_UNREACHABLE.
        """
        found = self._found(kind, sha256)
        return found.raw if isinstance(found, ReferenceValues) else strictjson.canonical(document_of(found))

    def policy(self, sha256: bytes) -> Policy:
        """Return the policy of a digest; else as `content`."""
        return cast(Policy, self._found(Kind.POLICY, sha256))

    def reference_values(self, sha256: bytes) -> ReferenceValues:
        """Return the reference values of a digest; else as `content`."""
        return cast(ReferenceValues, self._found(Kind.REFERENCE_VALUES, sha256))

    def is_current(self, kind: Kind, sha256: bytes) -> bool:
        """Return whether a name points to this document now."""
        return sha256 in self.store.names(kind).values()

    def _form(self, offer: Offer) -> tuple[bytes, bytes]:
        if offer.kind is Kind.REFERENCE_VALUES:
            values = parse_reference_values(offer.body, trust=self._trust)
            return values.sha256, values.raw
        policy = _policy(offer.body, offer.media_type)
        if decides_nothing(policy):
            raise TwoCvmError("POLICY_EMPTY", "policy: got no reference value, want one, or a reason for having none")
        return policy.sha256, strictjson.canonical(document_of(policy))

    def _found(self, kind: Kind, sha256: bytes) -> _Read:
        with self._lock:
            found = self._read.get((kind, sha256))
        if found is None:
            content = self.store.content(kind, sha256)
            if content is None:
                raise ServiceError("DOCUMENT_UNKNOWN", f"{kind}: none of this digest is held")
            found = self._parsed(kind, content)
            if found.sha256 != sha256:
                raise _damaged()
            with self._lock:
                self._read[kind, sha256] = found
        return found

    def _parsed(self, kind: Kind, content: bytes) -> _Read:
        try:
            if kind is Kind.REFERENCE_VALUES:
                return parse_reference_values(content, trust=self._trust)
            return _policy(content, JSON)
        except MalformedError as error:
            raise _damaged() from error


def _policy(body: bytes, media_type: str) -> Policy:
    if media_type == JSON:
        return policy_of_document(strictjson.parse(body, document="policy", max_bytes=MAX_DOCUMENT_BYTES))
    try:
        return parse_policy(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedError("policy", "", "not UTF-8") from error


def _damaged() -> ServiceError:
    return ServiceError("DOCUMENT_DAMAGED", "documents: the store holds another document under this digest")
