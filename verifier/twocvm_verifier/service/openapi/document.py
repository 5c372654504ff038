"""The document itself: OpenAPI 3.1, built of the descriptions of all routes and of the table of codes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Final

from twocvm_verifier.codes import CODES, service
from twocvm_verifier.codes.table import UNSUPPORTED
from twocvm_verifier.service.problems import MEDIA_TYPE
from twocvm_verifier.strictjson import Json

from .model import ALWAYS, Answered, Operation, Parameter, reference
from .operations import OPERATIONS
from .schemas import SCHEMAS

_ABOUT: Final = (
    "Judges the evidence of AMD SEV-SNP guests. A negative verdict is an answer with status 200; a problem (RFC 9457) "
    "is the answer where there is no verdict, names a code, and repeats nothing of the request."
)
_RETRY: Final[Mapping[str, Json]] = {"Retry-After": {"schema": {"type": "integer"}}}
_UNPROCESSABLE: Final = 422
_NOT_NOW: Final = 503
_COME_BACK: Final = frozenset({429, _NOT_NOW})


@cache
def openapi_document() -> Mapping[str, Json]:
    """Return the document; its addresses are relative to wherever it was found."""
    paths: dict[str, dict[str, Json]] = defaultdict(dict)
    for (method, path), operation in OPERATIONS.items():
        paths[path][method.lower()] = _operation(method, path, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "twocvm verifier", "version": version("twocvm"), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(method: str, path: str, operation: Operation) -> Json:
    described: dict[str, Json] = {
        "operationId": f"{method.lower()}{path.translate(str.maketrans('/{}.-', '_____'))}",
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation),
    }
    if operation.parameters:
        described["parameters"] = [_parameter(each) for each in operation.parameters]
    if operation.body:
        content: dict[str, Json] = {name: {"schema": schema} for name, schema in operation.body.items()}
        described["requestBody"] = {"required": True, "content": content}
    if operation.admin:
        described["security"] = [{"admin": []}]
    return described


def _responses(operation: Operation) -> dict[str, Json]:
    responses: dict[str, Json] = {}
    problems = dict(_problems(operation))
    for answered in operation.answers:
        status, described = _answer(answered)
        # A status may be of an answer and of a refusal.
        other = problems.pop(status, None)
        responses[status] = described if other is None else _both(described, other)
    return responses | problems


def _both(answer: Mapping[str, Json], problem: Mapping[str, Json]) -> dict[str, Json]:
    said = f"{answer['description']} {problem['description']}"
    return {**problem, "description": said, "content": {**_content(answer), **_content(problem)}}


def _content(described: Mapping[str, Json]) -> Mapping[str, Json]:
    content = described.get("content", {})
    return content if isinstance(content, Mapping) else {}


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "required": parameter.required or parameter.place == "path",
        "schema": parameter.schema,
    }


def _answer(answered: Answered) -> tuple[str, dict[str, Json]]:
    described: dict[str, Json] = {"description": answered.about}
    if answered.content:
        described["content"] = {name: {"schema": schema} for name, schema in answered.content.items()}
    if answered.headers:
        described["headers"] = {
            name: {"description": about, "schema": {"type": "string"}} for name, about in answered.headers.items()
        }
    return str(answered.status), described


def _problems(operation: Operation) -> Iterator[tuple[str, dict[str, Json]]]:
    codes: dict[int, list[str]] = defaultdict(list)
    # A path with a part of the caller's may be no path at all.
    chosen = ("SERVICE_ROUTE",) if any(each.place == "path" for each in operation.parameters) else ()
    for code in dict.fromkeys((*operation.refusals, *chosen, *ALWAYS)):
        codes[_status(code)].append(code)
    for status, named in sorted(codes.items()):
        described: dict[str, Json] = {
            "description": " ".join(f"{code}: {CODES[code].meaning}" for code in sorted(named)),
            "content": {MEDIA_TYPE: {"schema": reference("Problem")}},
        }
        if status in _COME_BACK:
            described["headers"] = _RETRY
        yield str(status), described


def _status(code: str) -> int:
    """Return what `problems.problem` answers for a code."""
    row = CODES[code]
    if code == "POLICY_EMPTY":
        return _UNPROCESSABLE
    if code in service.CODES or code.startswith("MALFORMED_"):
        return row.http_status
    return _UNPROCESSABLE if row.exit_status == UNSUPPORTED else _NOT_NOW
