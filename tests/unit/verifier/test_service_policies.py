"""The owner's documents over HTTP: who may change them, who reads what, and what is judged by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient
from tests.support.amd import AT
from tests.support.corims import corim, digest, raw_value, signed, triple
from tests.support.manifests import MEASUREMENT
from tests.support.sdk import StandingClock
from tests.support.verifier_service import (
    FEDERATION,
    ISSUER,
    MILAN,
    asked,
    for_release,
    in_session,
    naming_policy,
    parts,
    service,
)
from tests.unit.verifier.test_corim import KEY, OTHER, pem

from twocvm_verifier import Policy, strictjson
from twocvm_verifier.corim import Unsigned, trust_of
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.policy import document_of, policy_toml
from twocvm_verifier.service.admin import Admins, read_token
from twocvm_verifier.service.app import create_app
from twocvm_verifier.service.library import Library
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.service.process import CLIENT_CERTIFICATE
from twocvm_verifier.service.shelf import Shelf
from twocvm_verifier.service.state.documents import Change, Kind, Revision
from twocvm_verifier.service.state.documents_memory import MemoryDocuments

TOKEN = "t" * 43
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}
POLICY = naming_policy()
BODY = json.dumps(document_of(POLICY)).encode()
STRICTER = naming_policy(report_ids=(b"r" * 32,))


def shelf(store: Any = None, *, certificates: tuple[bytes, ...] = (), trust: Any = None) -> Shelf:
    """Return a shelf with an admin, and a library over a store."""
    library = Library(store or MemoryDocuments(), trust=trust or Unsigned(), clock=StandingClock(at=AT))
    admins = Admins(tokens=(hashlib.sha256(TOKEN.encode()).digest(),), certificates=certificates)
    return Shelf(library=library, admins=admins, mirror=None)


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A service with an empty library and an admin."""
    with service(shelf=shelf()) as made:
        yield made


def put(client: TestClient, body: bytes, *, path: str = "/v1/policies/main", **headers: str) -> Any:
    """Put a document as an admin."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.put(path, content=body, headers=ADMIN | JSON | named)


def code(answer: Any) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


def test_a_policy_is_put_and_read(client):
    """Its digest is the one that results name, and the answer to who asks by it may be kept for ever."""
    made = put(client, BODY)
    assert (made.status_code, made.json()) == (201, {"sha256": POLICY.sha256.hex()})
    by_digest = client.get(made.headers["location"])
    assert by_digest.headers["etag"] == made.headers["etag"] == f'"{POLICY.sha256.hex()}"'
    assert by_digest.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert by_digest.json() == document_of(POLICY)
    kept = client.get(made.headers["location"], headers={"If-None-Match": made.headers["etag"]})
    assert (kept.status_code, kept.content) == (304, b"")
    other = client.get(made.headers["location"], headers={"If-None-Match": f'"{"0" * 64}"'})
    assert (other.status_code, other.content) == (200, by_digest.content)
    by_name = client.get("/v1/policies/main", headers=ADMIN)
    assert (by_name.content, by_name.headers["cache-control"]) == (by_digest.content, "no-store")
    assert client.get("/v1/policies", headers=ADMIN).json() == {"names": {"main": POLICY.sha256.hex()}}


def test_toml_is_read_too(client):
    """What people write is the same policy."""
    answer = client.put(
        "/v1/policies/main", content=policy_toml(POLICY), headers=ADMIN | {"Content-Type": "application/toml"}
    )
    assert answer.json() == {"sha256": POLICY.sha256.hex()}
    bad = client.put("/v1/policies/x", content=b"\xff", headers=ADMIN | {"Content-Type": "application/toml"})
    assert code(bad) == (400, "MALFORMED_POLICY")


def test_history_says_who_moved_a_name(client):
    """Every step stays, oldest first, and so do the documents."""
    tag = put(client, BODY).headers["etag"]
    moved = put(client, json.dumps(document_of(STRICTER)).encode(), If_Match=tag)
    assert moved.status_code == 200
    told = client.get("/v1/policies/main/history", headers=ADMIN).json()["revisions"]
    assert [(each["sha256"], each["by"]) for each in told] == [
        (POLICY.sha256.hex(), "token"),
        (STRICTER.sha256.hex(), "token"),
    ]
    assert client.get(f"/v1/policies/{POLICY.sha256.hex()}").status_code == 200


def test_an_update_that_would_be_lost(client):
    """A name moves for who saw where it points; a PUT without a condition makes names and moves none."""
    tag = put(client, BODY, If_None_Match="*").headers["etag"]
    other = json.dumps(document_of(STRICTER)).encode()
    for condition in ({}, {"If_None_Match": "*"}, {"If_Match": f'"{"0" * 64}"'}):
        assert code(put(client, other, **condition)) == (412, "DOCUMENT_CHANGED")
    assert put(client, other, If_Match=tag).status_code == 200
    assert code(put(client, BODY, If_Match=tag)) == (412, "DOCUMENT_CHANGED")
    assert len(client.get("/v1/policies/main/history", headers=ADMIN).json()["revisions"]) == 2


def test_the_same_once_more_changes_nothing(client):
    """What points there already is not written again."""
    tag = put(client, BODY).headers["etag"]
    assert put(client, BODY, If_Match=tag).status_code == 200
    assert len(client.get("/v1/policies/main/history", headers=ADMIN).json()["revisions"]) == 1
    assert code(put(client, BODY)) == (412, "DOCUMENT_CHANGED")


@pytest.mark.parametrize(
    "condition",
    [
        {"If_Match": "*"},
        {"If_Match": f'W/"{"0" * 64}"'},
        {"If_Match": "x"},
        {"If_None_Match": '"x"'},
        {"If_Match": f'"{"0" * 64}"', "If_None_Match": "*"},
    ],
)
def test_conditions_that_are_none(client, condition):
    """Neither whatever there is, nor several things at once."""
    assert code(put(client, BODY, **condition)) == (400, "MALFORMED_DOCUMENT_REQUEST")


@pytest.mark.parametrize("name", ["Main", "9", "a" * 64, "a.b", "%2e%2e", "sha256:0", "A" * 64])
def test_names_are_names(client, name):
    """A name is a name, and never a path, to who may put one."""
    assert put(client, BODY, path=f"/v1/policies/{name}").status_code in (400, 404)
    assert client.get("/v1/policies", headers=ADMIN).json() == {"names": {}}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"X-Forwarded-Client-Cert": "Hash=00"},
    ],
)
@pytest.mark.parametrize("kind", list(Kind))
def test_who_is_no_admin(client, kind, headers):
    """Without a credential nothing is put, and no name, list or history is told; not even whether there is one."""
    for method, path in (
        ("PUT", f"/v1/{kind}/main"),
        ("GET", f"/v1/{kind}/main"),
        ("GET", f"/v1/{kind}/none"),
        ("GET", f"/v1/{kind}"),
        ("GET", f"/v1/{kind}/main/history"),
    ):
        assert code(client.request(method, path, headers=headers)) == (401, "ADMIN_REQUIRED")


def test_two_credentials_are_none(client):
    """What stands before the service could have seen another than the service does."""
    twice = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")]
    assert client.request("GET", "/v1/policies", headers=twice).status_code in (400, 401)
    scope = {"type": "http", "headers": [(b"authorization", f"Bearer {TOKEN}".encode())] * 2}
    with pytest.raises(ServiceError) as refused:
        shelf().admins.name_of(Request(scope))
    assert refused.value.code == "ADMIN_REQUIRED"


def test_nobody_is_an_admin_unless_set():
    """Without settings no credential is one."""
    with service() as client:
        refused = put(client, BODY)
        assert (*code(refused), refused.headers["www-authenticate"]) == (401, "ADMIN_REQUIRED", "Bearer")


class Shown:
    """An application on connections in whose handshake a certificate was shown, or none."""

    def __init__(self, app: Any, certificate: bytes | None) -> None:
        self.app, self.certificate = app, certificate

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope | {"state": {CLIENT_CERTIFICATE: self.certificate}}, receive, send)


def test_a_listed_certificate_is_an_admin():
    """What the handshake showed counts by its digest; another does not."""
    certificate_of_admin = MILAN.vcek()
    listed = hashlib.sha256(certificate_of_admin).digest()
    app = create_app(parts(shelf=shelf(certificates=(bytes(32), listed))))
    for certificate in (None, b"", b"another"):
        with TestClient(Shown(app, certificate), base_url=ISSUER) as client:
            assert code(client.get("/v1/policies")) == (401, "ADMIN_REQUIRED")
    app = create_app(parts(shelf=shelf(certificates=(bytes(32), listed))))
    with TestClient(Shown(app, certificate_of_admin), base_url=ISSUER) as client:
        assert client.put("/v1/policies/main", content=BODY, headers=JSON).status_code == 201
        (step,) = client.get("/v1/policies/main/history").json()["revisions"]
    assert step["by"] == f"certificate {listed.hex()[:32]}"


def test_what_is_no_policy(client):
    """What cannot be judged by is not kept, and neither is what decides nothing without a reason."""
    assert code(put(client, b"{")) == (400, "MALFORMED_POLICY")
    assert code(put(client, b"{}")) == (422, "POLICY_EMPTY")
    reason = {"measurements": {"unchecked": "manifests name them"}}
    assert put(client, json.dumps(reason).encode()).status_code == 201
    wrong = client.put("/v1/policies/x", content=b"x", headers=ADMIN | {"Content-Type": "text/plain"})
    assert code(wrong) == (415, "MEDIA_TYPE_UNSUPPORTED")


def test_what_there_is_not(client):
    """Neither a name, nor a digest, nor a history."""
    for path in ("/v1/policies/none", "/v1/policies/none/history", f"/v1/policies/{'0' * 64}"):
        assert code(client.get(path, headers=ADMIN)) == (404, "DOCUMENT_UNKNOWN")


REFERENCES = "/v1/reference-values/guests"


def put_references(client: TestClient, raw: bytes, media_type: str = "application/rim+cbor") -> Any:
    """Put reference values as an admin."""
    return client.put(REFERENCES, content=raw, headers=ADMIN | {"Content-Type": media_type})


def test_corim_is_put(client):
    """A CoRIM is kept whole, and read again as it came."""
    raw = corim(triple({641: digest()}))
    made = put_references(client, raw)
    assert made.status_code == 201
    assert client.get(made.headers["location"]).json() == {"corim": strictjson.base64url(raw)}


def test_corim_that_is_refused(client):
    """One that names more than is judged, one that somebody signed, and one that is none."""
    more = corim(triple({641: digest(), 640: raw_value(bytes(64))}))
    assert code(put_references(client, more)) == (422, "CORIM_NOT_JUDGED")
    document = json.dumps({"corim": strictjson.base64url(more), "open": "of one guest"}).encode()
    assert put_references(client, document, "application/json").status_code == 201
    by_key = signed(corim(triple({641: digest()})), KEY)
    assert code(put_references(client, by_key, "application/rim+cose")) == (422, "CORIM_UNTRUSTED")
    assert code(put_references(client, b"\xd9")) == (400, "MALFORMED_CORIM")


def test_signed_corim_of_who_is_trusted():
    """The owner names who may sign."""
    with service(shelf=shelf(trust=trust_of([pem(KEY)]))) as client:
        answer = put_references(client, signed(corim(triple({641: digest()})), KEY), "application/rim+cose")
        assert answer.status_code == 201


def library_service(default_name: str = "", store: Any = None) -> tuple[Any, Shelf]:
    """Return a service whose appraiser has the shelf's library, and the shelf."""
    made = shelf(store)
    whole = parts(shelf=made)
    whole.appraiser._library, whole.appraiser._default_name = made.library, default_name
    return whole, made


@pytest.fixture
def judging() -> Iterator[TestClient]:
    """A service that judges by what is put."""
    with TestClient(create_app(library_service()[0]), base_url=ISSUER) as made:
        yield made


def judged(client: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    """Return the appraisal of a request."""
    answer = client.post("/v1/appraise", json=request)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_stored_policy_is_judged_by_its_digest(judging):
    """Whoever names it is judged by it; what is not there is no policy at all."""
    request = asked(policy=POLICY.sha256.hex())
    assert code(judging.post("/v1/appraise", json=request)) == (422, "POLICY_UNKNOWN")
    put(judging, BODY)
    told = judged(judging, request)["appraisal"]
    assert (told["verdict"], told["policy"]["sha256"]) == ("affirming", POLICY.sha256.hex())


def test_reference_values_are_added_to_a_policy(judging):
    """The digest of the outcome is that of both together, which anybody can make again."""
    sha256 = put_references(judging, corim(triple({641: digest()}))).json()["sha256"]
    told = judged(judging, asked(reference_values=[sha256]))["appraisal"]
    both = replace(Policy.builtin(), measurements=(MEASUREMENT,))
    assert (told["verdict"], told["policy"]["sha256"]) == ("affirming", both.sha256.hex())
    other = judging.put(
        "/v1/reference-values/others",
        content=corim(triple({641: digest(OTHER)})),
        headers=ADMIN | {"Content-Type": "application/rim+cbor"},
    ).json()["sha256"]
    assert judged(judging, asked(reference_values=[other]))["appraisal"]["verdict"] == "contraindicated"
    conflict = judging.post("/v1/appraise", json=asked(reference_values=[sha256, other]))
    assert code(conflict) == (422, "REFERENCE_VALUES_CONFLICT")
    assert code(judging.post("/v1/appraise", json=asked(reference_values=["0" * 64]))) == (422, "POLICY_UNKNOWN")


@pytest.mark.parametrize("values", [["x"], "0" * 64, ["0" * 64] * 9, [1]])
def test_reference_values_are_digests(judging, values):
    """At most eight, of 64 hex digits."""
    answer = judging.post("/v1/appraise", json=asked(reference_values=values))
    assert code(answer) == (400, "MALFORMED_APPRAISAL_REQUEST")


def test_what_the_owner_replaced_is_no_longer_the_owners_word(judging):
    """A policy that was found too weak still judges by its digest, and federates nobody."""
    tag = put(judging, BODY).headers["etag"]
    federated = {"policy": POLICY.sha256.hex(), "audience": FEDERATION}
    assert in_session(judging, **federated)
    assert in_session(judging, policy=document_of(POLICY), audience=FEDERATION)
    put(judging, json.dumps(document_of(STRICTER)).encode(), If_Match=tag)
    assert not in_session(judging, **federated)
    assert "token" in judged(judging, for_release(policy=POLICY.sha256.hex()))


def test_the_default_is_what_its_name_points_to():
    """It changes with the name at once, and is never another one in its place."""
    whole, made = library_service("main")
    with TestClient(create_app(whole), base_url=ISSUER) as client:
        assert code(client.post("/v1/appraise", json=asked())) == (503, "DEFAULT_POLICY_MISSING")
        put(client, BODY)
        assert judged(client, asked())["appraisal"]["policy"]["sha256"] == POLICY.sha256.hex()
        # A store that lost the document has lost the default.
        made.library.store._contents.clear()
        made.library._read.clear()
        assert code(client.post("/v1/appraise", json=asked())) == (503, "DOCUMENTS_UNREACHABLE")


def test_a_store_cannot_exchange_documents(judging):
    """What somebody else wrote there under a digest is damage, for policies and reference values alike."""
    store = MemoryDocuments()
    whole, made = library_service(store=store)
    other = strictjson.canonical(document_of(STRICTER))
    values = strictjson.canonical({"values": {"vmpl": [0]}})
    for kind, content in (
        (Kind.POLICY, other),
        (Kind.POLICY, b"{"),
        (Kind.REFERENCE_VALUES, values),
        (Kind.REFERENCE_VALUES, b"\x00"),
    ):
        sha256 = hashlib.sha256(content).digest()
        revision = Revision(sha256=sha256, at=AT, by="x")
        name = f"n{len(store.names(kind))}"
        store.put(Change(kind=kind, name=name, expected=b"", content=content, revision=revision))
        with pytest.raises(ServiceError) as damaged:
            made.library.content(kind, sha256)
        assert damaged.value.code == "DOCUMENT_DAMAGED"
    damaged_digest = hashlib.sha256(other).hexdigest()
    with TestClient(create_app(whole), base_url=ISSUER) as client:
        answer = client.post("/v1/appraise", json=asked(policy=damaged_digest))
        assert code(answer) == (500, "DOCUMENT_DAMAGED")


@pytest.mark.parametrize("content", [TOKEN + "\n", f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n"])
def test_an_admins_token_is_in_a_file(tmp_path, content):
    """Itself, or its digest, so that the machine need not know it."""
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(0o600)
    assert read_token(file) == hashlib.sha256(TOKEN.encode()).digest()


@pytest.mark.parametrize(("content", "mode"), [("short", 0o600), (TOKEN, 0o640)])
def test_a_token_that_is_none(tmp_path, content, mode):
    """Too short to be safe, or known to others."""
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises((MalformedError, ServiceError)):
        read_token(file)
