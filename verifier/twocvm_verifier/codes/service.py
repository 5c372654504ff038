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
_POLICIES: Final = "docs/spec/policies.md"
_COLLATERAL: Final = "docs/collateral.md"
_CORIM: Final = "docs/spec/corim.md"
_AUDIT: Final = "docs/spec/audit.md"
_OPERATION: Final = "docs/verifier.md"


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
    "SERVICE_BUSY": _asked(
        503,
        CANNOT_JUDGE,
        "The service judges as much as it can at a time, or lost a replica that was judging. Try again in a moment.",
    ),
    "SERVICE_INTERNAL": _asked(500, 1, "The service met an error of its own and says no more about it."),
    "POLICY_UNKNOWN": _asked(
        422,
        UNSUPPORTED,
        "The service holds no policy with this digest. Send the policy itself, or ask the service's owner for it.",
    ),
    # Documents of the owner's.
    "ADMIN_REQUIRED": _asked(
        401,
        NOT_AUTHORISED,
        "Only an admin of the service may ask this: with the bearer token, or a client certificate that is listed.",
        _POLICIES,
    ),
    "MALFORMED_DOCUMENT_REQUEST": malformed(
        "The request for a document is not in its one form: a name is `[a-z][a-z0-9-]{0,62}`, a digest 64 hex digits, "
        "a condition one entity tag in If-Match, or If-None-Match: *.",
        _POLICIES,
    ),
    "DOCUMENT_UNKNOWN": _asked(404, UNSUPPORTED, "The service has no document of this name or digest.", _POLICIES),
    "DOCUMENT_CHANGED": _asked(
        412,
        WRONG_STATE,
        "The name points to another document than the request says, or to one where it says none. Read what it points "
        "to, and send the entity tag of that in If-Match.",
        _POLICIES,
    ),
    "DOCUMENTS_FULL": _asked(
        409, WRONG_STATE, "The service keeps no more names, or no more revisions of this name.", _POLICIES
    ),
    "DOCUMENTS_UNREACHABLE": _asked(
        503, CANNOT_JUDGE, "The service cannot reach its documents now. Try again in a moment.", _POLICIES
    ),
    "DEFAULT_POLICY_MISSING": _asked(
        503,
        CANNOT_JUDGE,
        "The service's owner named a default policy, and nothing was put under that name yet: an admin puts it "
        "(PUT /v1/policies/NAME). Until then name a policy in the request.",
        _POLICIES,
    ),
    "DOCUMENT_DAMAGED": _asked(
        500,
        WRONG_STATE,
        "What the service's store holds under a digest is another document: somebody else writes to it. Nothing is "
        "judged by it; restore the store.",
        _POLICIES,
    ),
    "MALFORMED_STORED_DOCUMENT": malformed(
        "The service's store holds something that the service did not write. Restore it.", _POLICIES
    ),
    "MALFORMED_REFERENCE_VALUES": malformed(
        "The reference values are not in their form, or one is left unchecked.", _POLICIES
    ),
    "REFERENCE_VALUES_CONFLICT": _asked(
        422,
        UNSUPPORTED,
        "No guest could meet both the policy and the reference values, or both have minimums. Change one of them.",
        _POLICIES,
    ),
    "REFERENCE_VALUES_ENDED": _asked(
        503,
        CANNOT_JUDGE,
        "The reference values do not count yet, or no longer. Ask who publishes them for newer ones.",
        _POLICIES,
    ),
    # The mirror of collateral.
    "MALFORMED_KDS_REQUEST": malformed(
        "The request is none that AMD's KDS takes: the chip's id in hex, and each component of the product's TCB once.",
        _COLLATERAL,
    ),
    "MIRROR_UNKNOWN": _asked(
        404, CANNOT_JUDGE, "The mirror has no such certificate or list, and nobody whom it asks has.", _COLLATERAL
    ),
    # CoRIM.
    "MALFORMED_CORIM": malformed("The bytes are no CoRIM of AMD's SEV-SNP profile.", _CORIM),
    "CORIM_PROFILE": _asked(422, UNSUPPORTED, "The CoRIM is of a profile that this version does not read.", _CORIM),
    "CORIM_UNTRUSTED": _asked(
        422,
        NOT_AUTHENTIC,
        "The CoRIM is signed by nobody who is trusted. Name the key of who may sign it, or take the payload out and "
        "vouch for it yourself.",
        _CORIM,
    ),
    "CORIM_ALTERNATIVES": _asked(
        422,
        UNSUPPORTED,
        "The CoRIM's triples differ in more than one list, so that one policy would accept mixtures of them. Give one "
        "CoRIM for each.",
        _CORIM,
    ),
    "CORIM_NOT_JUDGED": _asked(
        422,
        UNSUPPORTED,
        "The CoRIM names what is not judged here, or not as it is named. Read the list (`twocvm policy add`), and give "
        "a reason for leaving it open.",
        _CORIM,
    ),
    # What its owner sets.
    "MALFORMED_SETTINGS": malformed(
        "A setting of the service is unknown, is not what it takes, or does not go with another one. "
        "`twocvm verifier config show` lists all there are.",
        _OPERATION,
    ),
    "SECRET_EXPOSED": _asked(
        500,
        NOT_AUTHORISED,
        "Others than its owner can read a file with a secret of the service. Make a new secret, with mode 0600.",
        _OPERATION,
    ),
    "MALFORMED_SECRET": malformed(
        "A file with a secret of the service does not hold what it should: see the setting that names it.", _OPERATION
    ),
    # How much is asked, and where it stands what was.
    "RATE_LIMITED": _asked(429, CANNOT_JUDGE, "This client asks more than its share. Try again after Retry-After."),
    "STATE_UNREACHABLE": _asked(
        503,
        CANNOT_JUDGE,
        "The service cannot say which challenges were answered, and so takes no answer. Try again in a moment.",
    ),
    "STORE_UNREADABLE": _asked(
        503, CANNOT_JUDGE, "The service cannot read its folder of certificates and revocation lists.", _OPERATION
    ),
    # Challenges.
    "SESSION_UNKNOWN": _asked(
        404, WRONG_STATE, "The service has no session of this id, or no longer: it lives for two and a half minutes."
    ),
    "SESSION_SPENT": _asked(
        409, WRONG_STATE, "The session's nonce was answered already, and is good once. Ask for a new session."
    ),
    # Pages.
    "REPORTS_OFF": _asked(
        422,
        UNSUPPORTED,
        "The owner of this service has no pages of appraisals kept. Leave report=1 out; `twocvm appraise --html` makes "
        "the same page of the evidence.",
    ),
    "REPORT_UNKNOWN": _asked(
        404, WRONG_STATE, "The service has no page at this address, or no longer. Have the evidence judged again."
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
    "SIGNING_KEY_WRONG": _asked(
        500,
        NOT_AUTHORISED,
        "The key that is to sign tokens is of another kind than was set, or cannot be used: see the public key, the "
        "PIN, the module and the rights at its keeper.",
        _EAR,
    ),
    "SIGNING_FAILED": _asked(
        503, CANNOT_JUDGE, "The verdict could not be signed now, so it is not told. Try again in a moment.", _EAR
    ),
    "AUDIENCE_UNKNOWN": _asked(
        422,
        NOT_AUTHORISED,
        "The service's owner does not issue tokens for this audience. Leave it out, or have the owner list it.",
        _EAR,
    ),
    # The audit log.
    "AUDIT_UNAVAILABLE": _asked(
        503,
        CANNOT_JUDGE,
        "The verdict could not be written to the audit log, so it is not told. Try again later; the service's owner "
        "finds the reason in its log.",
        _AUDIT,
    ),
    "AUDIT_EXPOSED": _asked(
        500,
        NOT_AUTHORISED,
        "Others than its owner can use the audit log. Want mode 0700, and 0600 for its files.",
        _AUDIT,
    ),
    "AUDIT_BROKEN": _asked(
        500,
        WRONG_STATE,
        "The audit log does not end as this service has written it. Keep it for who asks what happened, and begin "
        "another in an empty folder.",
        _AUDIT,
    ),
    "MALFORMED_AUDIT": malformed(
        "The bytes are no record or head of an audit log. Give the files as the service wrote them.", _AUDIT
    ),
    "AUDIT_CHANGED": _asked(500, NOT_AUTHENTIC, "A record of the audit log is not as it was written.", _AUDIT),
    "AUDIT_MISSING": _asked(
        500,
        NOT_AUTHENTIC,
        "Records of the audit log are not there. Give every file, or the head that was kept before the first.",
        _AUDIT,
    ),
    "AUDIT_REORDERED": _asked(
        500, NOT_AUTHENTIC, "A record of the audit log stands in another place than it was written at.", _AUDIT
    ),
    "AUDIT_TRUNCATED": _asked(500, NOT_AUTHENTIC, "The audit log ends before the head that was kept of it.", _AUDIT),
    "AUDIT_FORKED": _asked(
        500,
        NOT_AUTHENTIC,
        "Two histories of one audit log: a record differs from another of its number, from a head that was kept, or "
        "from what a checkpoint says.",
        _AUDIT,
    ),
    "AUDIT_SIGNATURE": _asked(
        500, NOT_AUTHENTIC, "No key that was given signed a checkpoint of the audit log, as one.", _AUDIT
    ),
}
