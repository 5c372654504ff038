"""A whole guest under Azure's paravisor: over a real vTPM, locked, run, and judged by SDK, command and service."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import verifier_service as service
from tests.support.amd import AT as AMD_AT
from tests.support.amd import fake_amd
from tests.support.attested_guest import NO_CRL, policy
from tests.support.azure import FakeAzure
from tests.support.guest import LiveGuest
from tests.support.manifests import MEASUREMENT, World
from tests.support.simulated import launch
from tests.support.swtpm import AzureVtpm, require_swtpm
from typer.testing import CliRunner

from twocvm_guest.platforms.attester import Attester
from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_sdk.connection import AttestedConnection
from twocvm_verifier import SnpVerifier, simulated_roots, strictjson
from twocvm_verifier.appraisal import Question
from twocvm_verifier.appraisal.delegated import Word, judge_by_word
from twocvm_verifier.binding import LogPosition, cert_claims, parse_claims
from twocvm_verifier.bundle import Case, bundle_of, judge, parse_bundle
from twocvm_verifier.cli import app
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import AppraisalError, BindingError, HandshakeError, MalformedError
from twocvm_verifier.evidence import Evidence, encode_cbor, encode_json, from_json, to_json
from twocvm_verifier.policy.model import RequiredLevels
from twocvm_verifier.policy.writing import document_of
from twocvm_verifier.ratls.proof import Expectation
from twocvm_verifier.result import Level, Status, Verdict
from twocvm_verifier.unchecked import Unchecked

ENOUGH = RequiredLevels(levels=(Level.AL1, Level.AL2), at_rest=False, others=Unchecked("a test trusts the provider"))


class AzureOverSimulation:
    """The guest's own Azure platform, with the certificates of a simulated chip, which no KDS has."""

    name = "azure"

    def __init__(self, azure: Attester, chip: SimulatedPlatform) -> None:
        self.report, self.quote = azure.report, azure.quote
        self.vek, self.chain, self.crl = chip.vek, chip.chain, chip.crl


class AzureGuest(LiveGuest):
    """A live guest on a vTPM; whoever connects is content with what a provider's machine can prove."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        def device(chip: Attester) -> Attester:
            assert isinstance(chip, SimulatedPlatform)
            vtpm = stack.enter_context(AzureVtpm(folder, chip.report))
            return AzureOverSimulation(vtpm.platform(), chip)

        super().__init__(World(), device=device)

    def expectation(self, *, unlocked_ok: bool = False) -> Expectation:
        """Return what is expected, with the levels that are enough."""
        return replace(super().expectation(unlocked_ok=unlocked_ok), policy=policy(require_levels=ENOUGH))


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureGuest]:
    """A guest that everybody has released everything to."""
    require_swtpm()
    with ExitStack() as stack, AzureGuest(tmp_path_factory.mktemp("tpm"), stack) as running:
        running.released()
        running.wait_for("completed")
        yield running


def test_whole_run_is_proved_by_quotes(guest: AzureGuest) -> None:
    """From the lock to the receipt every proof is a quote, and every one says that the paravisor is trusted."""
    with guest.connect("hospital-a") as client:
        proof = client.connection.proof
        assert proof.appraisal.platform == "simulated"
        said = {check.id: check for check in proof.appraisal.checks}
        assert said["azure.trusted_base"].status is Status.WARN
        assert said["azure.quote.signature"].status is Status.PASS
        assert proof.verified.bound_data != proof.verified.report.report_data
        again = client.connection.reprove()
        assert (again.verified.report.raw, again.verified.boot) == (proof.verified.report.raw, proof.verified.boot)
        receipt = client.get("/v1/receipt").json()
        evidence = from_json(receipt["evidence"])
        assert evidence.azure is not None
        claims = parse_claims(evidence.claims)
        expectation = guest.expectation()
        question = Question(
            evidence=evidence,
            report_data=claims.report_data(),
            manifest=expectation.manifest,
            policy=expectation.policy,
        )
        judged = expectation.verifier.judge(question, at=guest.clock.now())
        assert judged.verified.bound_data == claims.report_data()


def test_batches_share_a_quote(guest: AzureGuest) -> None:
    """Many who connect at once are all proved, each by its own way to the root that is quoted."""
    with ThreadPoolExecutor(6) as threads:
        clients = list(threads.map(lambda _: guest.connect("hospital-a"), range(6)))
    try:
        assert len({client.connection.proof.nonce for client in clients}) == 6
        assert all(client.connection.proof.verified.boot for client in clients)
    finally:
        for client in clients:
            client.connection.close()


def test_policy_that_asks_for_all_levels_releases_nothing(guest: AzureGuest) -> None:
    """The default asks for AL3 and AL4, which no provider's paravisor proves: refused inside the handshake."""
    with pytest.raises(HandshakeError) as refusal:
        AzureGuest.connect(_Strict(guest), "hospital-a")  # type: ignore[arg-type]
    assert refusal.value.code == "LEVEL_NOT_PROVED"
    assert isinstance(refusal.value.__cause__, AppraisalError)


class _Strict:
    """The same guest, as somebody with the default levels sees it."""

    def __init__(self, guest: AzureGuest) -> None:
        self._guest = guest

    def __getattr__(self, name: str) -> object:
        return getattr(self._guest, name)

    def expectation(self, *, unlocked_ok: bool = False) -> Expectation:
        return LiveGuest.expectation(self._guest, unlocked_ok=unlocked_ok)


AMD, AZURE = fake_amd(), FakeAzure()
CLAIMS = cert_claims(spki_sha256=bytes(32), manifest=World().manifest.hash, log=LogPosition(head=bytes(32), events=2))


def evidence(**changes: bytes | None) -> Evidence:
    """Return evidence of a guest on Azure, at rest."""
    given: dict[str, bytes | None] = {
        "report": AMD.report(report_data=AZURE.report_data()),
        "claims": CLAIMS.encode(),
        "vek": AMD.vcek(),
        "azure": AZURE.bound_to(CLAIMS.report_data()),
    }
    return Evidence(**given | changes)  # type: ignore[arg-type]


def test_evidence_that_is_not_bound_is_refused() -> None:
    """Without the quote, with another's claims, or with a quote for others, nothing of it holds."""
    verifier = SnpVerifier(roots=AMD.roots())
    question = Question(
        evidence=evidence(), report_data=CLAIMS.report_data(), manifest=World().manifest, policy=policy()
    )
    assert verifier.judge(question, at=AMD_AT).verified.bound_data == CLAIMS.report_data()
    bare = verifier.judge(replace(question, evidence=evidence(azure=None)), at=AMD_AT)
    assert "REPORT_DATA_MISMATCH" in {check.code for check in bare.appraisal.findings}
    other = evidence(azure=AZURE.bound_to(bytes(64)))
    with pytest.raises(BindingError) as refusal:
        verifier.judge(replace(question, evidence=other), at=AMD_AT)
    assert refusal.value.code == "AZURE_EXTRA_DATA"


@pytest.mark.parametrize("encode", [encode_json, encode_cbor])
def test_command_judges_it_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encode: object) -> None:
    """`appraise` takes evidence as a guest sends it, and its bundle is judged to the same verdict again."""
    monkeypatch.setattr("twocvm_verifier.cli.roots_of", lambda _: AMD.roots())
    file, bundle, page = tmp_path / "evidence", tmp_path / "bundle", tmp_path / "page.html"
    file.write_bytes(encode(evidence()))  # type: ignore[operator]
    at = ["--at", "2026-06-01T00:00:00Z", "-o", "json", "--offline", "--store", str(tmp_path / "store")]
    run = CliRunner().invoke(app, ["appraise", "--report", str(file), "--bundle-out", str(bundle), *at])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert (result["platform"], result["verdict"]) == ("azure", "warning")
    assert result["facts"]["bound_data"] == CLAIMS.report_data().hex()
    assert CliRunner().invoke(app, ["appraise", "--bundle", str(bundle)]).exit_code == 0
    shown = CliRunner().invoke(app, ["appraise", "--report", str(file), *at[:2], *at[4:], "--html", str(page)])
    assert f"bound_data     {CLAIMS.report_data().hex()}" in shown.output
    # The page says how to come to the same verdict: with the same evidence, and not with its report alone.
    assert "--report evidence.json" in page.read_text()
    file.write_bytes(encode(evidence(azure=AZURE.bound_to(bytes(64)))))  # type: ignore[operator]
    run = CliRunner().invoke(app, ["appraise", "--report", str(file), *at])
    assert isinstance(run.exception, BindingError)
    assert json.loads(run.stdout)["code"] == "AZURE_EXTRA_DATA"


def test_service_judges_it() -> None:
    """A release, its token and a challenge are about what the vTPM bound; a quote for others is not authentic."""
    bound = service.claims()
    given = service.cmw(
        report=service.report(report_data=AZURE.report_data()), azure=AZURE.bound_to(bound.report_data())
    )
    rules = document_of(service.naming_policy(require_levels=ENOUGH))
    request = service.for_release(
        evidence={"cmw": to_json(given)}, policy=rules, nonce=strictjson.base64url(service.NONCE)
    )
    forged = request | {"evidence": {"cmw": to_json(replace(given, azure=AZURE.bound_to(bytes(64))))}}
    strict = request | {"policy": document_of(service.naming_policy())}
    with service.service() as client:
        answer = client.post("/v1/appraise", json=request).json()
        assert "appraisal" in answer, answer
        assert (answer["appraisal"]["platform"], answer["appraisal"]["verdict"]) == ("azure", "warning"), answer
        assert client.post("/v1/appraise", json=forged).json()["appraisal"]["code"] == "AZURE_EXTRA_DATA"
        assert client.post("/v1/appraise", json=strict).json()["appraisal"]["code"] == "LEVEL_NOT_PROVED"
    token = json.loads(strictjson.parse_base64url(answer["token"].split(".")[1]))
    assert token["submods"]["cpu0"]["2cvm.report_data"] == bound.report_data().hex()
    assert token["2cvm.levels"] == ["AL1", "AL2"]
    # No executables are vouched for: MEASUREMENT is the paravisor's, whatever the policy calls it.
    assert token["submods"]["cpu0"]["ear.trustworthiness-vector"]["executables"] == 33


def test_word_of_a_verifier_is_about_what_the_vtpm_bound() -> None:
    """Whoever takes another's word still holds the quote's extra data to what it rebuilt itself."""
    question = Question(
        evidence=evidence(), report_data=CLAIMS.report_data(), manifest=World().manifest, policy=policy()
    )
    word = Word(verifier="v", verdict=Verdict.WARNING, code="VERIFIER_REFUSED", token_sha256=bytes(32), until=AMD_AT)
    judged = judge_by_word(question, word, simulated_ok=False, at=AMD_AT)
    assert judged.appraisal.findings == ()
    assert judged.appraisal.platform == "azure"
    assert "azure.trusted_base" in {check.id for check in judged.appraisal.checks}
    assert judged.verified.boot
    other = replace(question, evidence=evidence(azure=AZURE.bound_to(bytes(64))))
    refused = judge_by_word(other, word, simulated_ok=False, at=AMD_AT).appraisal.findings
    assert [check.code for check in refused] == ["REPORT_DATA_MISMATCH"]


def test_bundle_without_one_half_is_none() -> None:
    """A vTPM's quote without its claims, or claims without a quote, make no case and no bundle."""
    given = evidence()
    case = Case(
        report=given.report,
        vek=AMD.vcek(),
        chain=None,
        crl=None,
        manifest=None,
        policy=policy(),
        advisories=(),
        judged_at=AMD_AT,
        azure=given.azure,
        claims=given.claims,
    )
    with pytest.raises(ValueError, match="together"):
        replace(case, claims=None)
    raw = bundle_of(case, judge(case, roots=AMD.roots())).encode()
    assert parse_bundle(raw).case == case
    halved = {name: value for name, value in json.loads(raw).items() if name != "claims"}
    with pytest.raises(MalformedError):
        parse_bundle(strictjson.canonical(halved))


# What the kernel's device would be is a socket here; all else is the command as it is.
SERVE = """
import socket, sys
from twocvm_guest.platforms.tpm import Tpm
path = sys.argv.pop(1)
def connected(*, pause):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return Tpm(connection.detach(), name="swtpm", pause=pause)
Tpm.open = connected
from twocvm_guest.main import main
main()
"""


def test_command_serves_it(tmp_path: Path) -> None:
    """`guest serve --platform azure` has no VEK to hand over: who connects finds it, and proves the guest."""
    require_swtpm()
    simulated = launch(host_data=bytes(32), measurement=MEASUREMENT)
    verifier = SnpVerifier(
        roots=simulated_roots(simulated.root_pem), crls=NO_CRL, veks=lambda _report, _at: simulated.vek()
    )
    with AzureVtpm(tmp_path, simulated.report) as vtpm:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", SERVE, str(vtpm.socket)),
                *("guest", "serve", "--platform", "azure", "--listen", "127.0.0.1:0", "-o", "json"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
        )
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline() or b"{}")
            assert facts, process.communicate(timeout=10)
            assert (facts["platform"], facts["measurement"]) == ("azure", MEASUREMENT.hex())
            expectation = Expectation(
                manifest=World().manifest, policy=policy(require_levels=ENOUGH), verifier=verifier, unlocked_ok=True
            )
            with AttestedConnection.open(
                facts["listen"],
                expectation=expectation,
                identity=None,
                clock=SystemClock(),
                randomness=secrets.token_bytes,
            ) as connection:
                assert connection.proof.verified.boot
                assert connection.proof.verified.report.vmpl == 0
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0
