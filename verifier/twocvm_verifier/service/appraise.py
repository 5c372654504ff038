"""`POST /v1/appraise`: everything at hand goes in, the judgement and its token come out.

Spec: docs/spec/challenge.md, 1.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.presentation import appraisal_lines
from twocvm_verifier.strictjson import Json

from .bodies import media_type_of, read_body, require_acceptable
from .evidence_forms import DOCUMENT
from .parts import desk_of
from .requests import EVIDENCE_TYPES, MAX_REQUEST_BYTES
from .route import ServiceRoute, json_answer

JSON: Final = "application/json"
routes: Final = APIRouter(route_class=ServiceRoute, redirect_slashes=False)


@routes.post("/v1/appraise")
async def appraise(request: Request) -> Response:
    """Judge evidence."""
    explained = _explained(request)
    require_acceptable(request, JSON)
    media_type = media_type_of(request, (*EVIDENCE_TYPES, JSON))
    desk, body = desk_of(request), await read_body(request, max_bytes=MAX_REQUEST_BYTES)
    answer = await desk.answer(await desk.read(body, media_type=media_type))
    appraisal = answer.outcome.appraisal
    told: dict[str, Json] = {"appraisal": appraisal.to_json()}
    if answer.token:
        told["token"] = answer.token
    if explained:
        told["explanation"] = [line.plain for line in appraisal_lines(appraisal, every_check=True)]
    return json_answer(told)


def _explained(request: Request) -> bool:
    query = request.query_params.multi_items()
    if query not in ([], [("explain", "0")], [("explain", "1")]):
        raise MalformedError(DOCUMENT, "query", "want explain=1, or nothing")
    return ("explain", "1") in query
