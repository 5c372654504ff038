"""Evidence as clients of Veraison's wrap it: one message with its media type, in JSON or CBOR.

    [type, value, indicator]

`value` is the bytes (in JSON base64url), `indicator` says what kinds of messages they are and may be left out.

Spec: docs/spec/challenge.md, 2; draft-ietf-rats-msg-wrap, 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from twocvm_verifier import strictcbor, strictjson
from twocvm_verifier.errors import MalformedError

from .evidence_forms import DOCUMENT

JSON: Final = "application/vnd.veraison.cmw+json"
CBOR: Final = "application/vnd.veraison.cmw+cbor"
_EVIDENCE: Final = 1 << 2
_MEMBERS: Final = (2, 3)
# More than a manifest and a policy of their greatest sizes have; ten times as many would take a second.
MAX_VALUES: Final = 131_072


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A message that was wrapped.

    Attributes:
        media_type: What it says it is, in lower case and without parameters.
        body: Its bytes.
    """

    media_type: str
    body: bytes = field(repr=False)


def parse_wrapped(raw: bytes, *, media_type: str, max_bytes: int) -> Wrapped:
    """Return the evidence that is wrapped.

    Args:
        raw: The bytes.
        media_type: One of `WRAPPERS`.
        max_bytes: The most that is read.

    Raises:
        MalformedError: They are not such a wrapper, or of something else than evidence.
    """
    record = WRAPPERS[media_type](raw, max_bytes)
    if not isinstance(record, list) or len(record) not in _MEMBERS:
        raise MalformedError(DOCUMENT, "cmw", "not a list of a type, a value and an indicator")
    inner, value, *indicators = record
    if not isinstance(inner, str):
        raise MalformedError(DOCUMENT, "cmw", "its type is not text")
    for indicator in indicators:
        if isinstance(indicator, bool) or not isinstance(indicator, int) or not indicator & _EVIDENCE:
            raise MalformedError(DOCUMENT, "cmw", "its indicator is not that of evidence")
    return Wrapped(media_type=inner.partition(";")[0].strip().lower(), body=_bytes(value))


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str):
            return strictjson.parse_base64url(value)
    except ValueError as error:
        raise MalformedError(DOCUMENT, "cmw", f"its value: {error}") from error
    raise MalformedError(DOCUMENT, "cmw", "its value is not bytes")


def _json(raw: bytes, max_bytes: int) -> object:
    strictjson.require_few_values(raw, document=DOCUMENT, max_values=MAX_VALUES)
    return strictjson.parse(raw, document=DOCUMENT, max_bytes=max_bytes)


def _cbor(raw: bytes, max_bytes: int) -> object:
    return strictcbor.parse_tagged(raw, document=DOCUMENT, max_bytes=max_bytes)


WRAPPERS: Final[Mapping[str, Callable[[bytes, int], object]]] = MappingProxyType({JSON: _json, CBOR: _cbor})
