"""`/` and `/reports/{identifier}`: what people see in a browser, without a script.

A report is kept where the owner allows it and a request asks for it, under an address that nobody can guess, until its
time is over; who has the address sees what was judged, and never the evidence.

Spec: docs/spec/challenge.md, 5.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from twocvm_verifier import framing, strictjson
from twocvm_verifier.clock import format_time
from twocvm_verifier.pages.rendering import Origin, content_security_policy, front_page, maker, report_page
from twocvm_verifier.pages.report import SCHEMA, report_document
from twocvm_verifier.pages.reproduction import Asked
from twocvm_verifier.strictjson import Json

from .appraisals import Outcome, Purpose
from .front import front_document
from .parts import Desk, desk_of
from .problems import ServiceError
from .route import Routes, json_answer
from .state.reports import unknown

HTML: Final = "text/html; charset=utf-8"
# A report has some 6 KB, packed; a policy of a stranger's can make it much more.
MAX_KEPT_BYTES: Final = 32_768
_ADDRESS_BYTES: Final = 32
# A result of a few hundred checks, and a policy of its greatest size.
_MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024

routes: Final = Routes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Where a report can be seen, and until when.

    Attributes:
        path: Of this service.
        until: When it is forgotten.
    """

    path: str = field(repr=False)
    until: datetime

    def to_json(self) -> dict[str, Json]:
        """Return the member `report` of an answer."""
        return {"path": self.path, "until": format_time(self.until)}


async def show(desk: Desk, outcome: Outcome) -> Shown:
    """Keep the page of an outcome.

    Raises:
        ServiceError: REPORTS_OFF, REQUEST_TOO_LARGE, SERVICE_BUSY, or the store's own.
    """
    parts = desk.parts
    identifier = parts.random_bytes(_ADDRESS_BYTES)
    until = parts.clock.now().replace(microsecond=0) + timedelta(seconds=parts.report_seconds)
    await desk.ask_state(
        lambda _: parts.reports.keep(framing.sha256(identifier), _packed(outcome, desk, until=until), until=until)
    )
    return Shown(path=f"/reports/{strictjson.base64url(identifier)}", until=until)


@routes.get("/")
async def front(request: Request) -> Response:
    """Say what this service is and trusts."""
    desk = desk_of(request)
    origin = Origin(maker=maker(), service=desk.parts.issuer, until="")
    # The default policy may be in a store elsewhere.
    return _page(await desk.ask_state(lambda _: front_page(front_document(desk.parts), origin)))


@routes.get("/reports/{identifier}")
async def report(request: Request) -> Response:
    """Show an appraisal to people."""
    desk, name = desk_of(request), _name(str(request.path_params["identifier"]))
    answer = _page(await desk.ask_state(lambda _: _shown(desk, desk.parts.reports.find(name))))
    answer.headers["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    return answer


@routes.get("/openapi.json")
async def openapi(request: Request) -> Response:  # noqa: ARG001 - it is the same for everybody
    """Describe every route."""
    from .openapi import openapi_document

    return json_answer(openapi_document())


def _packed(outcome: Outcome, desk: Desk, *, until: datetime) -> bytes:
    bound = any(check.id.startswith("binding.") for check in outcome.appraisal.checks)
    asked = Asked(release=outcome.purpose is Purpose.RELEASE, bound=bound, bundle=None)
    roots = desk.parts.appraiser.verifier.roots
    document: dict[str, Json] = {
        "until": format_time(until),
        "owners_policy": outcome.owners_policy,
        "page": report_document(outcome.case, outcome.appraisal, roots=roots, asked=asked),
    }
    packed = zlib.compress(strictjson.canonical(document))
    if len(packed) > MAX_KEPT_BYTES:
        raise ServiceError("REQUEST_TOO_LARGE", f"report: has {len(packed)} bytes, want at most {MAX_KEPT_BYTES}")
    return packed


def _shown(desk: Desk, packed: bytes) -> str:
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(packed, _MAX_DOCUMENT_BYTES)
    document = strictjson.parse_canonical(raw, document="page", max_bytes=_MAX_DOCUMENT_BYTES)
    page = document["page"] if isinstance(document, dict) else None
    # Another version, on another replica, may have kept another form.
    if not isinstance(page, dict) or page["schema"] != SCHEMA or not isinstance(document, dict):
        raise unknown()
    origin = Origin(
        maker=maker(),
        service=desk.parts.issuer,
        until=str(document["until"]),
        strangers_policy=document["owners_policy"] is not True,
    )
    return report_page(page, origin)


def _name(text: str) -> bytes:
    try:
        identifier = strictjson.parse_base64url(text)
    except ValueError as error:
        raise unknown() from error
    return framing.sha256(identifier)


def _page(html: str) -> Response:
    policy = f"{content_security_policy()}; frame-ancestors 'none'"
    return Response(html, media_type=HTML, headers={"Content-Security-Policy": policy})
