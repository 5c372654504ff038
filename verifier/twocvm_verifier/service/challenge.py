"""Project Veraison's challenge-response API: a session is a nonce, and evidence that answers it once.

Spec: docs/spec/challenge.md, 2 and 3.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from twocvm_verifier.clock import format_time
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.strictjson import Json

from .bodies import media_type_of, read_body, require_acceptable
from .clients import client_in
from .evidence_forms import DOCUMENT
from .parts import Desk, desk_of
from .problems import ServiceError
from .requests import (
    EVIDENCE_TYPES,
    MAX_NONCE_BYTES,
    MAX_REQUEST_BYTES,
    MIN_NONCE_BYTES,
    AppraisalRequest,
    parse_nonce,
)
from .route import Routes, json_answer
from .state.protocol import ChallengeSession, SessionState
from .wrappers import WRAPPERS

SESSION_TYPE: Final = "application/vnd.veraison.challenge-response-session+json"
DISCOVERY_TYPE: Final = "application/vnd.veraison.discovery+json"
NEW_SESSION: Final = "/challenge-response/v1/newSession"
DEFAULT_NONCE_BYTES: Final = 32
_SIZE: Final = re.compile(r"[0-9]{1,2}", re.ASCII)

routes: Final = Routes()


@routes.post(NEW_SESSION)
async def new_session(request: Request) -> Response:
    """Make a challenge, or take the caller's."""
    require_acceptable(request, SESSION_TYPE)
    desk = desk_of(request)
    nonce, drawn = _nonce(request, desk)
    session = await desk.ask_state(lambda sessions: sessions.open(nonce, drawn=drawn))
    answer = _answer(desk, session, status=201)
    # Relative, as Veraison's: whatever stands in front of this service, and whatever it is called there.
    answer.headers["Location"] = f"session/{session.identifier}"
    return answer


@routes.get("/challenge-response/v1/session/{identifier}")
async def get_session(request: Request) -> Response:
    """Say where a session is."""
    require_acceptable(request, SESSION_TYPE)
    desk, identifier = desk_of(request), _identifier(request)
    return _answer(desk, await desk.ask_state(lambda sessions: sessions.get(identifier)))


@routes.post("/challenge-response/v1/session/{identifier}")
async def submit_evidence(request: Request) -> Response:
    """Judge the evidence that answers a challenge."""
    require_acceptable(request, SESSION_TYPE)
    desk, identifier = desk_of(request), _identifier(request)
    media_type = media_type_of(request, (*EVIDENCE_TYPES, *WRAPPERS))
    body = await read_body(request, max_bytes=MAX_REQUEST_BYTES)
    asked = await desk.read(body, media_type=media_type)
    if asked.nonce is not None:
        raise MalformedError(DOCUMENT, "/nonce", "the session has one already")
    session = await desk.ask_state(lambda sessions: sessions.begin(identifier))
    complete = await _judge(
        desk, session, replace(asked, nonce=session.nonce, drawn=session.drawn), client=client_in(request.scope)
    )
    return _answer(desk, complete, evidence={"type": media_type, "value": base64.b64encode(body).decode("ascii")})


@routes.delete("/challenge-response/v1/session/{identifier}")
async def delete_session(request: Request) -> Response:
    """Forget a session."""
    identifier = _identifier(request)
    await desk_of(request).ask_state(lambda sessions: sessions.delete(identifier))
    return Response(status_code=204)


@routes.get("/.well-known/veraison/verification")
async def discovery(request: Request) -> Response:
    """Say what this service takes, and which key it signs with."""
    require_acceptable(request, DISCOVERY_TYPE)
    described: Json = {
        "ear-verification-key": dict(desk_of(request).parts.keys.current.public_jwk),
        "media-types": list(EVIDENCE_TYPES),
        "version": "1",
        "service-state": "READY",
        "api-endpoints": {"newChallengeResponseSession": NEW_SESSION},
    }
    return json_answer(described, media_type=DISCOVERY_TYPE)


async def _judge(desk: Desk, session: ChallengeSession, asked: AppraisalRequest, *, client: str) -> ChallengeSession:
    # Whatever happens below, also that the caller goes away: the nonce was good once.
    ended = replace(session, state=SessionState.FAILED)
    try:
        answer = await desk.answer(asked, client=client)
        ended = replace(session, state=SessionState.COMPLETE, result=answer.token)
    finally:
        # Who answered is told the verdict in any case; where it cannot be kept, `GET` has none.
        with suppress(ServiceError):
            await desk.ask_state(lambda sessions: sessions.finish(ended))
    return ended


def _answer(desk: Desk, session: ChallengeSession, *, status: int = 200, evidence: Json | None = None) -> Response:
    described: dict[str, Json] = {
        # In the alphabet and with the padding of Veraison's document, which its clients insist on.
        "nonce": base64.b64encode(session.nonce).decode("ascii"),
        "expiry": format_time(session.expires_at),
        "accept": list(EVIDENCE_TYPES),
        "status": str(session.state),
    }
    if not desk.parts.sessions.answers.once:
        described["2cvm.once"] = False
    if evidence is not None:
        described["evidence"] = evidence
    if session.result:
        described["result"] = session.result
    return json_answer(described, media_type=SESSION_TYPE, status=status)


def _nonce(request: Request, desk: Desk) -> tuple[bytes, bool]:
    """Return the challenge that a request asks for, and whether it was drawn here."""
    match request.query_params.multi_items():
        case []:
            return _drawn(desk, DEFAULT_NONCE_BYTES), True
        case [("nonce", text)]:
            return parse_nonce(text), False
        case [("nonceSize", text)] if _SIZE.fullmatch(text) and MIN_NONCE_BYTES <= int(text) <= MAX_NONCE_BYTES:
            return _drawn(desk, int(text)), True
        case _:
            raise MalformedError(DOCUMENT, "query", "want one nonce, or one nonceSize from 8 to 64")


def _drawn(desk: Desk, size: int) -> bytes:
    """Return a nonce that base64 and base64url write alike, for clients that read the one or the other.

    One of 8 bytes has half a bit less to guess for it, one of 64 bytes 4.
    """
    while True:
        nonce = desk.parts.random_bytes(size)
        if base64.b64encode(nonce) == base64.urlsafe_b64encode(nonce):
            return nonce


def _identifier(request: Request) -> str:
    return str(request.path_params["identifier"])
