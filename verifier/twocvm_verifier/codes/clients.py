"""Codes of the clients on a participant's machine: HTTP libraries, tokens with keys, the proxy, verifiers elsewhere."""

from __future__ import annotations

from typing import Final

from .table import CANNOT_JUDGE, NOT_AUTHENTIC, NOT_AUTHORISED, REFUSED, UNSUPPORTED, Code, malformed

_SDK: Final = "docs/sdk.md"
_REMOTE: Final = "docs/spec/remote.md"


def _ours(exit_status: int, meaning: str) -> Code:
    # Found on a participant's own machine, never by the guest.
    return Code(exit_status=exit_status, http_status=500, meaning=meaning, spec=_SDK)


def _proxy(http_status: int, meaning: str, *, exit_status: int = NOT_AUTHORISED) -> Code:
    # Answered by the proxy to tools.
    return Code(exit_status=exit_status, http_status=http_status, meaning=meaning, spec=_SDK)


def _unanswered(meaning: str) -> Code:
    return Code(exit_status=CANNOT_JUDGE, http_status=500, meaning=meaning, spec=_REMOTE)


CODES: Final[dict[str, Code]] = {
    "EXTRA_MISSING": _ours(
        UNSUPPORTED,
        "What this needs is not installed. Install twocvm with the extra that is named.",
    ),
    # A consent key in a token.
    "MALFORMED_PKCS11_URI": malformed(
        "The PKCS#11 URI (RFC 7512) is not one, or says something that is not taken; a PIN is never written into one.",
        _SDK,
    ),
    "TOKEN_MODULE": _ours(
        UNSUPPORTED,
        "The PKCS#11 module cannot be loaded. Name the shared library that came with the token in `module-path`.",
    ),
    "TOKEN_MISSING": _ours(
        NOT_AUTHORISED,
        "No token, or more than one, is the one that the URI describes. Plug it in, or describe it more closely.",
    ),
    "TOKEN_KEY": _ours(
        NOT_AUTHORISED,
        "The token has no key, or more than one, that the URI describes and that can sign statements: Ed25519, P-256 "
        "or P-384, with its public key beside it.",
    ),
    "TOKEN_PIN": _ours(
        NOT_AUTHORISED,
        "The token did not take the PIN, or nobody gave one. Tokens lock themselves after a few wrong ones: be sure "
        "before the next try.",
    ),
    "TOKEN_SIGNATURE": _ours(
        NOT_AUTHENTIC,
        "What the token returned is not a signature by the key of this identity. Nothing was handed over; find out "
        "which token and which key this is.",
    ),
    "TOKEN_FAILED": _ours(
        CANNOT_JUDGE,
        "The token could not do what was asked of it. Try again; then look at the token.",
    ),
    # The proxy.
    "MALFORMED_PROXY_REQUEST": malformed(
        "The proxy does not pass this request on: it takes HTTP/1.1 with a path as target, a body with its length, and "
        "no upgrade.",
        _SDK,
    ),
    "MALFORMED_PROXY_SECRET": malformed(
        "The file holds no secret for a proxy. Name one that is not there yet: it is made, with a new one in it.",
        _SDK,
    ),
    "PROXY_HOST": _proxy(
        421,
        "The request names another host than the proxy's own address, as a web page does whose name was made to lead "
        "here. Use the address that the proxy printed.",
    ),
    "PROXY_WEB_PAGE": _proxy(
        403,
        "The request was sent by a web page. The proxy is for tools; pages get nothing from it.",
    ),
    "PROXY_SECRET": _proxy(
        401,
        "The proxy wants to be shown its secret: `Authorization: Bearer` and the content of the file that `--secret` "
        "names.",
    ),
    "PROXY_BUSY": _proxy(
        503,
        "The proxy serves as many connections as it can. Wait for one to end.",
        exit_status=CANNOT_JUDGE,
    ),
    # Verifiers elsewhere, as whoever asks them sees it.
    "MALFORMED_VERIFIER_KEYS": malformed(
        "The keys of a verifier are no JWK Set, hold no key for ES256 or RS256, or a private one. Ask who runs it.",
        _REMOTE,
    ),
    "VERIFIER_UNREACHABLE": _unanswered(
        "The verifier could not be reached over HTTPS, took too long, or answered with an error. Nothing was learnt of "
        "the guest: try again, or ask another verifier.",
    ),
    "VERIFIER_KEYS": _unanswered(
        "The verifier's keys could not be had from it. Pin its keys, or ask who runs it.",
    ),
    "VERIFIER_ANSWER": _unanswered(
        "What came is no token of this verifier about this question: another key, algorithm, audience, time, report, "
        "policy or manifest. Nothing was learnt of the guest. Ask who runs the verifier; somebody may stand between.",
    ),
    "VERIFIER_REFUSED": Code(
        exit_status=REFUSED,
        http_status=500,
        meaning="The verifier that was asked does not accept the guest under this policy. Release nothing; its own "
        "records say why.",
        spec=_REMOTE,
    ),
    "VERIFIERS_TOO_FEW": _unanswered(
        "Fewer verifiers accept the guest than are needed, and none refuses it. Try again when more of them answer.",
    ),
}
