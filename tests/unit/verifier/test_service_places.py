"""Where a body is wrong: told as pointers into it, of this project's own names, and of nothing that a caller wrote."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.certtables import GUIDS, table
from tests.support.verifier_service import asked, by_parts, cmw, crl, for_release, naming_policy, report

from twocvm_verifier import strictcbor, strictjson
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.evidence import encode_cbor, encode_json, to_json
from twocvm_verifier.policy import document_of
from twocvm_verifier.service.problems import MAX_PLACES, problem
from twocvm_verifier.service.requests import MEDIA_TYPE, parse_request
from twocvm_verifier.service.wrappers import JSON as WRAPPED

SECRET = "secret-name-that-nobody-repeats"
B64 = strictjson.base64url
SCHEMA = {
    "name": "shape",
    "owner": "hospital-a",
    "builtin": "json_schema",
    "parameters": {"format": "json", "schema": {"properties": {SECRET: {"type": "nothing"}}}},
}


def told(body: Any, *, media_type: str = MEDIA_TYPE) -> list[str] | None:
    """Return the places that the problem of a body names; None where it is read."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        parse_request(raw, media_type=media_type)
    except TwoCvmError as error:
        answer = problem(error)
        assert SECRET.encode() not in answer.body
        return [each["pointer"] for each in json.loads(answer.body).get("errors", ())]
    return None


def manifest(**changes: Any) -> dict[str, Any]:
    """Return a request whose manifest has these members too."""
    request = for_release()
    request["manifest"] |= changes
    return request


def bound(**changes: Any) -> dict[str, Any]:
    """Return a request whose collection has these members too."""
    return {"evidence": {"cmw": to_json(cmw()) | changes}}


WRONG = {
    "nothing": ({}, ["#/evidence"]),
    "no object": ([], ["#"]),
    "an unknown member": (asked(**{SECRET: 1}), ["#"]),
    "evidence that is none": (asked(evidence=1), ["#/evidence"]),
    "evidence of no form": (asked(evidence={}), ["#/evidence/report"]),
    "an unknown member of evidence": (asked(evidence=by_parts() | {SECRET: 1}), ["#/evidence"]),
    "a report that is not bytes": (asked(evidence=by_parts() | {"report": "!"}), ["#/evidence/report"]),
    "a collection that is none": (asked(evidence={"cmw": 1}), ["#/evidence/cmw"]),
    "a collection without": (asked(evidence={"cmw": {}}), ["#/evidence/cmw/claims", "#/evidence/cmw/snp"]),
    "an unknown member of a collection": (bound(**{SECRET: 1}), ["#/evidence/cmw"]),
    "a wrong pair": (bound(vek=[SECRET, "AA"]), ["#/evidence/cmw/vek/0"]),
    "wrong claims": (bound(claims=["application/cbor", "AA"]), ["#/evidence/cmw/claims"]),
    "CBOR": (asked(evidence={"cmw_cbor": "AA"}), ["#/evidence/cmw_cbor"]),
    "CBOR of wrong claims": (
        asked(evidence={"cmw_cbor": B64(encode_cbor(cmw(claims=b"\x00")))}),
        ["#/evidence/cmw_cbor"],
    ),
    "a table": (asked(evidence={"report": B64(report()), "cert_table": "AA"}), ["#/evidence/cert_table"]),
    "a report beside a table": (
        asked(evidence={"report": "AA", "cert_table": B64(table({GUIDS["crl"]: crl()}))}),
        ["#/evidence/report"],
    ),
    "a manifest that is none": (asked(manifest=1), ["#/manifest"]),
    "a manifest of a wrong name": (manifest(name=SECRET.upper()), ["#/manifest/name"]),
    "an unknown member of a manifest": (manifest(**{SECRET: 1}), ["#/manifest"]),
    "a schema's names": (
        manifest(filters=[SCHEMA]),
        ["#/manifest/filters/0/parameters/schema"],
    ),
    "a policy's fields": (asked(policy={"vmpl": -1, SECRET: 1, "name": 2}),
                          ["#/policy/vmpl", "#/policy", "#/policy/name"]),
    "a policy that contradicts itself": (
        asked(policy={"minimum_guest_svn": 1}),
        ["#/policy"],
    ),
    "a digest that is none": (asked(policy=SECRET), ["#/policy"]),
    "reference values": (asked(reference_values=[SECRET]), ["#/reference_values"]),
    "report data": (asked(expected_report_data=SECRET), ["#/expected_report_data"]),
    "a nonce": (asked(nonce=SECRET + "!"), ["#/nonce"]),
    "a nonce of no text": (asked(nonce=1), ["#/nonce"]),
    "an audience": (asked(audience=""), ["#/audience"]),
    "null": (asked(nonce=None), ["#/nonce"]),
    "null below": (asked(manifest={SECRET: {SECRET: None}}), ["#/manifest"]),
    "null at a name of the caller's": (asked(**{SECRET: None}), []),
    "a name that may not be": (asked(**{f"{SECRET}\u200b": 1}), []),
    "no JSON": (b"{", []),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_member_that_is_wrong_is_told(name):
    """Each has its pointer; what a caller has named is told as the object that has it."""
    body, places = WRONG[name]
    assert told(body) == places


def test_a_body_without_a_request_around_it():
    """Bare and wrapped evidence has places too, and those of a wrapped one are where it is a body by itself."""
    collection = to_json(cmw()) | {"vek": ["x", "AA"]}
    raw = strictjson.canonical(collection)
    assert told(raw, media_type="application/cmw+json") == ["#/vek/0"]
    binary = strictcbor.encode({"snp": ["x", b"A"], "claims": ["x", b"A"]})
    assert told(binary, media_type="application/cmw+cbor") == ["#/snp/0"]
    wrapped = json.dumps(["application/cmw+json", B64(raw)]).encode()
    assert told(wrapped, media_type=WRAPPED) == ["#/vek/0"]
    assert told(encode_json(cmw(claims=b"\x00")), media_type="application/cmw+json") == ["#/claims"]
    assert told(json.dumps([SECRET, "AA"]).encode(), media_type=WRAPPED) == []


def test_places_are_few():
    """A body that is wrong everywhere has twenty of them, each once."""
    places = told(manifest(data=[{} for _ in range(100)], channels=[{"from": 1} for _ in range(100)]))
    assert places is not None
    assert len(places) == len(set(places)) == MAX_PLACES


def whole() -> dict[str, Any]:
    """Return a request that says everything that a request can say."""
    return for_release(
        policy=document_of(naming_policy()), reference_values=["00" * 32], nonce="A" * 43, audience="2cvm"
    )


def steps_of(value: Any, *before: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to everything in a value."""
    for step in list(value) if isinstance(value, dict) else range(len(value)):
        yield (*before, step)
        if isinstance(value[step], dict | list):
            yield from steps_of(value[step], *before, step)


def changed(request: Any, steps: tuple[str | int, ...], other: Any) -> Any:
    """Return a request with something else in one place."""
    made = copy.deepcopy(request)
    place = made
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = other
    return made


WHAT_ELSE = (SECRET, SECRET + "\u200b", None, [], [SECRET], {SECRET: SECRET}, {SECRET: None}, -1)


def test_nothing_that_was_sent_is_told_whatever_is_wrong_where():
    """Anything else at any place of a request: the places are in the member that was changed, and repeat nothing."""
    request, refused = whole(), 0
    assert told(request) is None
    for number, steps in enumerate(steps_of(request)):
        for other in WHAT_ELSE[number % 4 :: 4]:
            places = told(changed(request, steps, other))
            if places:
                refused += 1
                assert {each.split("/")[1] for each in places} == {steps[0]}, (steps, other, places)
    assert refused > 200
