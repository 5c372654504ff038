"""What somebody asks of the service: evidence, and what it is to be judged by.

Spec: docs/spec/challenge.md, 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.manifest.model import Manifest
from twocvm_verifier.manifest.parse import parse_manifest
from twocvm_verifier.policy import Policy, policy_of_document

from .evidence_forms import BARE, DOCUMENT, Presented, parse_evidence, parse_presented, within
from .wrappers import MAX_VALUES, WRAPPERS, parse_wrapped

MEDIA_TYPE: Final = "application/vnd.2cvm.appraise+json"
# A manifest and a policy of their greatest sizes, and the rest.
MAX_REQUEST_BYTES: Final = 2 * 1024 * 1024
MIN_NONCE_BYTES: Final = 8
MAX_NONCE_BYTES: Final = 64
EVIDENCE_TYPES: Final = (*BARE, MEDIA_TYPE)
_REQUIRED: Final = frozenset({"evidence"})
_OPTIONAL: Final = frozenset({"manifest", "policy", "reference_values", "expected_report_data", "nonce", "audience"})
MAX_REFERENCE_VALUES: Final = 8
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_REPORT_DATA: Final = re.compile(r"[0-9a-f]{128}", re.ASCII)
_MAX_AUDIENCE_CHARACTERS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPolicy:
    """The policy that the service's owner has set, which is used where a request names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDigest:
    """A policy that the service should have, by the 32 bytes of its digest."""

    sha256: bytes


AskedPolicy: TypeAlias = Policy | PolicyDigest | OwnPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraisalRequest:
    """One request, read and not yet judged.

    Attributes:
        evidence: What is judged.
        manifest: The manifest that the guest should be under, where the caller said.
        policy: By which policy.
        reference_values: Digests of reference values of the service's that it is judged by too (32 bytes each).
        expected_report_data: The 64 bytes that the caller rebuilt, where it did.
        nonce: The challenge that the evidence should answer (8 to 64 bytes), where there is one.
        audience: For whom the token is; empty where the caller did not say.
        size_bytes: How long the body was that it was read from, which says how long it can take to judge.
        drawn: Whether this service drew the challenge, in a session; never so in a request as it came.
    """

    evidence: Presented
    manifest: Manifest | None
    policy: AskedPolicy
    reference_values: tuple[bytes, ...]
    expected_report_data: bytes | None
    nonce: bytes | None
    audience: str
    size_bytes: int
    drawn: bool = False


def parse_request(body: bytes, *, media_type: str) -> AppraisalRequest:
    """Return what a body asks.

    Args:
        body: At most `MAX_REQUEST_BYTES`.
        media_type: One of `EVIDENCE_TYPES` or `WRAPPERS`, or `application/json`, which is read as `MEDIA_TYPE`.

    Raises:
        MalformedError: The body is not what its media type says; so is a policy or a manifest in it.
    """
    if media_type in WRAPPERS:
        wrapped = parse_wrapped(body, media_type=media_type, max_bytes=MAX_REQUEST_BYTES)
        if wrapped.media_type not in EVIDENCE_TYPES:
            raise MalformedError(DOCUMENT, "cmw", "its type is none that is read here")
        body, media_type = wrapped.body, wrapped.media_type
    if media_type in BARE:
        return AppraisalRequest(
            evidence=parse_evidence(body, media_type=media_type),
            manifest=None,
            policy=OwnPolicy(),
            reference_values=(),
            expected_report_data=None,
            nonce=None,
            audience="",
            size_bytes=len(body),
        )
    strictjson.require_few_values(body, document=DOCUMENT, max_values=MAX_VALUES)
    members = Fields(_value(body), document=DOCUMENT, pointer="", required=_REQUIRED, optional=_OPTIONAL)
    return AppraisalRequest(
        evidence=parse_presented(members.json("evidence")),
        manifest=_manifest(members) if "manifest" in members else None,
        policy=_policy(members) if "policy" in members else OwnPolicy(),
        reference_values=_reference_values(members) if "reference_values" in members else (),
        expected_report_data=_report_data(members) if "expected_report_data" in members else None,
        nonce=_nonce(members) if "nonce" in members else None,
        audience=_audience(members) if "audience" in members else "",
        size_bytes=len(body),
    )


def parse_nonce(text: str) -> bytes:
    """Return the challenge that base64url writes, with padding or without.

    Raises:
        MalformedError: It does not, or has fewer than 8 or more than 64 bytes.
    """
    try:
        # Clients of Veraison's pad, or not, by their age.
        nonce = strictjson.parse_base64url(text.removesuffix("=").removesuffix("="))
    except ValueError as error:
        raise MalformedError(DOCUMENT, "nonce", str(error)) from error
    if not MIN_NONCE_BYTES <= len(nonce) <= MAX_NONCE_BYTES:
        raise MalformedError(DOCUMENT, "nonce", f"got {len(nonce)} bytes, want 8 to 64")
    return nonce


def _value(body: bytes) -> strictjson.Json:
    try:
        return strictjson.parse(body, document=DOCUMENT, max_bytes=MAX_REQUEST_BYTES)
    except MalformedError as error:
        # A member of ours may be told; what stands below it has whatever names the caller likes.
        named = error.field.split("/")[1:2]
        error.places = tuple(f"/{name}" for name in named if name in _REQUIRED | _OPTIONAL)
        raise


def _manifest(members: Fields) -> Manifest:
    raw = strictjson.canonical(members.json("manifest"))
    return within("/manifest", lambda: parse_manifest(raw))


def _nonce(members: Fields) -> bytes:
    text = members.text("nonce")
    return within("/nonce", lambda: parse_nonce(text))


def _policy(members: Fields) -> AskedPolicy:
    value = members.json("policy")
    if not isinstance(value, Mapping):
        return PolicyDigest(sha256=members.hash("policy"))
    return within("/policy", lambda: policy_of_document(value))


def _reference_values(members: Fields) -> tuple[bytes, ...]:
    found = members.array("reference_values")
    digests = [each for each in found if isinstance(each, str) and _DIGEST.fullmatch(each)]
    if digests != list(found) or len(found) > MAX_REFERENCE_VALUES:
        raise MalformedError(DOCUMENT, "/reference_values", f"not at most {MAX_REFERENCE_VALUES} digests")
    return tuple(map(bytes.fromhex, digests))


def _report_data(members: Fields) -> bytes:
    text = members.text("expected_report_data")
    if not _REPORT_DATA.fullmatch(text):
        raise MalformedError(DOCUMENT, "/expected_report_data", "not 128 lower-case hex digits")
    return bytes.fromhex(text)


def _audience(members: Fields) -> str:
    text = members.text("audience")
    if not 0 < len(text) <= _MAX_AUDIENCE_CHARACTERS:
        raise MalformedError(DOCUMENT, "/audience", f"not 1 to {_MAX_AUDIENCE_CHARACTERS} characters")
    return text
