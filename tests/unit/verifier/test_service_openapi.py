"""The OpenAPI document: of every route that there is, of no other, and true about what comes back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import jsonschema_rs
import pytest
from tests.support.amd import AT
from tests.support.sdk import StandingClock
from tests.support.verifier_service import asked, naming_policy, parts, service

from twocvm_verifier import strictjson
from twocvm_verifier.codes import CODES
from twocvm_verifier.evidence import JSON_MEDIA_TYPE
from twocvm_verifier.service.app import create_app
from twocvm_verifier.service.openapi import openapi_document
from twocvm_verifier.service.openapi.operations import OPERATIONS
from twocvm_verifier.service.problems import problem
from twocvm_verifier.service.requests import EVIDENCE_TYPES
from twocvm_verifier.service.route import ServiceRoute
from twocvm_verifier.service.state.reports import MemoryReports, unknown
from twocvm_verifier.service.wrappers import WRAPPERS

DOCUMENT: Any = openapi_document()


def routes_of(routes: Iterable[ServiceRoute]) -> Iterator[tuple[str, str]]:
    """Return method and path of every route."""
    for route in routes:
        yield from ((method, route.path) for method in route.methods)


def test_every_route_is_described_and_no_other():
    """A route without a description, and a description without a route, are found here."""
    assert sorted(routes_of(create_app(parts()).routes)) == sorted(OPERATIONS)


def test_it_is_an_openapi_document():
    """It says its version, each path's parameters are those in the path, and each reference leads somewhere."""
    assert DOCUMENT["openapi"] == "3.1.0"
    raw = strictjson.canonical(DOCUMENT).decode()
    for name in re.findall(r'"\$ref":"#/components/schemas/([A-Za-z]+)"', raw):
        assert name in DOCUMENT["components"]["schemas"]
    identifiers = set()
    for path, methods in DOCUMENT["paths"].items():
        for described in methods.values():
            placed = {each["name"] for each in described.get("parameters", ()) if each["in"] == "path"}
            assert placed == set(re.findall(r"{(\w+)}", path))
            identifiers.add(described["operationId"])
    assert len(identifiers) == len(OPERATIONS)


def test_every_media_type_of_evidence_is_described():
    """What a request may be, and how Veraison's clients wrap it, stands at the routes that take it."""
    paths = DOCUMENT["paths"]
    judged = paths["/v1/appraise"]["post"]["requestBody"]["content"]
    assert judged.keys() == {*EVIDENCE_TYPES, "application/json"}
    answered = paths["/challenge-response/v1/session/{identifier}"]["post"]["requestBody"]["content"]
    assert answered.keys() == {*EVIDENCE_TYPES, *WRAPPERS}


def test_it_is_served_as_it_is():
    """Whoever asks gets it, with the service's own answer's headers."""
    with service() as client:
        answer = client.get("/openapi.json")
    assert answer.json() == DOCUMENT
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("key", sorted(OPERATIONS), ids="_".join)
def test_every_code_is_answered_with_the_status_that_stands_there(key):
    """What a route may refuse with is a row of the table, listed under the status that it has."""
    method, path = key
    described = DOCUMENT["paths"][path][method.lower()]["responses"]
    for code in OPERATIONS[key].refusals:
        [status] = [
            status for status, each in described.items() if f"{code}: {CODES[code].meaning}" in each["description"]
        ]
        assert "application/problem+json" in described[status]["content"]
    assert {"429", "500", "503"} <= described.keys()
    assert problem(unknown()).status_code == 404


def schema(name: str) -> Any:
    """Return what checks a value by one of the document's schemas."""
    return jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}, validate_formats=True
    )


def test_answers_are_as_described():
    """A judgement with everything beside it, a session in each state, a problem and the keys fit their schemas."""
    clock = StandingClock(at=AT)
    kept = {"reports": MemoryReports(clock=clock), "report_seconds": 60}
    with service(default=naming_policy(), clock=clock, **kept) as client:
        answer = client.post("/v1/appraise?report=1&explain=1", json=asked()).json()
        assert answer.keys() == {"appraisal", "token", "explanation", "report"}
        schema("Request").validate(asked())
        schema("Answer").validate(answer)
        schema("Answer").validate(client.post("/v1/appraise", json=asked(nonce="AAAAAAAAAAA")).json())
        opened = client.post("/challenge-response/v1/newSession")
        where = f"/challenge-response/v1/{opened.headers['location']}"
        body = strictjson.canonical(asked()["evidence"]["cmw"])
        complete = client.post(where, content=body, headers={"content-type": JSON_MEDIA_TYPE})
        for session in (opened, complete, client.get(where)):
            schema("Session").validate(session.json())
        schema("Keys").validate(client.get("/.well-known/jwks.json").json())
        schema("Problem").validate(client.get("/nowhere").json())
        wrong = client.post("/v1/appraise", json=asked(nonce=1)).json()
        schema("Problem").validate(wrong)
        assert wrong["errors"] == [{"pointer": "#/nonce"}]
