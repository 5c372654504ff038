"""Attacks on who asks verifiers elsewhere: lying, replayed, late, strange and missing answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from tests.support.attested_guest import Scene, policy
from tests.support.hostile_guest import Forgery, HostileGuest
from tests.support.lying_verifier import AUDIENCE, VerifierService, stranger_ca_file
from tests.support.manifests import AT

from twocvm_sdk.verifierhttps import MAX_ANSWER_BYTES, Service
from twocvm_sdk.verifierkeys import DiscoveredKeys, PinnedKeys
from twocvm_sdk.verifiers import Quorum, RemoteVerifier
from twocvm_verifier.appraisal import Judgement, Question
from twocvm_verifier.binding import cert_claims
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import FetchError, HandshakeError, TwoCvmError
from twocvm_verifier.ratls.certificate import parse_certificate
from twocvm_verifier.snp.roots import amd_roots, simulated_roots

Change = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A world, and a guest's platform."""
    return Scene()


@pytest.fixture(scope="module")
def question(scene: Scene) -> Question:
    """What is asked of a guest's certificate."""
    leaf = parse_certificate(scene.server_identity().certificate_der)
    claims = cert_claims(spki_sha256=leaf.spki_sha256, manifest=scene.world.manifest.hash, log=scene.log)
    return Question(
        evidence=leaf.evidence, report_data=claims.report_data(), manifest=scene.world.manifest, policy=policy()
    )


@pytest.fixture
def service(scene: Scene) -> Iterator[VerifierService]:
    """A verifier that is honest until a test says otherwise."""
    with VerifierService(roots=simulated_roots(scene.platform.root_pem)) as running:
        yield running


def refusal(verifier: RemoteVerifier | Quorum, question: Question) -> str:
    """Return the code that a question ends with."""
    with pytest.raises(TwoCvmError) as refused:
        verifier.judge(question, at=AT).appraisal.require()
    return refused.value.code


def every_module(**changes: Any) -> Change:
    """Return the change of a claim in every part of the claims."""
    return lambda claims: claims | {"submods": {name: part | changes for name, part in claims["submods"].items()}}


def module(name: str, **changes: Any) -> Change:
    """Return the change of a claim in one part."""
    return lambda claims: claims | {"submods": claims["submods"] | {name: claims["submods"][name] | changes}}


def without(name: str, *, of: str | None = None) -> Change:
    """Return the change that leaves a claim out."""

    def change(claims: dict[str, Any]) -> dict[str, Any]:
        part = claims if of is None else claims["submods"][of]
        del part[name]
        return claims

    return change


NOW = int(AT.timestamp())
LIES: dict[str, Change] = {
    "another issuer": lambda claims: claims | {"iss": "https://other.example"},
    "another audience": lambda claims: claims | {"aud": "sts.amazonaws.com"},
    "several audiences": lambda claims: claims | {"aud": [AUDIENCE, "other"]},
    "no audience": without("aud"),
    "another profile": lambda claims: claims | {"eat_profile": "tag:example.com,2023:other"},
    "for evidence at rest": lambda claims: claims | {"2cvm.purpose": "rest"},
    "expired": lambda claims: claims | {"iat": NOW - 400, "nbf": NOW - 400, "exp": NOW - 1},
    "expires now": lambda claims: claims | {"iat": NOW - 400, "nbf": NOW - 400, "exp": NOW},
    "of the future": lambda claims: claims | {"iat": NOW + 120, "nbf": NOW + 120, "exp": NOW + 400},
    "not yet in force": lambda claims: claims | {"nbf": NOW + 120},
    "good for too long": lambda claims: claims | {"exp": claims["iat"] + 901},
    "ends before it begins": lambda claims: claims | {"exp": claims["iat"] - 1},
    "no end": without("exp"),
    "an end that is true": lambda claims: claims | {"iat": True, "exp": True},
    "an end as text": lambda claims: claims | {"exp": str(claims["exp"])},
    "an end that no clock has": lambda claims: claims | {"iat": 1 << 50, "exp": (1 << 50) + 1},
    "a negative end": lambda claims: claims | {"exp": -1},
    "another policy": every_module(**{"ear.appraisal-policy-id": "urn:2cvm:policy:sha-256:" + "00" * 32}),
    "another policy for the manifest": module("workload", **{"ear.appraisal-policy-id": "lax"}),
    "no policy": without("ear.appraisal-policy-id", of="cpu0"),
    "another manifest": module("workload", **{"2cvm.manifest": "00" * 32}),
    "no manifest": lambda claims: claims | {"submods": {"cpu0": claims["submods"]["cpu0"]}},
    "another report": module("cpu0", **{"2cvm.report": "00" * 32}),
    "no report": without("2cvm.report", of="cpu0"),
    "other REPORT_DATA": module("cpu0", **{"2cvm.report_data": "00" * 64}),
    "no REPORT_DATA": without("2cvm.report_data", of="cpu0"),
    "no verdict": without("2cvm.verdict"),
    "a verdict of its own": lambda claims: claims | {"2cvm.verdict": "splendid"},
    "a verdict that is none": module("cpu0", **{"ear.status": "none"}),
    "a verdict that is an error": lambda claims: claims | {"2cvm.verdict": "error"},
    "a part that is no object": lambda claims: claims | {"submods": claims["submods"] | {"gpu": 1}},
    "no parts": without("submods"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_token_about_something_else(service: VerifierService, question: Question, lie: Change) -> None:
    """A token that answers another question, or at another time, is no answer, whoever signed it."""
    service.twist = lie
    assert refusal(service.verifier(), question) == "VERIFIER_ANSWER"


HEADERS: dict[str, Change] = {
    "alg none": lambda header: header | {"alg": "none"},
    "another algorithm": lambda header: header | {"alg": "ES384"},
    "another type": lambda header: header | {"typ": "secevent+jwt"},
    "no type": lambda header: {name: header[name] for name in header if name != "typ"},
    "no kid": lambda header: {name: header[name] for name in header if name != "kid"},
    "a kid that is no text": lambda header: header | {"kid": 7},
    "an unknown kid": lambda header: header | {"kid": "AAAA"},
    "a key in the header": lambda header: header | {"jwk": ECKey.generate_key("P-256").as_dict(private=False)},
    "an address of keys": lambda header: header | {"jku": "https://attacker.example/keys"},
    "an address of certificates": lambda header: header | {"x5u": "https://attacker.example/chain"},
    "a certificate": lambda header: header | {"x5c": ["MIIB"]},
    "a critical member": lambda header: header | {"crit": ["exp"], "exp": 1},
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS)
def test_a_token_that_chooses_how_it_is_verified(service: VerifierService, question: Question, change: Change) -> None:
    """Algorithm and key are pinned; a header that says anything else about them is refused before it is used."""
    keys, kid = PinnedKeys(service.jwks), service.key.thumbprint()
    if change({}).get("alg") == "ES384":
        service.key = ECKey.generate_key("P-384")
    service.header = lambda header: change(header | {"kid": kid})
    assert refusal(service.verifier(keys=keys), question) == "VERIFIER_ANSWER"


def test_a_public_key_used_as_a_shared_secret(service: VerifierService, question: Question) -> None:
    """HS256 under bytes of the public key, which everybody knows, is not the key's algorithm."""
    kid, public = service.key.thumbprint(), service.key.as_dict(private=False)["x"]
    secret = OctKey.import_key({"kty": "oct", "k": str(public)})
    keys = PinnedKeys(service.jwks)
    service.key = secret  # type: ignore[assignment]
    service.header = lambda header: header | {"alg": "HS256", "kid": kid}
    assert refusal(service.verifier(keys=keys), question) == "VERIFIER_ANSWER"


def test_a_token_signed_with_another_key(service: VerifierService, question: Question) -> None:
    """A stranger's signature under the pinned key's name does not verify."""
    keys, kid = PinnedKeys(service.jwks), service.key.thumbprint()
    service.key = ECKey.generate_key("P-256")
    service.header = lambda header: header | {"kid": kid}
    assert refusal(service.verifier(keys=keys), question) == "VERIFIER_ANSWER"


@pytest.mark.parametrize("part", range(3))
def test_every_part_of_a_token_is_signed(service: VerifierService, question: Question, part: int) -> None:
    """A token with one character changed, anywhere, is no token."""

    def changed(token: str) -> bytes:
        parts = token.split(".")
        parts[part] = parts[part][:-3] + ("AAA" if not parts[part].endswith("AAA") else "BBB")
        return json.dumps({"token": ".".join(parts)}).encode()

    service.answer = changed
    assert refusal(service.verifier(), question) == "VERIFIER_ANSWER"


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"<html>",
    "no object": b"[]",
    "no token": b"{}",
    "a token that is no text": b'{"token": 7}',
    "a token twice": b'{"token": "a.b.c", "token": "a.b.c"}',
    "no compact JWS": b'{"token": "a.b"}',
    "five parts": b'{"token": "a.b.c.d.e"}',
    "not base64url": b'{"token": "a+.b.c"}',
    "not ASCII": '{"token": "\u00e4.b.c"}'.encode(),
    "a header that is no object": b'{"token": "MQ.MQ.MQ"}',
    "too large": json.dumps({"token": "A" * 40_000 + "." + "."}).encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_answer_that_is_none(service: VerifierService, question: Question, body: bytes) -> None:
    """Whatever comes instead of a token is told as such, and nothing else happens."""
    service.answer = lambda _: body
    assert refusal(service.verifier(), question) == "VERIFIER_ANSWER"


def test_a_replayed_answer(service: VerifierService, scene: Scene) -> None:
    """A genuine token of the same verifier about an earlier proof does not serve for a later one."""
    tokens: list[str] = []

    def first_again(token: str) -> bytes:
        tokens.append(token)
        # The certificate's, the first proof's, and then the first proof's once more.
        return json.dumps({"token": tokens[min(len(tokens), 2) - 1]}).encode()

    service.answer = first_again
    with scene.serve() as guest:
        expectation = scene.expectation(verifier=service.verifier())
        with scene.connect(guest.url, expectation=expectation) as connection:
            with pytest.raises(FetchError) as refused:
                connection.reprove()
            assert connection.closed
    assert (refused.value.code, len(tokens)) == ("VERIFIER_ANSWER", 3)


def test_a_verifier_that_affirms_a_simulated_platform(service: VerifierService, question: Question) -> None:
    """Whoever asks sees that evidence is simulated: it is never secure, and refused where it was not meant."""
    service.twist = lambda claims: every_module(**{"ear.status": "affirming"})(claims | {"2cvm.verdict": "affirming"})
    judged = service.verifier().judge(question, at=AT).appraisal.require()
    assert (str(judged.verdict), judged.secure, judged.platform) == ("warning", False, "simulated")
    assert refusal(service.verifier(allow_simulated=False), question) == "SIMULATED_NOT_ACCEPTED"


def test_the_worst_that_a_token_says_counts(service: VerifierService, question: Question) -> None:
    """One part that refuses outweighs a verdict that accepts."""
    service.twist = module("workload", **{"ear.status": "contraindicated"})
    assert refusal(service.verifier(), question) == "VERIFIER_REFUSED"


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("MEASUREMENT_MISMATCH", "MEASUREMENT_MISMATCH"),
        ("CHAIN_REVOKED", "CHAIN_REVOKED"),
        ("NO_SUCH_CODE", "VERIFIER_REFUSED"),
        ("FETCH_FAILED", "VERIFIER_REFUSED"),
        (7, "VERIFIER_REFUSED"),
    ],
)
def test_a_refusal_keeps_its_reason(service: VerifierService, question: Question, code: object, kept: str) -> None:
    """A refusal's code is kept where it is a refusal of our table; no code turns it into `try again`."""
    service.twist = lambda claims: claims | {"2cvm.verdict": "contraindicated", "2cvm.code": code}
    assert refusal(service.verifier(), question) == kept


def test_a_refusal_is_asked_again(service: VerifierService, question: Question) -> None:
    """A refusal is not kept, an acceptance is while its token is in force, and only for the very same question."""
    verifier = service.verifier()
    service.twist = lambda claims: claims | {"2cvm.verdict": "contraindicated", "2cvm.code": "CHAIN_REVOKED"}
    assert refusal(verifier, question) == "CHAIN_REVOKED"
    service.twist = lambda claims: claims
    for later_seconds, asked in ((0, 2), (299, 2), (300, 3)):
        service.at = AT + timedelta(seconds=later_seconds)
        verifier.judge(question, at=service.at).appraisal.require()
        assert len(service.questions) == asked


def test_a_verifier_with_other_roots_refuses(question: Question) -> None:
    """A verifier that trusts AMD alone says so of a simulated guest, and its reason is kept."""
    with VerifierService(roots=amd_roots()) as strict:
        assert refusal(strict.verifier(), question) == "CHAIN_ROOT_UNKNOWN"


def test_what_is_asked_is_rebuilt_here(service: VerifierService, scene: Scene) -> None:
    """The 64 bytes that a verifier is told to expect are those of this connection, not those of the report."""
    expectation = scene.expectation(verifier=service.verifier())
    with scene.serve() as guest, scene.connect(guest.url, expectation=expectation) as connection:
        expected = connection.proof.verified.report.report_data.hex()
    certificate, channel = service.questions
    assert channel["expected_report_data"] == expected != certificate["expected_report_data"]
    assert channel["manifest"] == json.loads(scene.world.raw)


def test_a_report_bound_to_something_else_is_refused_here(service: VerifierService, question: Question) -> None:
    """REPORT_DATA is compared here, so that a verifier that overlooks it changes nothing."""
    other = Question(
        evidence=question.evidence, report_data=bytes(64), manifest=question.manifest, policy=question.policy
    )
    good = {"2cvm.verdict": "affirming"}
    service.twist = lambda claims: module("cpu0", **{"2cvm.report_data": "00" * 64})(
        every_module(**{"ear.status": "affirming"})(claims | good)
    )
    assert refusal(service.verifier(), other) == "REPORT_DATA_MISMATCH"


def test_nobody_is_shown_who_asks_before_the_verifier_has_spoken(service: VerifierService, scene: Scene) -> None:
    """The question is asked inside the handshake: a guest that is refused sees no client certificate and no byte."""
    service.twist = lambda claims: claims | {"2cvm.verdict": "contraindicated"}
    expectation = scene.expectation(verifier=service.verifier())

    with HostileGuest(Forgery(scene=scene).context()) as hostile, pytest.raises(HandshakeError) as refused:
        scene.connect(hostile.url, expectation=expectation)
    assert refused.value.code == "VERIFIER_REFUSED"
    assert (hostile.shown, hostile.heard) == ([], b"")


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_a_verifier_that_does_not_judge(service: VerifierService, scene: Scene, status: int) -> None:
    """An error of the verifier is `cannot be judged now`, at the connection as in the library."""
    service.status = status
    with scene.serve() as guest, pytest.raises(FetchError) as refused:
        scene.connect(guest.url, expectation=scene.expectation(verifier=service.verifier()))
    assert (refused.value.code, refused.value.exit_status) == ("VERIFIER_UNREACHABLE", 40)
    assert guest.requests == []


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (302, {"Location": "https://attacker.example/v1/appraise"}),
        (307, {"Location": "/v1/appraise"}),
        (200, {"Content-Type": "text/html"}),
        (200, {"Content-Encoding": "gzip"}),
    ],
)
def test_an_answer_that_leads_elsewhere(
    service: VerifierService, question: Question, status: int, fields: dict[str, str]
) -> None:
    """No redirection is followed and nothing is decompressed."""
    service.status, service.fields = status, fields
    assert refusal(service.verifier(), question) == "VERIFIER_UNREACHABLE"
    assert len(service.questions) == 1


def test_a_flood(service: VerifierService, question: Question) -> None:
    """An answer has a size."""
    service.answer = lambda _: b" " * (MAX_ANSWER_BYTES + 1)
    assert refusal(service.verifier(), question) == "VERIFIER_UNREACHABLE"


@pytest.mark.parametrize("how", ["pause_seconds", "drip_seconds"])
def test_a_slow_verifier(service: VerifierService, question: Question, how: str) -> None:
    """One deadline holds for all of an answer, however it is drawn out."""
    setattr(service, how, 0.25)
    began = time.monotonic()
    assert refusal(service.verifier(seconds=0.2), question) == "VERIFIER_UNREACHABLE"
    assert time.monotonic() - began < 2


def test_a_verifier_that_is_not_there(question: Question) -> None:
    """A port where nobody listens."""
    service = Service(url="https://127.0.0.1:1", ca=None, seconds=1.0)
    keys = PinnedKeys(json.dumps({"keys": [ECKey.generate_key("P-256").as_dict(private=False)]}).encode())
    verifier = RemoteVerifier(service, keys=keys, audience=AUDIENCE, allow_simulated=True)
    assert refusal(verifier, question) == "VERIFIER_UNREACHABLE"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_somebody_in_the_verifiers_place(service: VerifierService, question: Question, host: str) -> None:
    """A certificate of another CA, or of another host, ends it before anything is sent."""
    port = service.url.rpartition(":")[2]
    ca = service.service().ca if host == "localhost" else stranger_ca_file()
    verifier = RemoteVerifier(
        Service(url=f"https://{host}:{port}", ca=ca, seconds=5.0),
        keys=PinnedKeys(service.jwks),
        audience=AUDIENCE,
        allow_simulated=True,
    )
    assert refusal(verifier, question) == "VERIFIER_UNREACHABLE"
    assert service.questions == []


def test_the_environment_leads_nowhere(
    service: VerifierService, question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies of the environment are not used."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    service.verifier().judge(question, at=AT).appraisal.require()


DISCOVERIES: dict[str, Change] = {
    "another issuer": lambda found: found | {"issuer": "https://other.example"},
    "keys elsewhere": lambda found: found | {"jwks_uri": "https://attacker.example/keys"},
    "keys at a host that begins alike": lambda found: found | {"jwks_uri": found["issuer"] + ".attacker.example/keys"},
    "no keys": lambda found: {"issuer": found["issuer"]},
    "a list": lambda found: [found],  # type: ignore[dict-item, return-value]
}


@pytest.mark.parametrize("change", DISCOVERIES.values(), ids=DISCOVERIES)
def test_keys_that_are_somebody_elses(service: VerifierService, question: Question, change: Change) -> None:
    """Keys are taken from the verifier itself, and from nowhere that it or anybody names."""
    service.discovery = change
    assert refusal(service.verifier(keys=DiscoveredKeys(clock=SystemClock())), question) == "VERIFIER_KEYS"


def test_a_crowd_of_unknown_keys_is_fetched_once(service: VerifierService, question: Question) -> None:
    """Tokens that name unknown keys do not make whoever asks hammer the verifier."""
    service.header = lambda header: header | {"kid": "AAAA"}
    verifier = service.verifier(keys=DiscoveredKeys(clock=SystemClock()))
    assert [refusal(verifier, question) for _ in range(3)] == ["VERIFIER_ANSWER"] * 3
    assert len(service.fetched) == 2


def judgement(verifier: Quorum, question: Question) -> Judgement:
    """Return what a quorum says, once it holds."""
    found = verifier.judge(question, at=AT)
    found.appraisal.require()
    return found


@pytest.fixture
def three(scene: Scene) -> Iterator[tuple[VerifierService, ...]]:
    """Three verifiers."""
    roots = simulated_roots(scene.platform.root_pem)
    with VerifierService(roots=roots) as one, VerifierService(roots=roots) as two, VerifierService(roots=roots) as last:
        yield one, two, last


def test_one_liar_does_not_accept_for_all(three: tuple[VerifierService, ...], question: Question) -> None:
    """A verifier that accepts everything is one of k, and the others' refusal stands."""
    for honest in three[1:]:
        honest.twist = lambda claims: claims | {"2cvm.verdict": "contraindicated", "2cvm.code": "CHAIN_REVOKED"}
    assert refusal(Quorum([each.verifier() for each in three], k=2), question) == "CHAIN_REVOKED"
    assert refusal(Quorum([each.verifier() for each in three], k=1), question) == "CHAIN_REVOKED"


def test_silence_never_adds_an_acceptance(three: tuple[VerifierService, ...], question: Question) -> None:
    """Whoever silences verifiers, or has them answer nonsense, gets a guest accepted by nobody but k of the others."""
    three[0].status = 503
    judgement(Quorum([each.verifier() for each in three], k=2), question)
    three[1].twist = lambda claims: claims | {"iss": "https://other.example"}
    assert refusal(Quorum([each.verifier() for each in three], k=2), question) == "VERIFIERS_TOO_FEW"
    judgement(Quorum([each.verifier() for each in three], k=1), question)


def test_a_token_of_one_verifier_is_not_anothers(three: tuple[VerifierService, ...], question: Question) -> None:
    """One verifier that hands out another's token does not count twice."""
    taken: list[str] = []
    three[0].answer = lambda token: taken.append(token) or json.dumps({"token": token}).encode()  # type: ignore[func-returns-value]
    three[0].verifier().judge(question, at=AT)
    three[1].answer = lambda _: json.dumps({"token": taken[0]}).encode()
    assert refusal(Quorum([each.verifier() for each in three[:2]], k=2), question) == "VERIFIERS_TOO_FEW"


def test_rsa_keys_sign_with_one_algorithm(service: VerifierService, question: Question) -> None:
    """A verifier that signs with RS256 is believed under its RSA key, and PS256 under the same key is not."""
    service.key = RSAKey.generate_key(2048)  # type: ignore[assignment]
    service.shown = [service.key]
    service.header = lambda header: header | {"alg": "RS256"}
    service.verifier().judge(question, at=AT).appraisal.require()
    service.header = lambda header: header | {"alg": "PS256"}
    assert refusal(service.verifier(), question) == "VERIFIER_ANSWER"
