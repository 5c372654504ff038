"""Project Veraison's challenge-response API: states, media types, and a nonce that is good once."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import cbor2
import pytest
from tests.support.amd import AT
from tests.support.sdk import StandingClock
from tests.support.verifier_service import (
    MILAN,
    asked,
    by_parts,
    claims,
    cmw,
    for_release,
    naming_policy,
    report,
    service,
    sessions,
    token_claims,
)

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.evidence import encode_cbor, encode_json, to_json
from twocvm_verifier.service import wrappers
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.service.requests import parse_request
from twocvm_verifier.service.state.memory import MemoryAnswers
from twocvm_verifier.service.state.protocol import SessionState
from twocvm_verifier.service.state.sealed import SealedOnly

NEW = "/challenge-response/v1/newSession"
SESSION = "application/vnd.veraison.challenge-response-session+json"
REQUEST = "application/vnd.2cvm.appraise+json"
JSON = "application/cmw+json"
CBOR = "application/cmw+cbor"


def in_memory(clock, **changes) -> MemoryAnswers:
    """Return answers in memory."""
    return MemoryAnswers(**{"clock": clock, "epoch": bytes(32), "session_seconds": 150} | changes)


@pytest.fixture
def client():
    """A service of its own."""
    with service(default=naming_policy()) as made:
        yield made


def opened(client, **query) -> tuple[str, bytes]:
    """Open a session as a client of Veraison's does, and return its URL and its nonce."""
    answer = client.post(NEW, params=query, headers={"accept": SESSION})
    assert (answer.status_code, answer.headers["content-type"]) == (201, SESSION), answer.text
    session = answer.json()
    assert session.keys() == {"nonce", "expiry", "accept", "status"}
    assert session["status"] == "waiting"
    return str(answer.url.join(answer.headers["location"])), base64.b64decode(session["nonce"], validate=True)


def submit(client, url: str, body: bytes, media_type: str):
    """Submit evidence to a session."""
    return client.post(url, content=body, headers={"content-type": media_type, "accept": SESSION})


def evidence_for(nonce: bytes) -> bytes:
    """Return fresh evidence of a guest for a nonce, as JSON."""
    return encode_json(cmw(bound=claims(nonce=nonce)))


def code_of(answer) -> str:
    """Return the code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["code"]


@pytest.mark.parametrize("media_type", [JSON, CBOR, REQUEST])
def test_a_session_from_its_nonce_to_its_result(client, media_type):
    """Open, answer, fetch, delete: each as published, and the token answers the nonce."""
    url, nonce = opened(client, nonceSize=32)
    evidence = cmw(bound=claims(nonce=nonce))
    body = {
        JSON: encode_json(evidence),
        CBOR: encode_cbor(evidence),
        REQUEST: json.dumps(asked(evidence={"cmw": to_json(evidence)})).encode(),
    }[media_type]
    answer = submit(client, url, body, media_type)
    assert (answer.status_code, answer.headers["content-type"]) == (200, SESSION), answer.text
    complete = answer.json()
    assert complete["status"] == "complete"
    assert complete["evidence"] == {"type": media_type, "value": base64.b64encode(body).decode()}
    said = token_claims(client, complete["result"])
    assert (said["2cvm.verdict"], said["eat_nonce"]) == ("affirming", strictjson.base64url(nonce))
    kept = client.get(url, headers={"accept": SESSION})
    assert kept.json() == {name: value for name, value in complete.items() if name != "evidence"}
    assert client.delete(url).status_code == 204
    assert code_of(client.get(url)) == code_of(client.delete(url)) == "SESSION_UNKNOWN"


@pytest.mark.parametrize("inner", [JSON, CBOR, REQUEST])
@pytest.mark.parametrize("indicator", [(), (4,), (5,)])
@pytest.mark.parametrize("wrapper", [wrappers.JSON, wrappers.CBOR])
def test_a_session_whose_evidence_is_wrapped(client, wrapper, inner, indicator):
    """As Veraison's own clients wrap it: the evidence's media type, its bytes, and that it is evidence."""
    url, nonce = opened(client)
    evidence = cmw(bound=claims(nonce=nonce))
    body = {
        JSON: encode_json(evidence),
        CBOR: encode_cbor(evidence),
        REQUEST: json.dumps(asked(evidence={"cmw": to_json(evidence)})).encode(),
    }[inner]
    wrapped = {
        wrappers.JSON: json.dumps([inner, strictjson.base64url(body), *indicator]).encode(),
        wrappers.CBOR: cbor2.dumps([inner, body, *indicator]),
    }[wrapper]
    complete = submit(client, url, wrapped, wrapper).json()
    assert complete["evidence"]["type"] == wrapper
    assert token_claims(client, complete["result"])["2cvm.verdict"] == "affirming"


@pytest.mark.parametrize(
    "record",
    [{}, [], [JSON], [JSON, "e30", 4, 4], [JSON, "e30", 0], [JSON, "e30", 2], [JSON, "e30", True], [JSON, "e30", "4"],
     [1, "e30"], [JSON, 1], [JSON, "!"], ["application/json", "e30"], [wrappers.JSON, "W10"], ["", ""]],
)  # fmt: skip
def test_wrappers_of_nothing_that_is_read_here(client, record):
    """Neither another shape, nor another kind of message, nor a wrapper in a wrapper; and the session stays."""
    url, _ = opened(client)
    for wrapper, write in ((wrappers.JSON, json.dumps), (wrappers.CBOR, cbor2.dumps)):
        body = write(record)
        answer = submit(client, url, body if isinstance(body, bytes) else body.encode(), wrapper)
        assert (answer.status_code, code_of(answer)) == (400, "MALFORMED_APPRAISAL_REQUEST")
    assert client.get(url).json()["status"] == "waiting"


def test_a_session_may_be_of_a_manifest(client):
    """A request in a session brings manifest and REPORT_DATA, and is judged as before a release."""
    url, nonce = opened(client)
    bound = claims(nonce=nonce)
    request = for_release(evidence={"cmw": to_json(cmw(bound=bound))}, expected_report_data=bound.report_data().hex())
    result = submit(client, url, json.dumps(request).encode(), REQUEST).json()["result"]
    assert token_claims(client, result)["2cvm.purpose"] == "release"


@pytest.mark.parametrize("size", [8, 33, 64])
def test_nonces_of_every_size(client, size):
    """A platform without claims answers a nonce of any size in REPORT_DATA."""
    url, nonce = opened(client, nonceSize=size)
    assert len(nonce) == size
    body = asked(evidence=by_parts(report=report(report_data=nonce.ljust(64, b"\x00"))))
    result = submit(client, url, json.dumps(body).encode(), REQUEST).json()["result"]
    assert token_claims(client, result)["2cvm.verdict"] == "affirming"


@pytest.mark.parametrize("padding", ["", "="])
def test_a_nonce_of_the_callers(client, padding):
    """The caller's own nonce is taken, padded or not, and comes back in the alphabet of base64, padded."""
    own = b"o" * 32
    assert opened(client, nonce=strictjson.base64url(own) + padding)[1] == own


def test_a_drawn_nonce_is_the_same_in_both_alphabets(client):
    """Clients read base64 or base64url, by their age: no nonce of the service's own has what they write differently."""
    for size in (8, 32, 64) * 8:
        written = base64.b64encode(opened(client, nonceSize=size)[1])
        assert not set(written) & set(b"+/")


@pytest.mark.parametrize(
    "query",
    ["nonceSize=7", "nonceSize=65", "nonceSize=", "nonceSize=-8", "nonceSize=٣٢", "nonce=AA", "nonce=!!", "size=32",
     "nonceSize=32&nonceSize=32", "nonceSize=32&nonce=b29vb29vb28", "nonce=" + "A" * 88],
)  # fmt: skip
def test_queries_that_ask_for_no_nonce(client, query):
    """What is not one nonce or one size is refused, whatever it is instead."""
    answer = client.post(f"{NEW}?{query}")
    assert (answer.status_code, code_of(answer)) == (400, "MALFORMED_APPRAISAL_REQUEST")


@pytest.mark.parametrize("foreign", ["another session", "nobody"])
def test_evidence_for_another_nonce_is_refused_in_the_token(client, foreign):
    """Replayed evidence gets a verdict, and that verdict is no."""
    other = opened(client)[1] if foreign == "another session" else b"x" * 32
    url, _ = opened(client)
    answer = submit(client, url, evidence_for(other), JSON)
    said = token_claims(client, answer.json()["result"])
    assert (answer.status_code, said["2cvm.verdict"], said["2cvm.code"]) == (200, "contraindicated", "NONCE_MISMATCH")


def test_a_nonce_is_good_once(client):
    """The same evidence in the same session again is refused, and so is any other."""
    url, nonce = opened(client)
    assert submit(client, url, evidence_for(nonce), JSON).status_code == 200
    again = submit(client, url, evidence_for(nonce), JSON)
    assert (again.status_code, code_of(again)) == (409, "SESSION_SPENT")


def test_a_crowd_in_one_session_has_one_winner():
    """However many answer at the same time, one gets a verdict."""
    store = sessions(in_memory(StandingClock()))
    for _ in range(50):
        session = store.open(b"n" * 32, drawn=True)
        start, ends = threading.Barrier(8), []

        def race(identifier=session.identifier, start=start, ends=ends):
            start.wait(10)
            try:
                ends.append(store.begin(identifier).state.value)
            except ServiceError as error:
                ends.append(error.code)

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(ends) == {"processing": 1, "SESSION_SPENT": 7}


def test_what_is_malformed_spends_nothing(client):
    """A body that is no evidence, and a request with a nonce of its own, leave the session waiting."""
    url, nonce = opened(client)
    for body, media_type in ((b"{}", JSON), (json.dumps(asked(nonce="AAAAAAAAAAA")).encode(), REQUEST)):
        assert submit(client, url, body, media_type).status_code == 400
    assert client.get(url).json()["status"] == "waiting"
    assert submit(client, url, evidence_for(nonce), JSON).status_code == 200


def test_a_session_without_a_verdict_has_failed(client):
    """Where nobody can judge, the nonce is spent all the same, and no token comes of it."""
    url, nonce = opened(client)
    body = asked(evidence=by_parts(vek=None, report=report(report_data=nonce.ljust(64, b"\x00"))))
    answer = submit(client, url, json.dumps(body).encode(), REQUEST)
    assert (answer.status_code, code_of(answer)) == (503, "COLLATERAL_NOT_FOUND")
    session = client.get(url).json()
    assert (session["status"], "result" in session) == ("failed", False)
    assert code_of(submit(client, url, evidence_for(nonce), JSON)) == "SESSION_SPENT"


def test_a_session_ends_by_itself():
    """An expired session is unknown to everybody, and an answered one makes room."""
    clock = StandingClock(at=AT)
    with service(clock=clock, sessions=sessions(in_memory(clock, max_answered=1))) as client:
        (url, nonce), (other, _) = opened(client), opened(client)
        assert submit(client, url, evidence_for(nonce), JSON).status_code == 200
        full = submit(client, other, evidence_for(nonce), JSON)
        assert (full.status_code, code_of(full), full.headers["retry-after"]) == (503, "SERVICE_BUSY", "1")
        clock.at += timedelta(seconds=150)
        for each in (url, other):
            assert code_of(submit(client, each, evidence_for(nonce), JSON)) == "SESSION_UNKNOWN"
        again, _ = opened(client)
        assert submit(client, again, evidence_for(nonce), JSON).status_code == 200


def test_a_session_that_was_deleted_while_it_was_judged():
    """What came of it is forgotten with it."""
    store = sessions(in_memory(StandingClock(at=AT)))
    identifier = store.open(b"n" * 32, drawn=True).identifier
    taken = store.begin(identifier)
    store.delete(identifier)
    store.finish(replace(taken, state=SessionState.COMPLETE, result="token"))
    for ask in (store.get, store.begin, store.delete):
        with pytest.raises(TwoCvmError) as unknown:
            ask(identifier)
        assert unknown.value.code == "SESSION_UNKNOWN"


def test_a_session_that_was_deleted_before_it_was_answered(client):
    """Nobody can answer it any more."""
    url, nonce = opened(client)
    assert client.delete(url).status_code == 204
    assert code_of(submit(client, url, evidence_for(nonce), JSON)) == "SESSION_UNKNOWN"


def test_of_many_results_the_oldest_goes_first():
    """Its session is complete still, and nobody can answer it again."""
    clock = StandingClock(at=AT)
    store = sessions(in_memory(clock, max_results=1))
    ended = []
    for number in range(2):
        taken = store.begin(store.open(b"n" * 32, drawn=True).identifier)
        ended.append(replace(taken, state=SessionState.COMPLETE, result=f"token {number}"))
        store.finish(ended[-1])
    assert [store.get(each.identifier).result for each in ended] == ["", "token 1"]
    with pytest.raises(ServiceError):
        store.begin(ended[0].identifier)
    store.delete(ended[1].identifier)
    clock.at += timedelta(seconds=150)
    for _ in range(2):
        store.begin(store.open(b"n" * 32, drawn=True).identifier)


def test_a_session_of_another_process_is_unknown():
    """Another process has another secret, and so cannot take for waiting what was answered here."""
    clock = StandingClock(at=AT)
    here, there = sessions(in_memory(clock)), sessions(in_memory(clock, epoch=b"e" * 32))
    with pytest.raises(ServiceError) as unknown:
        there.begin(here.open(b"n" * 32, drawn=True).identifier)
    assert unknown.value.code == "SESSION_UNKNOWN"


@pytest.mark.parametrize("kept", [True, False])
def test_a_session_that_ends_between_two_questions(kept):
    """It is not over when it is opened, and is when it is taken: nobody takes it."""
    clock = StandingClock(at=AT)
    answers = in_memory(clock) if kept else SealedOnly(key=bytes(32), clock=clock)
    until = AT + timedelta(seconds=1)
    answers.take(b"a" * 16, expires_at=until, epoch=bytes(32))
    clock.at = until
    with pytest.raises(ServiceError) as over:
        answers.take(b"b" * 16, expires_at=until, epoch=bytes(32))
    assert over.value.code == "SESSION_UNKNOWN"


def test_what_is_over_is_unknown_to_whoever_asks():
    """An id says itself until when it counts, also where nobody keeps anything of it."""
    clock = StandingClock(at=AT)
    for answers in (in_memory(clock), SealedOnly(key=bytes(32), clock=clock)):
        clock.at = AT
        store = sessions(answers)
        waiting = store.open(b"n" * 32, drawn=True).identifier
        assert store.get(waiting).state is SessionState.WAITING
        clock.at = AT + timedelta(seconds=150)
        for ask in (store.get, store.begin, store.delete):
            with pytest.raises(ServiceError) as over:
                ask(waiting)
            assert over.value.code == "SESSION_UNKNOWN"


def test_a_stranger_who_asks_for_sessions_fills_nothing():
    """However many challenges nobody answers, the next one is made, and answered."""
    store = sessions(in_memory(StandingClock(at=AT), max_answered=1))
    for _ in range(10_000):
        last = store.open(b"n" * 32, drawn=True)
    assert store.begin(last.identifier).state is SessionState.PROCESSING


def test_ids_that_are_none(client):
    """What has not the form of an id is malformed; what has it and was not sealed here is unknown."""
    assert code_of(client.get("/challenge-response/v1/session/x")) == "MALFORMED_APPRAISAL_REQUEST"
    url, _ = opened(client)
    sealed = url.rsplit("/", 1)[1]
    for forged in ("A" * 66, "A" * 69, sealed[:-2] + "AA", "A" + sealed[1:], sealed[:66]):
        nobody = client.get(f"/challenge-response/v1/session/{forged}")
        assert (nobody.status_code, code_of(nobody)) == (404, "SESSION_UNKNOWN"), forged


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (REQUEST, b'{"evidence": [' + b"[]," * 400_000 + b"[]]}"),
        (wrappers.JSON, b"[" + b"1," * 900_000 + b"1]"),
        (wrappers.CBOR, b"\x9a" + (2_000_000).to_bytes(4, "big") + b"\x80" * 2_000_000),
    ],
)
def test_many_small_values_cost_little(media_type, body):
    """What would keep a thread for seconds is refused before it is taken apart, or on the way."""
    with pytest.raises(MalformedError, match="more than 131072 values"):
        parse_request(body, media_type=media_type)


def test_media_types_that_are_not_published(client):
    """Neither evidence nor answers are of another media type than those that stand there."""
    url, nonce = opened(client)
    assert submit(client, url, evidence_for(nonce), "application/json").status_code == 415
    for path in (NEW, url):
        assert client.post(path, headers={"accept": "application/json"}).status_code == 406
    assert client.get(url, headers={"accept": "application/json"}).status_code == 406


def test_the_service_describes_itself(client):
    """Discovery names the key that verifies results, the media types and where a session begins."""
    answer = client.get("/.well-known/veraison/verification")
    assert answer.headers["content-type"] == "application/vnd.veraison.discovery+json"
    told = answer.json()
    assert told["ear-verification-key"] == client.get("/.well-known/jwks.json").json()["keys"][0]
    assert told["api-endpoints"] == {"newChallengeResponseSession": NEW}
    assert (told["media-types"], told["service-state"]) == ([JSON, CBOR, REQUEST], "READY")
    assert MILAN.report() not in answer.content
