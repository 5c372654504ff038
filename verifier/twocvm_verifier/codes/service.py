"""Codes of the verifier service: what is asked of it, and the keys that it signs with."""

from __future__ import annotations

from typing import Final

from .table import (
    CANNOT_JUDGE,
    MALFORMED,
    NOT_AUTHENTIC,
    NOT_AUTHORISED,
    UNSUPPORTED,
    WRONG_STATE,
    Code,
    malformed,
)

_CHALLENGE: Final = "docs/spec/challenge.md"
_EAR: Final = "docs/spec/ear.md"


def _asked(http_status: int, exit_status: int, meaning: str, spec: str = _CHALLENGE) -> Code:
    return Code(exit_status=exit_status, http_status=http_status, meaning=meaning, spec=spec)


CODES: Final[dict[str, Code]] = {
    # What is asked.
    "MALFORMED_APPRAISAL_REQUEST": malformed(
        "The request is not one that this service takes: a member, a header or the query is missing, unknown or not in "
        "its one form.",
        _CHALLENGE,
    ),
    "REQUEST_TOO_LARGE": _asked(413, MALFORMED, "The request's body is larger than this route takes."),
    "MEDIA_TYPE_UNSUPPORTED": _asked(
        415,
        UNSUPPORTED,
        "The service does not read this media type, or not with a Content-Encoding. Send one of those that it lists, "
        "as it is.",
    ),
    "NOT_ACCEPTABLE": _asked(406, UNSUPPORTED, "The service does not answer in a media type that the request accepts."),
    "SERVICE_ROUTE": _asked(404, UNSUPPORTED, "The verifier service has no such route."),
    "SERVICE_METHOD": _asked(405, UNSUPPORTED, "The route is not for this method."),
    "SERVICE_BUSY": _asked(503, CANNOT_JUDGE, "The service judges as much as it can at a time. Try again in a moment."),
    "SERVICE_INTERNAL": _asked(500, 1, "The service met an error of its own and says no more about it."),
    "POLICY_UNKNOWN": _asked(
        422,
        UNSUPPORTED,
        "The service holds no policy with this digest. Send the policy itself, or ask the service's owner for it.",
    ),
    # Challenges.
    "SESSION_UNKNOWN": _asked(
        404, WRONG_STATE, "The service has no session of this id, or no longer: it lives for two and a half minutes."
    ),
    "SESSION_SPENT": _asked(
        409, WRONG_STATE, "The session's nonce was answered already, and is good once. Ask for a new session."
    ),
    # A finding, which the service tells in its verdict.
    "NONCE_MISMATCH": _asked(
        500,
        NOT_AUTHENTIC,
        "The evidence does not answer the challenge: it is older, or was made for somebody else. Make evidence for "
        "this nonce.",
    ),
    # Tokens.
    "MALFORMED_SIGNING_KEY": malformed(
        "The file holds no key that can sign tokens: want P-256, or RSA of at least 2048 bits, in PEM without a "
        "password.",
        _EAR,
    ),
    "SIGNING_KEY_EXPOSED": _asked(
        500,
        NOT_AUTHORISED,
        "Others than its owner can read the file with the key that signs tokens. Make a new key, with mode 0600.",
        _EAR,
    ),
    "AUDIENCE_UNKNOWN": _asked(
        422,
        NOT_AUTHORISED,
        "The service's owner does not issue tokens for this audience. Leave it out, or have the owner list it.",
        _EAR,
    ),
}
