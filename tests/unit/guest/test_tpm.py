"""The guest's own TPM client: what a real TPM answers is read, and every other answer is an error."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.amd import fake_amd
from tests.support.azure import quote as tpm_quote
from tests.support.swtpm import AzureVtpm, require_swtpm

from twocvm_guest.platforms.azure import ATTESTATION_KEY, HCL_REPORT_INDEX
from twocvm_guest.platforms.device import PAUSES_SECONDS, DeviceError
from twocvm_guest.platforms.tpm import Tpm
from twocvm_verifier.azure.quote import parse_quote

AUTHORISATION = b"\x00\x00\x01\x00\x00"
SELECTION = struct.pack(">IHB", 1, 0x000B, 3)


def answered(parameters: bytes, *, status: int = 0, sessions: bool = False, size: int | None = None) -> bytes:
    """Return an answer's bytes."""
    if sessions:
        parameters = len(parameters).to_bytes(4, "big") + parameters + AUTHORISATION
    length = 10 + len(parameters) if size is None else size
    return struct.pack(">HII", 0x8002 if sessions else 0x8001, length, status) + parameters


def nv_public(size: int, *, index: int = HCL_REPORT_INDEX) -> bytes:
    """Return what NV_ReadPublic answers."""
    public = struct.pack(">IHIHH", index, 0x000B, 0x20006, 0, size)
    return answered(struct.pack(">H", len(public)) + public + b"\x00\x02nn")


def pcr_values(bits: bytes, *values: bytes) -> bytes:
    """Return what PCR_Read answers."""
    listed = b"".join(len(value).to_bytes(2, "big") + value for value in values)
    return answered(b"\x00\x00\x00\x01" + SELECTION + bits + len(values).to_bytes(4, "big") + listed)


def quoted(quote: bytes, *, scheme: int = 0x0014, digest: int = 0x000B) -> bytes:
    """Return what Quote answers."""
    signed = len(quote).to_bytes(2, "big") + quote + struct.pack(">HH", scheme, digest) + b"\x00\x02ss"
    return answered(signed, sessions=True)


@contextmanager
def scripted(*answers: bytes) -> Iterator[tuple[Tpm, list[float]]]:
    """Give a client with these answers lying ready for it, one a read, and the pauses that it makes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    paused: list[float] = []
    for answer in answers:
        theirs.send(answer)
    tpm = Tpm(ours.detach(), name="tpm", pause=paused.append)
    with closing(tpm), closing(theirs):
        yield tpm, paused


@pytest.fixture(scope="module")
def vtpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureVtpm]:
    """A software TPM with an HCL report."""
    require_swtpm()
    amd = fake_amd()
    with AzureVtpm(tmp_path_factory.mktemp("tpm"), lambda data: amd.report(report_data=data)) as running:
        yield running


def test_real_tpm_is_asked_for_all_four(vtpm: AzureVtpm) -> None:
    """An index longer than one answer, all PCRs, and a quote of them that says what it was asked for."""
    with closing(vtpm.tpm()) as tpm:
        content = tpm.nv_read(HCL_REPORT_INDEX)
        assert content.startswith(b"HCLA")
        assert len(content) > 1024
        pcrs = tpm.pcrs(24)
        assert len(pcrs) == 24
        signed = tpm.quote(ATTESTATION_KEY, extra_data=b"e" * 32, pcrs=24)
        assert parse_quote(signed.quote).extra_data == b"e" * 32
        assert len(signed.signature) == 256


@pytest.mark.parametrize(
    "ask",
    [
        lambda tpm: tpm.nv_read(0x01400009),
        lambda tpm: tpm.quote(0x81000009, extra_data=b"", pcrs=24),
        lambda tpm: tpm.quote(ATTESTATION_KEY, extra_data=bytes(200), pcrs=24),
    ],
    ids=["no such index", "no such key", "too much"],
)
def test_real_tpm_refuses_what_it_has_not(vtpm: AzureVtpm, ask: Any) -> None:
    """Its own error is said, and the next question is answered all the same."""
    with closing(vtpm.tpm()) as tpm:
        with pytest.raises(DeviceError) as refusal:
            ask(tpm)
        assert (refusal.value.code, refusal.value.fatal) == ("DEVICE_REFUSED", False)
        assert len(tpm.pcrs(1)) == 1


def test_machine_without_a_tpm_says_so(tmp_path: Path) -> None:
    """A device that is not there is no platform."""
    with pytest.raises(DeviceError) as refusal:
        Tpm.open(tmp_path / "tpmrm0", pause=lambda _: None)
    assert refusal.value.code == "NO_PLATFORM"


def test_device_is_opened_by_its_path(tmp_path: Path) -> None:
    """What is there is opened, and an answer that never comes is none."""
    path = tmp_path / "tpmrm0"
    path.touch()
    with closing(Tpm.open(path, pause=lambda _: None)) as tpm, pytest.raises(DeviceError) as refusal:
        tpm.pcrs(1)
    assert (tpm.name, refusal.value.code) == (str(path), "DEVICE_ANSWER")


GOOD_QUOTE = quoted(tpm_quote(extra_data=b"e"))
GOOD_PCRS = pcr_values(b"\x03\x00\x00", bytes(32), bytes(32))
# What looks like the authorisation is of the parameters, by their own size, and so there is none.
UNAUTHORISED = struct.pack(">HIII", 0x8002, 25, 0, 11) + b"\x00\x04abcd" + AUTHORISATION
ASK_NV = ("nv_read", (HCL_REPORT_INDEX,), {})
ASK_PCRS = ("pcrs", (2,), {})
ASK_QUOTE = ("quote", (ATTESTATION_KEY,), {"extra_data": b"e", "pcrs": 24})


@pytest.mark.parametrize(
    ("ask", "answers"),
    [
        (ASK_PCRS, [b"\x80\x01"]),
        (ASK_PCRS, [answered(b"", size=11)]),
        (ASK_PCRS, [answered(b"")]),
        (ASK_PCRS, [answered(b"", sessions=True)]),
        (ASK_PCRS, [pcr_values(b"\x00\x00\x00")]),
        (ASK_PCRS, [pcr_values(b"\x04\x00\x00", bytes(32))]),
        (ASK_PCRS, [pcr_values(b"\x03\x00\x00", bytes(32))]),
        (ASK_PCRS, [pcr_values(b"\x03\x00\x00", bytes(32), bytes(20))]),
        (ASK_PCRS, [answered(pcr_values(b"\x03\x00\x00", bytes(32), bytes(32))[10:] + b"\x00")]),
        (ASK_PCRS, [pcr_values(b"\x01\x00\x00", bytes(32)), pcr_values(b"\x01\x00\x00", bytes(32))]),
        (ASK_PCRS, [b"\x80\x03" + GOOD_PCRS[2:]]),
        (ASK_NV, [nv_public(4, index=1)]),
        (ASK_NV, [nv_public(4), UNAUTHORISED]),
        (ASK_NV, [nv_public(4), answered(b"\x00\x03abc", sessions=True)]),
        (ASK_NV, [nv_public(4), answered(b"\x00\x04abcd")]),
        (ASK_NV, [nv_public(4), answered(b"\x00\x04abcd", sessions=True)[:-1]]),
        (ASK_NV, [nv_public(4), answered(b"\x00\x04abcdx", sessions=True)]),
        (ASK_QUOTE, [quoted(b"q", scheme=0x0016)]),
        (ASK_QUOTE, [quoted(b"q", digest=0x000C)]),
        (ASK_QUOTE, [GOOD_QUOTE[:-1]]),
        (ASK_QUOTE, [struct.pack(">HII", 0x8002, len(GOOD_QUOTE) + 1, 0) + GOOD_QUOTE[10:] + b"\x00"]),
    ],
)
def test_answer_that_is_none_is_fatal(ask: Any, answers: list[bytes]) -> None:
    """Short, long, about something else or of another form: nothing is built on it."""
    name, positional, named = ask
    with scripted(*answers) as (tpm, _), pytest.raises(DeviceError) as refusal:
        getattr(tpm, name)(*positional, **named)
    assert (refusal.value.code, refusal.value.fatal) == ("DEVICE_ANSWER", True)


def test_answers_as_they_should_be_are_read() -> None:
    """PCRs that come in parts are put together; an empty index is empty."""
    parts = pcr_values(b"\x02\x00\x00", b"1" * 32), pcr_values(b"\x01\x00\x00", b"0" * 32)
    with scripted(*parts, nv_public(0), GOOD_QUOTE) as (tpm, _):
        assert tpm.pcrs(2) == (b"0" * 32, b"1" * 32)
        assert tpm.nv_read(HCL_REPORT_INDEX) == b""
        assert tpm.quote(ATTESTATION_KEY, extra_data=b"e", pcrs=24).signature == b"ss"


@pytest.mark.parametrize("status", [0x908, 0x90A, 0x922])
def test_busy_tpm_is_asked_again(status: int) -> None:
    """What passes is waited for, a bounded number of times."""
    busy, good = answered(b"", status=status), pcr_values(b"\x01\x00\x00", bytes(32))
    with scripted(busy, busy, good) as (tpm, paused):
        assert tpm.pcrs(1) == (bytes(32),)
        assert paused == list(PAUSES_SECONDS[:2])
    with scripted(*[busy] * 6) as (tpm, _), pytest.raises(DeviceError) as refusal:
        tpm.pcrs(1)
    assert refusal.value.code == "DEVICE_BUSY"


def test_device_that_fails_is_said() -> None:
    """An error of the kernel's is one of the device's."""
    reading, writing = os.pipe()
    os.close(writing)
    with closing(Tpm(reading, name="tpm", pause=lambda _: None)) as tpm, pytest.raises(DeviceError) as refusal:
        tpm.pcrs(1)
    assert refusal.value.code == "DEVICE_REFUSED"
