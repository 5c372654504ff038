"""A guest whose host has no certificates: evidence comes without a VEK, and who judges finds one or cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.support.attested_guest import NO_CRL, Scene, policy
from tests.support.fake_kds import FakeKds, Mode
from tests.support.guest import LiveGuest
from tests.support.manifests import AT, World
from tests.support.simulated import chip

from twocvm_guest.platforms.attester import Attester
from twocvm_sdk import local_verifier
from twocvm_sdk.cli.revocation import found_veks
from twocvm_verifier.appraisal import Question, VekSource, completed, no_veks
from twocvm_verifier.appraisal.delegated import Word, judge_by_word
from twocvm_verifier.collateral import vcek_names
from twocvm_verifier.errors import CollateralError, HandshakeError, NotFoundError, TwoCvmError
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.result import Verdict
from twocvm_verifier.snp.report import Report, parse_report
from twocvm_verifier.snp.roots import amd_roots, simulated_roots

GENUINE = Path(__file__).parents[2] / "examples" / "genuine"
REPORT, VCEK = parse_report((GENUINE / "report.bin").read_bytes()), (GENUINE / "vcek.der").read_bytes()


class Bare:
    """A platform whose host hands over no certificate."""

    def __init__(self, platform: Attester) -> None:
        self.name, self.report, self.quote = platform.name, platform.report, platform.quote

    def vek(self) -> None:
        """Return none."""

    def chain(self) -> None:
        """Return none."""

    def crl(self) -> None:
        """Return none."""


@pytest.fixture(scope="module")
def guest() -> Iterator[LiveGuest]:
    """A locked guest whose host has no certificates."""
    with LiveGuest(World(), device=Bare) as guest:
        guest._verifier = _verifier(guest, lambda _, __: guest.platform.vek())
        guest.lock()
        yield guest


def _verifier(guest: LiveGuest, veks: VekSource):
    return local_verifier(roots=simulated_roots(guest.platform.root_pem), crls=NO_CRL, veks=veks)


def test_session_with_a_vek_that_was_found(guest: LiveGuest) -> None:
    """Certificate and channel are judged with a VEK that the participant finds, asked for by the report."""
    asked: list[tuple[Report, datetime]] = []

    def find(report: Report, at: datetime) -> bytes:
        asked.append((report, at))
        return guest.platform.vek()

    guest._verifier = _verifier(guest, find)
    with guest.connect("hospital-a") as client:
        assert client.get("/v1/session").status_code == 200
    assert [report.chip_id for report, _ in asked] == [parse_report(guest.platform.report(bytes(64))).chip_id] * 2
    assert {at for _, at in asked} == {AT}


def test_nobody_has_it(guest: LiveGuest) -> None:
    """Without a VEK the evidence cannot be judged, which is said and is no refusal."""
    guest._verifier = _verifier(guest, no_veks)
    with pytest.raises(HandshakeError) as refused:
        guest.connect("hospital-a")
    assert (refused.value.code, refused.value.exit_status) == ("VEK_MISSING", 40)


def test_another_chips_vek_is_found(guest: LiveGuest) -> None:
    """What is found is verified like what comes along: another chip's is refused."""
    guest._verifier = _verifier(guest, lambda _, __: chip(1).certificates.vcek_der)
    with pytest.raises(HandshakeError) as refused:
        guest.connect("hospital-a")
    assert refused.value.exit_status == 10


def test_evidence_is_completed_or_not() -> None:
    """A question that has a VEK stays as it is; one without is not judged by anybody's word either."""
    scene = Scene()
    bare = Evidence(report=scene.platform.report(bytes(64)), claims=b"claims")
    question = Question(evidence=bare, report_data=bytes(64), manifest=scene.world.manifest, policy=policy())
    whole = completed(question, veks=lambda _, __: b"vek", at=AT)
    assert (whole.vek, whole.evidence.report) == (b"vek", bare.report)
    assert completed(whole, veks=no_veks, at=AT) is whole
    word = Word(
        verifier="somebody", verdict=Verdict.AFFIRMING, code="VERIFIER_REFUSED", token_sha256=bytes(32), until=AT
    )
    with pytest.raises(NotFoundError) as missing:
        judge_by_word(question, word, simulated_ok=True, at=AT)
    assert missing.value.code == "VEK_MISSING"


def test_command_finds_it_at_amd_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command asks KDS for the VCEK of the report, keeps it, and the next one finds it without asking."""
    name = vcek_names(REPORT)[0]
    with FakeKds.serving({name.kds_path: VCEK}) as kds:
        monkeypatch.setenv("TWOCVM_KDS", kds.url)
        monkeypatch.delenv("TWOCVM_MIRROR", raising=False)
        for fetching in (True, True, False):
            assert found_veks(tmp_path, roots=amd_roots(), fetching=fetching)(REPORT, AT) == VCEK
        assert kds.asked == [name.kds_path]


@pytest.mark.parametrize(("fetching", "code"), [(True, "FETCH_FAILED"), (False, "COLLATERAL_NOT_FOUND")])
def test_command_cannot_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fetching: bool, code: str) -> None:
    """Where AMD does not answer, or is not to be asked, nobody can judge now."""
    with FakeKds.serving({}, mode=Mode.BROKEN) as kds:
        monkeypatch.setenv("TWOCVM_KDS", kds.url)
        monkeypatch.delenv("TWOCVM_MIRROR", raising=False)
        with pytest.raises(CollateralError) as missing:
            found_veks(tmp_path, roots=None, fetching=fetching)(REPORT, AT)
    assert isinstance(missing.value, TwoCvmError)
    assert (missing.value.code, missing.value.exit_status) == (code, 40)
