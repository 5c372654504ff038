"""What the service answers where it gives no verdict: a problem that names its code and repeats nothing of the request.

Spec: RFC 9457; docs/spec/challenge.md, 4.
"""

from __future__ import annotations

import http
import math
from typing import Final

from starlette.responses import Response

from twocvm_verifier import strictjson
from twocvm_verifier.codes import CODES, service
from twocvm_verifier.errors import CollateralError, FetchError, MalformedError, TwoCvmError, UnsupportedError
from twocvm_verifier.strictjson import Json

from .headers import EVERY
from .observe import seen

MEDIA_TYPE: Final = "application/problem+json"
# Where no source said how long: as long as a failure to find collateral is remembered.
RETRY_AFTER_SECONDS: Final = 10
# Of more that is wrong at once nobody reads.
MAX_PLACES: Final = 20
# What a body is, or has as a member; the places of all else are in bytes.
_IN_BODIES: Final = frozenset({"appraisal-request", "evidence", "claims", "report", "cert-table", "manifest", "policy"})
_UNAUTHORIZED: Final = 401
_COME_BACK: Final = frozenset({429, 503})


class ServiceError(TwoCvmError):
    """The service does not do what was asked, whatever the evidence is.

    Args:
        code: A name in `codes.CODES`.
        detail: As `TwoCvmError`.
        retry_after_seconds: When to try again at the earliest, where that may help.
    """

    def __init__(self, code: str, detail: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(code, detail)
        self.retry_after_seconds = retry_after_seconds


def problem(error: TwoCvmError) -> Response:
    """Return the answer for a refusal.

    Its text is that of the code table alone: what was sent may be a secret, and `str(error)` may quote it. Where in a
    body something is wrong is said in names of our own, which `MalformedError.places` has.
    """
    if isinstance(error, CollateralError):
        return _answer(error.code, 503, retry_after_seconds=_patience(error))
    if isinstance(error, UnsupportedError) or error.code == "POLICY_EMPTY":
        return _answer(error.code, 422)
    if error.code in service.CODES or isinstance(error, MalformedError):
        status = CODES[error.code].http_status
        places = error.places if isinstance(error, MalformedError) and error.document in _IN_BODIES else ()
        wait = error.retry_after_seconds if isinstance(error, ServiceError) and status in _COME_BACK else 0
        return _answer(error.code, status, retry_after_seconds=wait, places=places)
    return internal_problem()


def internal_problem() -> Response:
    """Return the answer for an error of our own, about which nobody outside learns anything."""
    return _answer("SERVICE_INTERNAL", 500)


def _answer(code: str, status: int, *, retry_after_seconds: int = 0, places: tuple[str, ...] = ()) -> Response:
    body: dict[str, Json] = {
        "type": f"urn:2cvm:code:{code.lower()}",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": CODES[code].meaning,
    }
    if places:
        # RFC 9457, 3: the form of its example; RFC 6901, 6: a pointer as the fragment of a URI.
        body["errors"] = [{"pointer": f"#{place}"} for place in list(dict.fromkeys(places))[:MAX_PLACES]]
    seen().code = code
    headers = dict(EVERY)
    if status == _UNAUTHORIZED:
        # RFC 9110, 11.6.1: how to be somebody.
        headers["WWW-Authenticate"] = "Bearer"
    if retry_after_seconds:
        headers["Retry-After"] = str(retry_after_seconds)
    return Response(strictjson.canonical(body), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _patience(error: CollateralError) -> int:
    said = error.retry_after_seconds if isinstance(error, FetchError) else 0.0
    return max(RETRY_AFTER_SECONDS, math.ceil(said))
