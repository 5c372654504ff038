"""JSON Schemas of what the service takes and answers; the words behind them are in `docs/spec`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from twocvm_verifier.codes import CODES
from twocvm_verifier.evidence import JSON_MEDIA_TYPE
from twocvm_verifier.result import SCHEMA, AdvisoryStatus, Level, Status, Verdict
from twocvm_verifier.service.evidence_forms import CBOR_MEDIA_TYPE
from twocvm_verifier.service.problems import MAX_PLACES
from twocvm_verifier.service.requests import MAX_REFERENCE_VALUES, MEDIA_TYPE
from twocvm_verifier.service.state.protocol import SessionState
from twocvm_verifier.strictjson import Json

from .model import reference

BASE64URL: Final[Mapping[str, Json]] = {"type": "string", "pattern": "^[A-Za-z0-9_-]*$"}
HASH: Final[Mapping[str, Json]] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
TIME: Final[Mapping[str, Json]] = {"type": "string", "format": "date-time"}
TEXT: Final[Mapping[str, Json]] = {"type": "string"}
ANY_OBJECT: Final[Mapping[str, Json]] = {"type": "object"}
TOKEN: Final[Mapping[str, Json]] = {"type": "string", "pattern": "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+){2}$"}


_POINTER: Final[Mapping[str, Json]] = {
    "type": "string",
    "pattern": "^#(/[A-Za-z0-9_]+)*$",
    "description": "Where in the body something is wrong: a JSON pointer as the fragment of a URI.",
}


def obj(
    required: Mapping[str, Json], optional: Mapping[str, Json] | None = None, *, closed: bool = True
) -> dict[str, Json]:
    """Return the schema of an object.

    Args:
        required: Members that it has.
        optional: Members that it may have.
        closed: Whether it has no others.
    """
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        **({"additionalProperties": False} if closed else {}),
    }


def array(items: Mapping[str, Json]) -> dict[str, Json]:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def _enum(values: type[Status] | type[Verdict] | type[Level] | type[AdvisoryStatus] | type[SessionState]) -> Json:
    return {"type": "string", "enum": [str(value) for value in values]}


_CHECK: Final = obj(
    {
        "id": TEXT,
        "status": _enum(Status),
        "code": TEXT,
        "level": _enum(Level),
        "expected": TEXT,
        "actual": TEXT,
        "detail": TEXT,
        "spec": TEXT,
    }
)
_RESULT: Final = obj(
    {
        "schema": {"const": SCHEMA},
        "verdict": _enum(Verdict),
        "secure": {"type": "boolean"},
        "platform": TEXT,
        "checks": array(_CHECK),
        "levels": array(obj({"level": _enum(Level), "proved_by": TEXT, "detail": TEXT})),
        "advisories": array(
            obj({"id": TEXT, "title": TEXT, "status": _enum(AdvisoryStatus), "detail": TEXT, "source": TEXT})
        ),
        "facts": ANY_OBJECT,
        "policy": obj({"sha256": HASH}),
        "collateral": array(obj({"kind": TEXT, "sha256": HASH, "source": TEXT, "not_after": TIME})),
        "valid_until": TIME,
        "judged_at": TIME,
    },
    {"code": TEXT},
)
_EVIDENCE: Final[Mapping[str, Json]] = {
    "oneOf": [
        obj({"cmw": ANY_OBJECT}),
        obj({"cmw_cbor": BASE64URL}),
        obj({"report": BASE64URL}, {"vek": BASE64URL, "chain": BASE64URL, "crl": BASE64URL}),
        obj({"report": BASE64URL, "cert_table": BASE64URL}),
    ],
    "description": "Evidence in one of its forms; bytes are base64url without padding.",
}
_REQUEST: Final = obj(
    {"evidence": _EVIDENCE},
    {
        "manifest": {**ANY_OBJECT, "description": "The Commitment Manifest that the guest should be under."},
        "policy": {
            "oneOf": [ANY_OBJECT, HASH],
            "description": "A policy's document, or the digest of one that the service has.",
        },
        "reference_values": {"type": "array", "items": HASH, "maxItems": MAX_REFERENCE_VALUES},
        "expected_report_data": {"type": "string", "pattern": "^[0-9a-f]{128}$"},
        "nonce": {"type": "string", "pattern": "^[A-Za-z0-9_-]{11,86}={0,2}$"},
        "audience": {"type": "string", "minLength": 1, "maxLength": 256},
    },
)
_SESSION: Final = obj(
    {
        "nonce": {"type": "string", "pattern": "^[A-Za-z0-9+/]{11,86}={0,2}$"},
        "expiry": TIME,
        "accept": array(TEXT),
        "status": _enum(SessionState),
    },
    {"evidence": obj({"type": TEXT, "value": TEXT}), "result": TOKEN},
)
_JWK: Final = obj({"kty": TEXT, "kid": TEXT, "alg": TEXT, "use": {"const": "sig"}}, closed=False)

SCHEMAS: Final[Mapping[str, Mapping[str, Json]]] = {
    "Problem": obj(
        {
            "type": {"type": "string", "pattern": "^urn:2cvm:code:[a-z0-9_]+$"},
            "title": TEXT,
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted(CODES)},
            "detail": TEXT,
        },
        {"errors": {**array(obj({"pointer": _POINTER})), "minItems": 1, "maxItems": MAX_PLACES}},
    ),
    "Result": _RESULT,
    "Request": _REQUEST,
    "Answer": obj(
        {"appraisal": reference("Result")},
        {"token": TOKEN, "explanation": array(TEXT), "report": obj({"path": TEXT, "until": TIME})},
    ),
    "Session": _SESSION,
    "Jwk": _JWK,
    "Keys": obj({"keys": array(reference("Jwk"))}),
    "Bytes": {"type": "string", "format": "binary"},
}
# Whatever may be judged, by media type.
EVIDENCE_BODIES: Final[Mapping[str, Mapping[str, Json]]] = {
    MEDIA_TYPE: reference("Request"),
    JSON_MEDIA_TYPE: ANY_OBJECT,
    CBOR_MEDIA_TYPE: reference("Bytes"),
}
