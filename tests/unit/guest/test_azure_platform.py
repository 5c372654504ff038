"""A guest on an Azure VM: what its vTPM gives is bound, verified, and refused where it is not Azure's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.amd import AT, fake_amd
from tests.support.azure import hcl_report, runtime_data
from tests.support.swtpm import AzureVtpm, require_swtpm

from twocvm_guest.doctor import examine
from twocvm_guest.platforms import azure as module
from twocvm_guest.platforms import detect
from twocvm_guest.platforms.attester import Attester
from twocvm_guest.platforms.azure import AzurePlatform
from twocvm_guest.platforms.device import DeviceError
from twocvm_guest.platforms.tpm import SignedQuote, Tpm
from twocvm_verifier import SnpVerifier, framing
from twocvm_verifier.azure.verify import VerifiedAzureReport, quoted_of
from twocvm_verifier.binding import NOT_LOCKED, LogPosition, cert_claims
from twocvm_verifier.errors import UnsupportedError

AMD = fake_amd()
CLAIMS = cert_claims(spki_sha256=bytes(32), manifest=NOT_LOCKED, log=LogPosition(head=bytes(32), events=1))


@pytest.fixture(scope="module")
def vtpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureVtpm]:
    """A vTPM as Azure sets one up."""
    require_swtpm()
    with AzureVtpm(tmp_path_factory.mktemp("tpm"), lambda data: AMD.report(report_data=data)) as running:
        yield running


def verified(platform: AzurePlatform) -> VerifiedAzureReport:
    """Return what a verifier makes of fresh evidence."""
    bound = CLAIMS.report_data()
    quoted = quoted_of(platform.quote(bound), claims=CLAIMS.encode())
    found = SnpVerifier(roots=AMD.roots()).verify(platform.report(bound), vek=AMD.vcek(), at=AT, quoted=quoted)
    assert isinstance(found, VerifiedAzureReport)
    return found


def test_claims_are_bound_by_the_vtpm(vtpm: AzureVtpm) -> None:
    """From the chip's signature to the 64 bytes, over a real TPM's own quote."""
    with closing(vtpm.platform()) as platform:
        attester: Attester = platform
        found = verified(platform)
        assert found.bound_data == CLAIMS.report_data()
        assert platform.report(bytes(64)) == platform.report(CLAIMS.report_data())
        assert (attester.vek(), attester.chain(), attester.crl()) == (None, None, None)
        assert (attester.name, platform.way) == ("azure", "swtpm")


def test_extended_pcr_is_quoted(vtpm: AzureVtpm) -> None:
    """What the guest's kernel measures shows in the next quote, of the same start of the guest."""
    with closing(vtpm.platform()) as platform:
        before = verified(platform)
    vtpm.extend(23)
    with closing(vtpm.platform()) as platform:
        after = verified(platform)
    assert before.member.pcrs[23] != after.member.pcrs[23]
    assert before.member.pcrs[:23] == after.member.pcrs[:23]
    assert before.boot == after.boot


@pytest.mark.parametrize("data", [b"", bytes(63), bytes(65)])
def test_64_bytes_are_bound(vtpm: AzureVtpm, data: bytes) -> None:
    """Another length is a mistake of the caller's."""
    with closing(vtpm.platform()) as platform:
        for ask in (platform.report, platform.quote):
            with pytest.raises(ValueError, match="64"):
                ask(data)


def test_index_of_another_kind_is_no_platform(vtpm: AzureVtpm) -> None:
    """What is no HCL report, no report, no runtime data, not of each other or not the paravisor's, starts no guest."""
    assert vtpm.key is not None
    runtime = runtime_data(vtpm.key)
    good = hcl_report(AMD.report(report_data=bytes(64)), runtime, padding_bytes=0)
    digest = framing.sha256(runtime)
    wrong = (
        b"HCLB" + good[4:],
        hcl_report(bytes(1184), runtime),
        hcl_report(AMD.report(), b"{}"),
        good,
        hcl_report(AMD.report(report_data=digest + bytes(31) + b"\x01"), runtime),
        hcl_report(AMD.report(report_data=digest + bytes(32), vmpl=1), runtime),
    )
    content = vtpm.tpm()
    with closing(content) as tpm:
        kept = tpm.nv_read(module.HCL_REPORT_INDEX)
    for other in wrong:
        vtpm.write(other)
        with pytest.raises(DeviceError) as refusal:
            vtpm.platform()
        assert refusal.value.code == "DEVICE_ANSWER"
    vtpm.write(kept)


class LyingTpm:
    """A TPM between the guest and the real one."""

    name = "lying"

    def __init__(self, tpm: Tpm, **answers: Any) -> None:
        self._tpm = tpm
        self._answers = answers

    def nv_read(self, index: int) -> bytes:
        return self._tpm.nv_read(index)

    def pcrs(self, count: int) -> tuple[bytes, ...]:
        return self._answers.get("pcrs") or self._tpm.pcrs(count)

    def quote(self, key: int, *, extra_data: bytes, pcrs: int) -> SignedQuote:
        change = self._answers.get("quote", lambda quote: quote)
        signed = self._tpm.quote(key, extra_data=self._answers.get("extra_data", extra_data), pcrs=pcrs)
        return SignedQuote(quote=change(signed.quote), signature=signed.signature + self._answers.get("more", b""))


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({"quote": lambda quote: quote + b"\x00"}, "DEVICE_ANSWER"),
        ({"extra_data": bytes(32)}, "DEVICE_ANSWER"),
        ({"more": b"\x00"}, "DEVICE_ANSWER"),
        ({"pcrs": (bytes(32),) * 24}, "DEVICE_DISTURBED"),
    ],
)
def test_quote_of_something_else_is_not_handed_on(vtpm: AzureVtpm, lie: dict[str, Any], code: str) -> None:
    """A quote that nobody could accept is an error here, where it can be told what went wrong."""
    with closing(vtpm.tpm()) as tpm, pytest.raises(DeviceError) as refusal:
        AzurePlatform(LyingTpm(tpm, **lie)).quote(bytes(64))  # type: ignore[arg-type]
    assert refusal.value.code == code


def test_azure_is_found_where_there_is_no_other(vtpm: AzureVtpm, tmp_path: Path) -> None:
    """A machine without SNP devices is asked for a vTPM; one with a device that is refused says that."""

    def none() -> Any:
        raise DeviceError("NO_PLATFORM", "no device")

    def denied() -> Any:
        raise DeviceError("DEVICE_DENIED", "not for you")

    with closing(detect.open_any({"a": none}, azure=vtpm.platform)) as found:
        assert found.name == "azure"
    for devices, azure, code in (
        ({"a": none}, none, "NO_PLATFORM"),
        ({"a": denied}, none, "DEVICE_DENIED"),
        ({"a": denied}, vtpm.platform, "DEVICE_DENIED"),
    ):
        with pytest.raises(UnsupportedError) as refusal:
            detect.open_any(devices, azure=azure)
        assert refusal.value.code == code
    assert detect.look_at_azure(vtpm.platform)[0]
    usable, told = detect.look_at_azure(none)
    assert not usable
    assert "NO_PLATFORM" in told


def test_vtpm_is_let_go_where_it_is_none_of_azures(monkeypatch: pytest.MonkeyPatch, vtpm: AzureVtpm) -> None:
    """The device is closed again, and the refusal is the TPM's own."""
    closed = []

    class Other(Tpm):
        def nv_read(self, index: int) -> bytes:
            raise DeviceError("DEVICE_REFUSED", "no such index")

        def close(self) -> None:
            closed.append(True)
            super().close()

    monkeypatch.setattr(module.Tpm, "open", lambda *, pause: Other(vtpm.connect(), name="other", pause=pause))
    with pytest.raises(DeviceError) as refusal:
        module.open_azure()
    assert (refusal.value.code, closed) == ("DEVICE_REFUSED", [True])
    monkeypatch.setattr(module.Tpm, "open", vtpm.tpm)
    with closing(module.open_azure()) as platform:
        assert platform.name == "azure"


def test_doctor_names_it() -> None:
    """Whether it is here or not, and why."""
    (found,) = [row for row in examine() if row.name.startswith("platform azure")]
    assert found.value or found.advice
