"""Routes for whoever asks: judgements, sessions, discovery, pages and health, described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from twocvm_verifier.service.challenge import DISCOVERY_TYPE, NEW_SESSION, SESSION_TYPE
from twocvm_verifier.service.oidc import JWKS
from twocvm_verifier.service.wrappers import WRAPPERS
from twocvm_verifier.strictjson import Json

from .model import BODY, HTML, JSON, NOT_NOW, SHELVED, Answered, Operation, Parameter, reference, told
from .schemas import ANY_OBJECT, BASE64URL, EVIDENCE_BODIES, TEXT, array, obj

_SESSION: Final = "/challenge-response/v1/session/{identifier}"
_MALFORMED_EVIDENCE: Final = (
    "MALFORMED_APPRAISAL_REQUEST", "MALFORMED_EVIDENCE", "MALFORMED_CLAIMS", "MALFORMED_REPORT", "MALFORMED_VEK",
    "MALFORMED_CHAIN", "MALFORMED_CRL", "MALFORMED_CERT_TABLE", "MALFORMED_MANIFEST", "MALFORMED_POLICY",
)  # fmt: skip
_NOT_HERE: Final = ("POLICY_EMPTY", "POLICY_UNKNOWN", "AUDIENCE_UNKNOWN", "LEDGER_UNSUPPORTED")
_DEFAULT: Final = ("DEFAULT_POLICY_MISSING", *SHELVED)
_JUDGING: Final = (*_MALFORMED_EVIDENCE, *NOT_NOW, *_NOT_HERE, *_DEFAULT, *BODY)
_KEPT: Final = ("STATE_UNREACHABLE",)

_IDENTIFIER: Final = Parameter(name="identifier", place="path", about="Of the session.", schema=TEXT)
_YES_OR_NO: Final[Mapping[str, Json]] = {"type": "string", "enum": ["0", "1"]}
_SESSION_ANSWER: Final = reference("Session")


def judging() -> Iterator[tuple[tuple[str, str], Operation]]:
    """Describe how evidence is judged."""
    yield (
        ("POST", "/v1/appraise"),
        Operation(
            summary="Judge evidence, with or without a challenge, a manifest and a policy.",
            tag="Judging",
            parameters=(
                Parameter(name="explain", place="query", about="1: also the result in lines.", schema=_YES_OR_NO),
                Parameter(name="report", place="query", about="1: also a page for people.", schema=_YES_OR_NO),
            ),
            body={JSON: reference("Request"), **EVIDENCE_BODIES},
            answers=(told("The judgement, whatever it is.", reference("Answer")),),
            refusals=(*_JUDGING, "REPORTS_OFF", *_KEPT),
        ),
    )


def sessions() -> Iterator[tuple[tuple[str, str], Operation]]:
    """Describe Veraison's challenge-response API."""
    tag = "Challenge and response"
    size: dict[str, Json] = {"type": "string", "pattern": "^([89]|[1-5][0-9]|6[0-4])$"}
    yield (
        ("POST", NEW_SESSION),
        Operation(
            summary="Make a challenge, or take the caller's.",
            tag=tag,
            parameters=(
                Parameter(name="nonceSize", place="query", about="Bytes of a new nonce, 8 to 64.", schema=size),
                Parameter(
                    name="nonce",
                    place="query",
                    about="The caller's own; without nonceSize.",
                    schema=BASE64URL,
                ),
            ),
            answers=(
                Answered(
                    status=201,
                    about="A session, waiting for evidence.",
                    content={SESSION_TYPE: _SESSION_ANSWER},
                    headers={"Location": "Of the session, relative to this address."},
                ),
            ),
            refusals=("MALFORMED_APPRAISAL_REQUEST", "NOT_ACCEPTABLE", *_KEPT),
        ),
    )
    known = ("MALFORMED_APPRAISAL_REQUEST", "SESSION_UNKNOWN", *_KEPT)
    yield (
        ("GET", _SESSION),
        Operation(
            summary="Say where a session is.",
            tag=tag,
            parameters=(_IDENTIFIER,),
            answers=(told("The session.", _SESSION_ANSWER, media_type=SESSION_TYPE),),
            refusals=(*known, "NOT_ACCEPTABLE"),
        ),
    )
    yield (
        ("POST", _SESSION),
        Operation(
            summary="Judge the evidence that answers a challenge; a nonce is good once.",
            tag=tag,
            parameters=(_IDENTIFIER,),
            body={**EVIDENCE_BODIES, **dict.fromkeys(WRAPPERS, reference("Bytes"))},
            answers=(told("The session, complete.", _SESSION_ANSWER, media_type=SESSION_TYPE),),
            refusals=(*_JUDGING, *known[1:], "SESSION_SPENT"),
        ),
    )
    yield (
        ("DELETE", _SESSION),
        Operation(
            summary="Forget a session.",
            tag=tag,
            parameters=(_IDENTIFIER,),
            answers=(Answered(status=204, about="It is forgotten."),),
            refusals=known,
        ),
    )


def discovery() -> Iterator[tuple[tuple[str, str], Operation]]:
    """Describe what clients find the service by."""
    tag = "Discovery"
    found = obj(
        {
            "ear-verification-key": reference("Jwk"),
            "media-types": array(TEXT),
            "version": TEXT,
            "service-state": TEXT,
            "api-endpoints": ANY_OBJECT,
        }
    )
    yield (
        ("GET", "/.well-known/veraison/verification"),
        Operation(
            summary="Say what this service takes, and which key it signs with.",
            tag=tag,
            answers=(told("The description.", found, media_type=DISCOVERY_TYPE),),
            refusals=("NOT_ACCEPTABLE",),
        ),
    )
    issuer = obj({"issuer": TEXT, "jwks_uri": TEXT, "id_token_signing_alg_values_supported": array(TEXT)}, closed=False)
    yield (
        ("GET", "/.well-known/openid-configuration"),
        Operation(
            summary="Describe the issuer of tokens, as OpenID Connect has it.",
            tag=tag,
            answers=(told("The description.", issuer),),
        ),
    )
    yield (
        ("GET", JWKS),
        Operation(
            summary="Publish the keys that sign tokens.",
            tag=tag,
            answers=(told("The keys.", reference("Keys")),),
        ),
    )
    yield (
        ("GET", "/openapi.json"),
        Operation(summary="This document.", tag=tag, answers=(told("OpenAPI 3.1.", ANY_OBJECT),)),
    )


def pages() -> Iterator[tuple[tuple[str, str], Operation]]:
    """Describe what people see."""
    tag = "Pages for people"
    yield (
        ("GET", "/"),
        Operation(
            summary="Say what this service is and trusts.",
            tag=tag,
            answers=(told("A page without a script.", TEXT, media_type=HTML),),
            refusals=_DEFAULT,
        ),
    )
    yield (
        ("GET", "/reports/{identifier}"),
        Operation(
            summary="Show an appraisal to whoever has its address.",
            tag=tag,
            parameters=(Parameter(name="identifier", place="path", about="As the answer had it.", schema=TEXT),),
            answers=(told("A page without a script.", TEXT, media_type=HTML),),
            refusals=("REPORT_UNKNOWN", *_KEPT),
        ),
    )


def health() -> Iterator[tuple[tuple[str, str], Operation]]:
    """Describe the probes."""
    said = obj({"status": TEXT}, {"parts": ANY_OBJECT})
    yield (
        ("GET", "/livez"),
        Operation(summary="Say that this process answers.", tag="Health", answers=(told("It does.", said),)),
    )
    yield (
        ("GET", "/readyz"),
        Operation(
            summary="Say whether each part is of use.",
            tag="Health",
            answers=(told("Each is.", said), told("One is not.", said, status=503)),
        ),
    )
