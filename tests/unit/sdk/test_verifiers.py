"""Who judges: this machine, a verifier elsewhere, or several; and whole sessions by their word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from tests.support.attested_guest import NO_CRL, Scene, policy
from tests.support.guest import LiveGuest
from tests.support.lying_verifier import VerifierService, ca_file
from tests.support.manifests import AT, World
from tests.support.sdk import StandingClock
from tests.support.sides import release_all

from twocvm_sdk import Endpoint, Participant, PinnedKeys, Quorum, RemoteVerifier, Service, local_verifier
from twocvm_sdk.trust import expect
from twocvm_sdk.verifierkeys import REFRESH_SECONDS, DiscoveredKeys, parse_keys
from twocvm_verifier.appraisal import Question
from twocvm_verifier.binding import cert_claims
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import FetchError, MalformedError, TwoCvmError
from twocvm_verifier.ratls.certificate import parse_certificate
from twocvm_verifier.result import Verdict
from twocvm_verifier.snp.revocation import PREFER
from twocvm_verifier.snp.roots import Roots, simulated_roots
from twocvm_verifier.snp.verify import VerifiedReport

# What a verifier has of its own.
OWN = ("roots", "crls")


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A world, and a guest's platform."""
    return Scene()


@pytest.fixture(scope="module")
def roots(scene: Scene) -> Roots:
    """Those of the scene's platform."""
    return simulated_roots(scene.platform.root_pem)


@pytest.fixture(scope="module")
def question(scene: Scene) -> Question:
    """What is asked of a guest's certificate."""
    leaf = parse_certificate(scene.server_identity().certificate_der)
    claims = cert_claims(spki_sha256=leaf.spki_sha256, manifest=scene.world.manifest.hash, log=scene.log)
    return Question(
        evidence=leaf.evidence, report_data=claims.report_data(), manifest=scene.world.manifest, policy=policy()
    )


@pytest.fixture
def service(roots: Roots) -> Iterator[VerifierService]:
    """An honest verifier."""
    with VerifierService(roots=roots) as running:
        yield running


def test_a_whole_session_by_a_verifiers_word(service: VerifierService, tmp_path: Path) -> None:
    """Locking, releasing and the receipt, judged by two verifiers and this machine together."""
    with LiveGuest(World()) as guest, VerifierService(roots=simulated_roots(guest.platform.root_pem)) as other:
        service.roots = other.roots
        everybody = release_all(guest, tmp_path)
        here = local_verifier(roots=other.roots, crls=NO_CRL)
        quorum = Quorum((here, other.verifier(), service.verifier()), k=3)
        arguments = {name: value for name, value in everybody["analytics"].arguments.items() if name not in OWN}
        with Participant.connect(guest.url, **arguments, verifier=quorum) as session:
            assert session.output("model").size_bytes > 0
            receipt = session.receipt()
            assert receipt.verify().appraisal.checks[-1].id == "verifier.quorum"
            assert isinstance(session.proof.verified, VerifiedReport)
        assert len(other.questions) >= 3


def test_an_endpoint_by_a_verifiers_word(scene: Scene, service: VerifierService) -> None:
    """Every other client is opened by it as well, and what it says names the verifier."""
    with scene.serve() as guest:
        endpoint = Endpoint(
            guest.url,
            manifest=scene.world.manifest,
            policy=policy(),
            identity=None,
            verifier=service.verifier(),
            clock=StandingClock(),
        )
        with endpoint.open() as connection:
            appraisal = connection.proof.appraisal
            assert [piece.source for piece in appraisal.collateral] == [service.url]
            assert connection.proof.report_id == scene.platform._report_id
        # The certificate's evidence is the same on the next connection, and is not asked about again.
        with endpoint.open():
            assert len(service.questions) == 3


def test_keys_through_discovery(question: Question, service: VerifierService) -> None:
    """Keys can be had from the verifier itself, once; a new one is found when a token names it."""
    clock = _Steered()
    verifier = service.verifier(keys=DiscoveredKeys(clock=clock))
    verifier.judge(question, at=AT)
    assert service.fetched == ["/.well-known/openid-configuration", "/.well-known/jwks.json"]
    service.key = ECKey.generate_key("P-256")
    service.shown.append(service.key)
    later = AT + timedelta(minutes=10)
    service.at = later
    with pytest.raises(FetchError) as early:
        verifier.judge(question, at=later)
    clock.seconds += REFRESH_SECONDS
    verifier.judge(question, at=later)
    assert (early.value.code, len(service.fetched)) == ("VERIFIER_ANSWER", 4)


class _Steered(SystemClock):
    seconds = 0.0

    def monotonic_seconds(self) -> float:
        return self.seconds


def test_keys_that_cannot_be_had(question: Question, service: VerifierService) -> None:
    """A verifier that shows no key of use is told as such."""
    service.shown = [ECKey.generate_key("P-384")]
    with pytest.raises(FetchError) as refused:
        service.verifier(keys=DiscoveredKeys(clock=SystemClock())).judge(question, at=AT)
    assert refused.value.code == "VERIFIER_KEYS"


def test_only_keys_of_use_are_taken() -> None:
    """Of a set the P-256 keys and the RSA keys of a fair size count, each by its thumbprint."""
    good, rsa = ECKey.generate_key("P-256"), RSAKey.generate_key(2048)
    other = [
        ECKey.generate_key("P-384").as_dict(private=False),
        OKPKey.generate_key("Ed25519").as_dict(private=False),
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": 7},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww", "e": "AQAB"},
        {"kty": "future"},
        7,
    ]
    listed = [*other, {**good.as_dict(private=False), "kid": "not its own"}, rsa.as_dict(private=False)]
    assert set(parse_keys(json.dumps({"keys": listed}).encode())) == {good.thumbprint(), rsa.thumbprint()}


KEYLESS = {
    "nothing": b"",
    "a list": b"[]",
    "no keys": b"{}",
    "keys that are no list": b'{"keys": 7}',
    "an empty list": b'{"keys": []}',
    "too many": json.dumps({"keys": [7] * 17}).encode(),
    "a private key": json.dumps({"keys": [ECKey.generate_key("P-256").as_dict(private=True)]}).encode(),
    "a shared key": json.dumps({"keys": [OctKey.generate_key(256).as_dict(private=True)]}).encode(),
}


@pytest.mark.parametrize("document", KEYLESS.values(), ids=KEYLESS)
def test_sets_of_keys_that_are_none(document: bytes) -> None:
    """Nothing, no key of use, and a private or shared key are refused."""
    with pytest.raises(MalformedError) as refused:
        PinnedKeys(document)
    assert refused.value.code == "MALFORMED_VERIFIER_KEYS"


@pytest.mark.parametrize(
    "url",
    [
        "http://verifier.example",
        "https://",
        "https://verifier.example/",
        "https://verifier.example/path",
        "https://user@verifier.example",
        "https://verifier.example?x",
        "verifier.example",
    ],
)
def test_urls_that_are_no_verifiers(url: str) -> None:
    """Only HTTPS, and nothing beside host and port."""
    with pytest.raises(ValueError, match="verifier"):
        Service(url=url, ca=None, seconds=1.0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_request_has_a_time(seconds: float) -> None:
    """No request waits for ever, or not at all."""
    with pytest.raises(ValueError, match="want more"):
        Service(url="https://verifier.example", ca=None, seconds=seconds)


def test_a_ca_that_is_not_there(tmp_path: Path) -> None:
    """A CA that cannot be read is known before anything is asked."""
    with pytest.raises(OSError, match="No such file"):
        Service(url="https://verifier.example", ca=tmp_path / "none.pem", seconds=1.0)
    assert Service(url="https://verifier.example", ca=ca_file(), seconds=1.0).ca == ca_file()


def test_trust_is_said_once(scene: Scene, roots: Roots, service: VerifierService) -> None:
    """Trust anchors or lists beside a verifier, which has its own, are a mistake of the caller."""
    for given in ({"roots": roots}, {"crls": NO_CRL}):
        with pytest.raises(ValueError, match="its own trust anchors"):
            expect(
                scene.world.manifest,
                policy=policy(),
                unlocked_ok=False,
                verifier=service.verifier(),
                **{"roots": None, "crls": PREFER, **given},  # type: ignore[arg-type]
            )


@pytest.mark.parametrize("k", [0, 3, -1])
def test_a_quorum_is_of_its_verifiers(roots: Roots, service: VerifierService, k: int) -> None:
    """At least one, and at most all."""
    with pytest.raises(ValueError, match="of 2 verifiers"):
        Quorum((local_verifier(roots=roots), service.verifier()), k=k)


def test_nobody_counts_twice(service: VerifierService) -> None:
    """The same verifier twice is one."""
    with pytest.raises(ValueError, match="twice"):
        Quorum((service.verifier(), service.verifier()), k=2)


def test_a_quorum_tells_who_said_what(roots: Roots, question: Question, service: VerifierService) -> None:
    """The result lists every verifier, and those that did not answer with the reason."""
    here = local_verifier(roots=roots, crls=NO_CRL)
    gone = RemoteVerifier(
        Service(url="https://127.0.0.1:1", ca=None, seconds=1.0),
        keys=PinnedKeys(service.jwks),
        audience="2cvm",
        allow_simulated=True,
    )
    quorum = Quorum((here, gone, service.verifier()), k=2)
    assert quorum.name == f"2 of this machine, https://127.0.0.1:1, {service.url}"
    appraisal = quorum.judge(question, at=AT).appraisal.require()
    told = appraisal.checks[-1].actual
    assert told == f"this machine: warning; https://127.0.0.1:1: VERIFIER_UNREACHABLE; {service.url}: warning"


def test_one_that_cannot_say_is_silent(roots: Roots, question: Question, service: VerifierService) -> None:
    """A verifier without a revocation list that the policy demands neither accepts nor refuses."""
    strict = replace(question, policy=policy(max_crl_age_seconds=60))
    here = local_verifier(roots=roots)
    assert here.judge(strict, at=AT).appraisal.verdict is Verdict.ERROR
    with pytest.raises(FetchError) as refused:
        Quorum((here,), k=1).judge(strict, at=AT)
    assert refused.value.code == "VERIFIERS_TOO_FEW"
    assert "this machine: CRL_STALE" in refused.value.detail


def test_a_fault_of_our_own_is_no_silence(question: Question, service: VerifierService) -> None:
    """What goes wrong on this side comes out as it is, and no other verifier covers it."""

    class Broken:
        name = "broken"

        def judge(self, *_: object, **__: object) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Quorum((service.verifier(), Broken()), k=1).judge(question, at=AT)  # type: ignore[arg-type]


def test_evidence_that_is_none_is_refused_by_all(roots: Roots, question: Question) -> None:
    """What one verifier finds not authentic is refused with its reason."""
    forged = bytearray(question.evidence.report)
    forged[0x90] ^= 1
    changed = replace(question, evidence=replace(question.evidence, report=bytes(forged)))
    with pytest.raises(TwoCvmError) as refused:
        Quorum((local_verifier(roots=roots, crls=NO_CRL),), k=1).judge(changed, at=AT)
    assert refused.value.code == "REPORT_SIGNATURE"
