"""`POST /v1/appraise`: everything at hand goes in, the judgement and its token come out.

Spec: docs/spec/challenge.md, 1.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.presentation import appraisal_lines
from twocvm_verifier.strictjson import Json

from . import pages
from .bodies import media_type_of, read_body, require_acceptable
from .clients import client_in
from .evidence_forms import DOCUMENT
from .parts import desk_of
from .requests import EVIDENCE_TYPES, MAX_REQUEST_BYTES
from .route import Routes, json_answer

JSON: Final = "application/json"
# What an answer has beside the result where the query says 1.
_EXTRAS: Final = frozenset({"explain", "report"})
routes: Final = Routes()


@routes.post("/v1/appraise")
async def appraise(request: Request) -> Response:
    """Judge evidence."""
    wanted = _wanted(request)
    require_acceptable(request, JSON)
    media_type = media_type_of(request, (*EVIDENCE_TYPES, JSON))
    desk, body = desk_of(request), await read_body(request, max_bytes=MAX_REQUEST_BYTES)
    answer = await desk.answer(await desk.read(body, media_type=media_type), client=client_in(request.scope))
    appraisal = answer.outcome.appraisal
    told: dict[str, Json] = {"appraisal": appraisal.to_json()}
    if answer.token:
        told["token"] = answer.token
    if "explain" in wanted:
        told["explanation"] = [line.plain for line in appraisal_lines(appraisal, every_check=True)]
    if "report" in wanted:
        told["report"] = (await pages.show(desk, answer.outcome)).to_json()
    return json_answer(told)


def _wanted(request: Request) -> frozenset[str]:
    if not request.scope["query_string"]:
        return frozenset()
    query = request.query_params.multi_items()
    asked = dict(query)
    if len(asked) != len(query) or not asked.keys() <= _EXTRAS or not set(asked.values()) <= {"0", "1"}:
        raise MalformedError(DOCUMENT, "query", "want explain=1, report=1, both, or nothing")
    return frozenset(name for name, value in asked.items() if value == "1")
