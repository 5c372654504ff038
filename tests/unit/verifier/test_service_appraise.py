"""`POST /v1/appraise`: every form of evidence, every way to be judged, and what bad input gets."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter

import pytest
from tests.support.amd import AT, borrowed_names, fake_amd
from tests.support.certtables import GUIDS, table
from tests.support.manifests import MEASUREMENT, World
from tests.support.verifier_service import (
    FEDERATION,
    MILAN,
    NONCE,
    SPKI,
    asked,
    by_parts,
    claims,
    cmw,
    crl,
    for_release,
    in_session,
    naming_policy,
    parts,
    report,
    service,
    token_claims,
    world,
)

from twocvm_verifier import Policy, SnpVerifier, Unchecked, strictjson
from twocvm_verifier.appraisal import appraise_examination
from twocvm_verifier.appraisal.bindings import Bindings, with_bindings
from twocvm_verifier.binding import cert_claims
from twocvm_verifier.collateral import CrlName, Store
from twocvm_verifier.collateral.names import vcek_names
from twocvm_verifier.errors import FetchError, MalformedError, NotFoundError
from twocvm_verifier.evidence import encode_cbor, encode_json, to_json
from twocvm_verifier.policy import document_of
from twocvm_verifier.service import bodies
from twocvm_verifier.service.app import create_app
from twocvm_verifier.service.parts import Desk, Line
from twocvm_verifier.service.problems import ServiceError, problem
from twocvm_verifier.service.requests import MAX_REQUEST_BYTES, MEDIA_TYPE, parse_request
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report

APPRAISE = "/v1/appraise"
JSON = {"content-type": "application/json"}
CLIENT = "192.0.2.1"


@pytest.fixture(scope="module")
def client():
    """A service whose owner demands the measurement of all evidence here."""
    with service(default=naming_policy(), policies=(Policy.builtin(),)) as made:
        yield made


def post(client, request, **query):
    """Ask for an appraisal, and return the answer."""
    return client.post(APPRAISE, json=request, params=query)


def checks(answer) -> dict[str, str]:
    """Return how each check of an answer ended."""
    return {check["id"]: check["status"] for check in answer.json()["appraisal"]["checks"]}


def code_of(answer) -> str:
    """Return the code of a problem, which has its whole form."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.keys() - {"errors"} == {"type", "title", "status", "code", "detail"}
    assert body["status"] == answer.status_code
    return body["code"]


def tabled(**blobs: bytes) -> dict[str, str]:
    """Return evidence with a host's table of these blobs."""
    raw = table({GUIDS[name]: blob for name, blob in blobs.items()})
    return {"report": strictjson.base64url(report()), "cert_table": strictjson.base64url(raw)}


def forms() -> dict[str, object]:
    """Return the same evidence in every form of a request."""
    return {
        "cmw": {"cmw": to_json(cmw())},
        "cbor": {"cmw_cbor": strictjson.base64url(encode_cbor(cmw()))},
        "parts": by_parts(),
        "parts with chain": by_parts(chain=MILAN.chain()),
        "table": tabled(vcek=MILAN.vcek(), crl=crl()),
    }


@pytest.mark.parametrize("form", sorted(forms()))
def test_every_form_of_evidence_is_judged_alike(client, form):
    """Whatever it came in, the same report gets the same verdict, and a token that says so."""
    answer = post(client, asked(evidence=forms()[form]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["appraisal"]["verdict"] == "affirming"
    assert token_claims(client, answer.json()["token"])["2cvm.verdict"] == "affirming"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("media_type", "body"),
    [("application/cmw+json", encode_json(cmw())), ("application/cmw+cbor; x=y", encode_cbor(cmw()))],
)
def test_bare_evidence_is_judged_by_the_owners_policy(client, media_type, body):
    """A body may be the evidence itself; its media type says in which form."""
    answer = client.post(APPRAISE, content=body, headers={"content-type": media_type})
    assert answer.json()["appraisal"]["policy"]["sha256"] == naming_policy().sha256.hex()
    assert token_claims(client, answer.json()["token"])["cnf"] == {"spki#S256": strictjson.base64url(SPKI)}


def test_a_release_is_judged_as_strictly_as_at_a_participant(client):
    """With manifest and REPORT_DATA all that a participant asks is asked, and the token says which manifest."""
    answer = post(client, for_release())
    found = checks(answer)
    assert found["binding.report_data"] == found["manifest.platform.measurement"] == "pass"
    said = token_claims(client, answer.json()["token"])
    assert said["2cvm.purpose"] == "release"
    assert said["submods"]["workload"]["2cvm.manifest"] == world().manifest.hash.hex()
    assert said["sub"] == f"2cvm:manifest:{world().manifest.hash.hex()}"


@pytest.mark.parametrize("dropped", ["manifest", "expected_report_data"])
def test_half_of_a_release_is_evidence_at_rest(client, dropped):
    """What the caller knows is asked, and the token does not claim more."""
    request = for_release()
    del request[dropped]
    answer = post(client, request)
    kept = {"manifest": "binding.report_data", "expected_report_data": "binding.manifest"}[dropped]
    assert checks(answer)[kept] == "pass"
    assert token_claims(client, answer.json()["token"])["2cvm.purpose"] == "rest"


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        (lambda: for_release(expected_report_data="00" * 64), "REPORT_DATA_MISMATCH"),
        (lambda: asked(expected_report_data="00" * 64), "REPORT_DATA_MISMATCH"),
        (lambda: asked(evidence={"cmw": to_json(cmw(claims=claims(nonce=b"x" * 32).encode()))}), "CLAIMS_MISMATCH"),
        (lambda: asked(nonce=strictjson.base64url(b"x" * 32)), "NONCE_MISMATCH"),
        (lambda: asked(evidence=by_parts(), nonce=strictjson.base64url(b"x" * 32)), "NONCE_MISMATCH"),
        (lambda: asked(manifest=json.loads(World().raw)), "REPORT_DATA_MISMATCH"),
        (lambda: asked(evidence=by_parts(report=report(policy=0xB0000))), "DEBUG_ALLOWED"),
        (lambda: asked(evidence=by_parts(report=report(measurement=bytes(48)))), "MEASUREMENT_MISMATCH"),
        (lambda: asked(evidence=by_parts(report=report(borrowed_names(Product.MILAN)))), "REPORT_SIGNATURE"),
        (lambda: asked(evidence=by_parts(vek=borrowed_names(Product.MILAN).vcek())), "VEK_SIGNATURE"),
    ],
)
def test_a_refusal_is_an_answer(client, request_of, code):
    """A negative verdict is 200, with every check in the body, and a token that says so and names no manifest."""
    answer = post(client, request_of())
    assert answer.status_code == 200, answer.text
    assert code in {check["code"] for check in answer.json()["appraisal"]["checks"] if check["status"] == "fail"}
    said = token_claims(client, answer.json()["token"])
    assert (said["2cvm.verdict"], said["sub"]) == ("contraindicated", "2cvm:contraindicated")
    assert said["2cvm.code"] == answer.json()["appraisal"]["code"]
    assert {submod["ear.status"] for submod in said["submods"].values()} == {"contraindicated"}


def test_claims_that_are_not_the_reports_confirm_no_key(client):
    """A key that stands beside a genuine report is not the guest's."""
    answer = post(client, asked(evidence={"cmw": to_json(cmw(claims=claims(nonce=b"x" * 32).encode()))}))
    assert "cnf" not in token_claims(client, answer.json()["token"])


@pytest.mark.parametrize(
    ("evidence", "nonce"),
    [
        ({"cmw": to_json(cmw())}, NONCE),
        (by_parts(report=report(report_data=NONCE + bytes(32))), NONCE),
        (by_parts(report=report(report_data=b"m" * 64)), b"m" * 64),
        (by_parts(report=report(report_data=b"m" * 8 + bytes(56))), b"m" * 8),
    ],
)
def test_a_challenge_is_met_by_claims_or_report_data(client, evidence, nonce):
    """A guest of ours has the nonce in its claims; any other has it in REPORT_DATA, with zeros behind it."""
    answer = post(client, asked(evidence=evidence, nonce=strictjson.base64url(nonce)))
    assert checks(answer)["binding.nonce"] == "pass"
    assert token_claims(client, answer.json()["token"])["eat_nonce"] == strictjson.base64url(nonce)


def test_claims_without_a_nonce_answer_no_challenge(client):
    """Evidence from a certificate is fresh for nobody."""
    bound = cert_claims(spki_sha256=SPKI, manifest=world().manifest.hash, log=claims().log)
    answer = post(client, asked(evidence={"cmw": to_json(cmw(bound=bound))}, nonce=strictjson.base64url(NONCE)))
    assert checks(answer)["binding.nonce"] == "fail"


def test_policies_by_value_and_by_digest(client):
    """The caller's own policy judges, and one of the owner's by its name; each token says which."""
    own = document_of(naming_policy(provisional_firmware=True))
    digest = Policy.builtin().sha256.hex()
    for policy, sha256 in ((own, naming_policy(provisional_firmware=True).sha256.hex()), (digest, digest)):
        answer = post(client, asked(policy=policy))
        said = token_claims(client, answer.json()["token"])
        assert said["submods"]["cpu0"]["ear.appraisal-policy-id"] == f"urn:2cvm:policy:sha-256:{sha256}"


def test_a_policy_that_decides_nothing_is_refused(client):
    """An empty policy by value is no policy, unless a manifest names the guests or the author gives a reason."""
    empty = {"name": "accept everything"}
    assert (post(client, asked(policy=empty)).status_code, code_of(post(client, asked(policy=empty)))) == (
        422,
        "POLICY_EMPTY",
    )
    assert post(client, for_release(policy=empty)).status_code == 200
    reasoned = post(client, asked(policy=empty | {"measurements": {"unchecked": "a test of this service"}}))
    assert reasoned.json()["appraisal"]["verdict"] == "warning"


def test_an_explanation_is_the_result_in_words(client):
    """`explain=1` adds what `twocvm appraise -v` prints, and only then."""
    assert "explanation" not in post(client, asked(), explain="0").json()
    lines = post(client, asked(), explain="1").json()["explanation"]
    assert "verdict: affirming" in lines


def test_a_token_for_a_federation_needs_everything(client):
    """Who sees issuer, subject and audience alone is told only what is affirmed by the owner, now, for a release."""
    whole = token_claims(client, in_session(client, audience=FEDERATION))
    assert (whole["aud"], whole["sub"]) == (FEDERATION, f"2cvm:manifest:{world().manifest.hash.hex()}")
    lax = document_of(naming_policy(max_crl_age_seconds=Unchecked("a test")))
    for less in (
        {"expected_report_data": "00" * 64},
        {"policy": document_of(naming_policy(provisional_firmware=True))},
        {"evidence": {"cmw": to_json(cmw(crl=None))}, "policy": lax},
        {"evidence": {"cmw": to_json(cmw())}, "expected_report_data": claims().report_data().hex()},
    ):
        assert not in_session(client, audience=FEDERATION, **less)


def test_evidence_that_somebody_kept_federates_nobody(client):
    """A genuine, affirmed guest of yesterday's: without a challenge, and with one that was chosen to fit it."""
    kept = for_release(audience=FEDERATION)
    nonce = strictjson.base64url(NONCE)
    for request in (kept, kept | {"nonce": nonce}, asked(audience=FEDERATION, manifest=json.loads(world().raw))):
        answer = post(client, request).json()
        assert (answer["appraisal"]["verdict"], "token" in answer) == ("affirming", False)
    assert not in_session(client, query={"nonce": nonce}, audience=FEDERATION)
    assert in_session(client, query={"nonce": nonce})
    assert in_session(client, query={"nonceSize": "32"}, audience=FEDERATION)


def test_an_audience_of_nobodys_is_refused(client):
    """A caller does not choose whom our word is meant for."""
    answer = post(client, asked(audience="vault.example"))
    assert (answer.status_code, code_of(answer)) == (422, "AUDIENCE_UNKNOWN")


def test_a_simulated_platform_is_never_affirmed():
    """Roots, manifest and policy may all accept it: the token says warning, simulated hardware, no opaque memory."""
    amd = fake_amd(Product.SIMULATED)
    allowing = World()
    bound = claims(manifest=allowing.manifest.hash)
    evidence = cmw(
        bound=bound,
        report=report(amd, report_data=bound.report_data()),
        vek=amd.vcek(),
        chain=None,
        crl=None,
    )
    policy = naming_policy(max_crl_age_seconds=Unchecked("simulated roots revoke nothing"))
    with service(roots=amd.roots(), default=policy) as client:
        request = {"evidence": {"cmw": to_json(evidence)}, "manifest": json.loads(allowing.raw)}
        request["expected_report_data"] = bound.report_data().hex()
        said = token_claims(client, post(client, request).json()["token"])
        told = post(client, request | {"audience": FEDERATION}).json()
    assert (said["2cvm.verdict"], said["sub"]) == ("warning", "2cvm:warning")
    vector = said["submods"]["cpu0"]["ear.trustworthiness-vector"]
    assert (vector["hardware"], "runtime-opaque" in vector) == (32, False)
    assert "token" not in told


class Shelf:
    """A source of collateral that has what a test puts into it."""

    def __init__(self, held: object) -> None:
        self.name, self.held = "shelf", held

    def get(self, name, *, max_bytes, patience_seconds):
        """Answer as a source does."""
        if isinstance(self.held, Exception):
            raise self.held
        if str(name.kds_path).endswith("/crl"):
            raise NotFoundError("COLLATERAL_NOT_FOUND", "none here")
        return self.held


@pytest.mark.parametrize(
    ("problem", "patience"),
    [
        (FetchError("FETCH_BUSY", "a source asks for patience", retry_after_seconds=42.5), "43"),
        (FetchError("FETCH_FAILED", "it is down"), "10"),
        (NotFoundError("COLLATERAL_NOT_FOUND", "nobody has it"), "10"),
    ],
)
def test_missing_collateral_is_no_verdict(problem, patience, tmp_path):
    """Who cannot judge now says so, with the time to come back, and signs nothing."""
    with service(sources=(Shelf(problem),), store=tmp_path) as client:
        answer = post(client, asked(evidence=by_parts(vek=None)))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, patience)
    assert code_of(answer) == problem.code


def test_a_missing_list_that_is_demanded_is_no_verdict():
    """A release without a revocation list cannot be judged, which is not a refusal."""
    with service(default=naming_policy()) as client:
        answer = post(client, for_release(evidence={"cmw": to_json(cmw(crl=None))}))
    assert (answer.status_code, code_of(answer)) == (503, "CRL_MISSING")


def test_certificates_that_did_not_come_along_are_found(tmp_path):
    """A table without the report's VEK, and a report alone, are judged with what a source has."""
    with service(sources=(Shelf(MILAN.vcek()),), store=tmp_path) as client:
        for evidence in (by_parts(vek=None, crl=None), tabled(ark=MILAN.ark())):
            answer = post(client, asked(evidence=evidence))
            assert (answer.status_code, answer.json()["appraisal"]["verdict"]) == (200, "warning")


def test_a_list_from_the_store_counts(tmp_path):
    """Evidence that brings no list is judged with the one that the service has."""
    Store(tmp_path, roots=MILAN.roots()).put_crl(CrlName(product=Product.MILAN, kind=VekKind.VCEK), crl())
    with service(store=tmp_path, default=naming_policy()) as client:
        answer = post(client, asked(evidence=by_parts(crl=None)))
    assert answer.json()["appraisal"]["verdict"] == "affirming"


def test_a_ledger_that_nobody_can_look_into(client):
    """What this version cannot do is a problem with the request, not with the evidence."""

    def edit(document):
        document["platform"] |= {"simulated": False, "products": ["Milan"]}
        document["platform"]["ledgers"] = [{"origin": "log.example", "key": "k", "witnesses": ["w"], "quorum": 1}]

    named = World(edit=edit)
    bound = claims(manifest=named.manifest.hash)
    evidence = {"cmw": to_json(cmw(bound=bound))}
    expected = bound.report_data().hex()
    answer = post(client, asked(evidence=evidence, manifest=json.loads(named.raw), expected_report_data=expected))
    assert (answer.status_code, code_of(answer)) == (422, "LEDGER_UNSUPPORTED")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "MALFORMED_APPRAISAL_REQUEST"),
        (b"{", 400, "MALFORMED_APPRAISAL_REQUEST"),
        (b"[" * 10_000, 400, "MALFORMED_APPRAISAL_REQUEST"),
        (b'{"evidence":' * 17 + b"1" + b"}" * 17, 400, "MALFORMED_APPRAISAL_REQUEST"),
        (b'{"evidence":{},"evidence":{}}', 400, "MALFORMED_APPRAISAL_REQUEST"),
        (b'{"evidence":1}', 400, "MALFORMED_APPRAISAL_REQUEST"),
        (b'{"evidence":{}}', 400, "MALFORMED_APPRAISAL_REQUEST"),
        (b'{"evidence":{"report":"AA"}}', 400, "MALFORMED_REPORT"),
        (b'{"evidence":{"cmw":{}}}', 400, "MALFORMED_EVIDENCE"),
        (b'{"evidence":{"cmw_cbor":"AA"}}', 400, "MALFORMED_EVIDENCE"),
        (b'{"evidence":{"report":"AA","cert_table":"AA"}}', 400, "MALFORMED_CERT_TABLE"),
        (json.dumps(asked(manifest={})), 400, "MALFORMED_MANIFEST"),
        (json.dumps(asked(policy={"x": 1})), 400, "MALFORMED_POLICY"),
        (json.dumps(asked(policy="builtin")), 400, "MALFORMED_APPRAISAL_REQUEST"),
        (json.dumps(asked(policy="00" * 32)), 422, "POLICY_UNKNOWN"),
        (json.dumps(asked(expected_report_data="00")), 400, "MALFORMED_APPRAISAL_REQUEST"),
        (json.dumps(asked(nonce="AA")), 400, "MALFORMED_APPRAISAL_REQUEST"),
        (json.dumps(asked(nonce="!")), 400, "MALFORMED_APPRAISAL_REQUEST"),
        (json.dumps(asked(audience="")), 400, "MALFORMED_APPRAISAL_REQUEST"),
        (json.dumps(asked(simulated=True)), 400, "MALFORMED_APPRAISAL_REQUEST"),
        (json.dumps(asked(evidence=by_parts(vek=b"x"))), 400, "MALFORMED_VEK"),
    ],
)
def test_what_is_malformed_says_so_and_repeats_nothing(client, body, status, code):
    """Each is refused with its code before anything is judged."""
    answer = client.post(APPRAISE, content=body, headers=JSON)
    assert (answer.status_code, code_of(answer)) == (status, code)


def test_nothing_of_a_request_comes_back_in_a_problem(client):
    """A marker in every place of a request is in no answer that refuses it."""
    marker = "canary-7f3a"
    for answer in (
        client.post(APPRAISE, content=f'{{"{marker}": 1}}', headers=JSON),
        client.post(APPRAISE, json=asked(audience=marker)),
        client.post(APPRAISE, json=asked(policy={marker: 1})),
        client.post(APPRAISE, content=b"", headers={"content-type": marker}),
        client.post(APPRAISE, json=asked(), params={marker: marker}),
        client.get(f"/{marker}"),
    ):
        assert answer.status_code >= 400
        assert marker not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "text/plain"}, 415, "MEDIA_TYPE_UNSUPPORTED"),
        ({"content-type": ""}, 415, "MEDIA_TYPE_UNSUPPORTED"),
        ({**JSON, "content-encoding": "gzip"}, 415, "MEDIA_TYPE_UNSUPPORTED"),
        ({**JSON, "content-length": str(MAX_REQUEST_BYTES + 1)}, 413, "REQUEST_TOO_LARGE"),
        ({**JSON, "content-length": "9" * 40}, 413, "REQUEST_TOO_LARGE"),
        ({**JSON, "accept": "text/html"}, 406, "NOT_ACCEPTABLE"),
        ({**JSON, "accept": "application/json;q=0"}, 406, "NOT_ACCEPTABLE"),
    ],
)
def test_headers_that_are_not_for_this_route(client, headers, status, code):
    """Each is refused before the body is believed to be anything."""
    answer = client.post(APPRAISE, content=b"{}", headers=headers)
    assert (answer.status_code, code_of(answer)) == (status, code)


def test_a_body_is_counted_whatever_its_headers_say(client):
    """A body that comes in pieces, with no length, ends at the limit."""
    pieces = (b" " * 65_536 for _ in range(MAX_REQUEST_BYTES // 65_536 + 1))
    answer = client.post(APPRAISE, content=pieces, headers=JSON)
    assert (answer.status_code, code_of(answer)) == (413, "REQUEST_TOO_LARGE")


def test_a_query_of_another_form(client):
    """Only `explain` is known, and only as 0 or 1."""
    for query in ("explain=2", "explain=1&explain=1", "debug=1"):
        assert code_of(client.post(f"{APPRAISE}?{query}", json=asked())) == "MALFORMED_APPRAISAL_REQUEST"


def test_other_routes_and_methods_are_problems(client):
    """What is not there is a problem too, and a wrong method names the right one."""
    assert (client.get("/docs").status_code, code_of(client.get("/redoc"))) == (404, "SERVICE_ROUTE")
    answer = client.get(APPRAISE)
    assert (answer.status_code, code_of(answer), answer.headers["allow"]) == (405, "SERVICE_METHOD", "POST")


def test_an_error_of_our_own_says_nothing(caplog):
    """A fault inside is 500, and neither answer nor log has a word of what was sent."""
    with service() as client:
        client.app.state.desk = None
        answer = post(client, asked())
    assert (answer.status_code, code_of(answer)) == (500, "SERVICE_INTERNAL")
    said = [(record.getMessage(), record.fields["kind"]) for record in caplog.records if hasattr(record, "fields")]
    assert said == [("internal-error", "AttributeError")]
    assert problem(FetchError("FETCH_FAILED", "x")).status_code == 503
    assert problem(ServiceError("CHAIN_REVOKED", "not for this door")).status_code == 500


def test_too_many_who_wait_are_sent_away():
    """What would wait behind too many is refused at once, and the desk is free again afterwards."""
    made = parts()
    desk, entered, go = Desk(made, whole=Line(threads=1, max_waiting=1)), threading.Event(), threading.Event()
    judge = made.appraiser.appraise

    def slow(request, *, patient):
        entered.set()
        go.wait(10)
        return judge(request, patient=patient)

    made.appraiser.appraise = slow
    # So long that it is not judged on the event loop.
    request = parse_request(json.dumps(asked()).encode() + b" " * 40_000, media_type=MEDIA_TYPE)

    async def crowd():
        first = asyncio.ensure_future(desk.answer(request, client=CLIENT))
        await asyncio.to_thread(entered.wait, 10)
        with pytest.raises(ServiceError) as refused:
            await desk.answer(request, client=CLIENT)
        go.set()
        await first
        return refused.value.code, (await desk.answer(request, client=CLIENT)).token

    code, token = asyncio.run(crowd())
    desk.stop()
    assert (code, bool(token)) == ("SERVICE_BUSY", True)
    busy = problem(ServiceError("SERVICE_BUSY", "x"))
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")


def test_a_long_request_is_read_off_the_loop(client):
    """A body that may take a while to read is read elsewhere, with the same result."""
    body = json.dumps(for_release()) + " " * 40_000
    answer = client.post(APPRAISE, content=body, headers=JSON)
    assert token_claims(client, answer.json()["token"])["2cvm.purpose"] == "release"
    broken = client.post(APPRAISE, content=body + "]", headers=JSON)
    assert (broken.status_code, code_of(broken)) == (400, "MALFORMED_APPRAISAL_REQUEST")


def test_who_makes_us_fetch_holds_up_nobody_else(tmp_path):
    """With every thread for fetching asleep and its line full, whole evidence is judged at once."""

    class Asleep(Shelf):
        def get(self, name, *, max_bytes, patience_seconds):
            woken.wait(20)
            raise FetchError("FETCH_FAILED", "it slept")

    woken = threading.Event()
    made = parts(sources=(Asleep(None),), store=tmp_path)
    without = parse_request(json.dumps(asked(evidence=by_parts(vek=None))).encode(), media_type=MEDIA_TYPE)
    whole = parse_request(json.dumps(asked()).encode(), media_type=MEDIA_TYPE)
    desk = Desk(made, fetching=Line(threads=1, max_waiting=2))

    async def crowd():
        sleepers = [asyncio.ensure_future(desk.answer(without, client=CLIENT)) for _ in range(2)]
        while desk._fetching._free:
            await asyncio.sleep(0.01)
        with pytest.raises(ServiceError):
            await desk.answer(without, client=CLIENT)
        token = (await asyncio.wait_for(desk.answer(whole, client=CLIENT), 10)).token
        woken.set()
        return token, await asyncio.gather(*sleepers, return_exceptions=True)

    token, ends = asyncio.run(crowd())
    desk.stop()
    assert token
    assert [type(end) for end in ends] == [FetchError, FetchError]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80"])
def test_a_host_header_names_nobody(client, host):
    """Neither issuer nor keys nor sessions are where a header says."""
    headers = {"host": host, "x-forwarded-host": host, "forwarded": f"host={host}"}
    for answer in (
        client.get("/.well-known/openid-configuration", headers=headers),
        client.post("/challenge-response/v1/newSession", headers=headers),
        client.post(APPRAISE, json=asked(), headers=headers),
    ):
        assert answer.status_code in (200, 201)
        assert "evil" not in answer.text + str(answer.headers)


class Dripping:
    """A request whose body never ends, or whose sender goes away."""

    scope = {"headers": [(b"content-type", b"application/json")]}  # noqa: RUF012 - a test's own

    sent = False

    async def receive(self):
        """Send one byte, and then nothing for long."""
        if self.sent:
            await asyncio.sleep(10)
        self.sent = True
        return {"type": "http.request", "body": b"{", "more_body": True}


def test_a_body_that_does_not_come_is_given_up():
    """The longest wait for a body is bounded."""
    with pytest.raises(MalformedError):
        asyncio.run(bodies.read_body(Dripping(), max_bytes=10, seconds=0.05))


def test_a_sender_who_goes_away():
    """Nobody reads the answer, and nothing else comes of it."""
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": APPRAISE,
        "raw_path": APPRAISE.encode(),
        "http_version": "1.1",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(create_app(parts())(scope, receive, send))
    assert sent[0]["status"] == 400


def test_nothing_more_is_asked_of_what_is_not_authentic():
    """What a forgery is bound to says nothing."""
    forged = report(borrowed_names(Product.MILAN))
    examination = SnpVerifier(roots=MILAN.roots()).examine(forged, vek=MILAN.vcek(), at=AT)
    appraisal = appraise_examination(examination, policy=Policy.builtin(), at=AT, simulated=False)
    asked_too = Bindings(report_data=bytes(64), claims=None, nonce=NONCE)
    assert with_bindings(appraisal, examination.report.report_data, asked_too) is appraisal


def test_measurement_is_the_worlds():
    """The evidence of these tests is of the guest that their manifest names."""
    assert MEASUREMENT.hex() in json.loads(world().raw)["platform"]["measurements"]


def test_one_client_has_half_of_what_waits_for_amd(tmp_path):
    """However many chips one makes up, another's certificate is fetched, and what the store has is judged at once."""
    woken = threading.Event()

    class Asleep(Shelf):
        def get(self, name, *, max_bytes, patience_seconds):
            woken.wait(20)
            raise FetchError("FETCH_FAILED", "it slept")

    def lacking(chip):
        evidence = by_parts(vek=None, report=report(chip_id=bytes([chip]) * 64))
        return parse_request(json.dumps(asked(evidence=evidence)).encode(), media_type=MEDIA_TYPE)

    stored = parse_request(json.dumps(asked(evidence=by_parts(vek=None))).encode(), media_type=MEDIA_TYPE)
    name = vcek_names(parse_report(stored.evidence.report))[0]
    Store(tmp_path, roots=MILAN.roots()).put_vcek(name, MILAN.vcek())
    desk = Desk(parts(sources=(Asleep(None),), store=tmp_path))

    async def crowd():
        mine = [asyncio.ensure_future(desk.answer(lacking(chip), client=CLIENT)) for chip in range(1, 12)]
        while desk._fetching._free != 8:
            await asyncio.sleep(0.01)
        theirs = asyncio.ensure_future(desk.answer(lacking(99), client="192.0.2.2"))
        token = (await desk.answer(stored, client=CLIENT)).token
        while desk._fetching._free != 7:
            await asyncio.sleep(0.01)
        woken.set()
        return token, await asyncio.gather(*mine, theirs, return_exceptions=True)

    token, ended = asyncio.run(crowd())
    desk.stop()
    assert token
    assert Counter(end.code for end in ended) == {"FETCH_FAILED": 9, "FETCH_BUSY": 3}
    assert all(end.retry_after_seconds > 0 for end in ended if end.code == "FETCH_BUSY")
