"""Genuine evidence: every real report is authentic, and every tampered one is refused."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from tests.support.amd import pem
from tests.support.vectors import ROOT, genuine_reports, negative_files, require_vectors
from tests.support.vek_agreement import assert_agreement

from twocvm_verifier import Policy, SnpVerifier, amd_roots, appraise
from twocvm_verifier.errors import MalformedError, RevokedError, TwoCvmError
from twocvm_verifier.result import Status
from twocvm_verifier.snp.report import SIGNED_BYTES, parse_report
from twocvm_verifier.snp.vek import parse_vek

VERIFIER = SnpVerifier(roots=amd_roots())
REPORTS = genuine_reports()
MUTATIONS = 2000
ids = [vector.name for vector in REPORTS]


def test_vectors_are_here():
    """Says visibly, on a machine without genuine evidence, that this file tested nothing."""
    require_vectors()
    assert {vector.meta["product"] for vector in REPORTS} == {"Milan", "Genoa", "Turin"}
    assert {vector.meta["version"] for vector in REPORTS} == {2, 3, 5}


@pytest.mark.parametrize("vector", REPORTS, ids=ids)
def test_genuine_report_is_authentic(vector):
    """It verifies to AMD's roots with its VEK alone, and with the chain that its host sends along."""
    verified = VERIFIER.verify(vector.report, vek=vector.vek, at=vector.at)
    chain = pem(vector.intermediate) + pem(vector.root)
    assert VERIFIER.verify(vector.report, vek=vector.vek, at=vector.at, chain=chain) == verified


@pytest.mark.parametrize("vector", REPORTS, ids=ids)
def test_genuine_report_says_what_its_record_says(vector):
    """Fields are read from where others, who recorded them, read them."""
    verified = VERIFIER.verify(vector.report, vek=vector.vek, at=vector.at)
    report, meta = verified.report, vector.meta
    for name in ("reported_tcb", "current_tcb", "committed_tcb", "launch_tcb"):
        assert getattr(report, name).hex() == meta[name], name
    for name in ("report_data", "measurement", "host_data"):
        assert getattr(report, name).hex() == meta[name], name
    assert (hex(report.policy), hex(report.platform_info)) == (meta["policy"], meta["platform_info"])
    assert (report.version, report.vmpl, verified.product) == (meta["version"], meta["vmpl"], meta["product"])
    assert verified.vek.vek.kind == meta["signer"]
    assert verified.vek.vek.sha256.hex() == meta["vek_sha256"]


@pytest.mark.parametrize("vector", REPORTS, ids=ids)
def test_builtin_policy_finds_what_the_report_shows(vector):
    """DEBUG and any VMPL but 0 are found on genuine evidence too, and nowhere else."""
    verified = VERIFIER.verify(vector.report, vek=vector.vek, at=vector.at)
    found = {c.code for c in appraise(verified, policy=Policy.builtin(), at=vector.at).findings}
    assert ("DEBUG_ALLOWED" in found) == bool(int(vector.meta["policy"], 16) & 1 << 19)
    assert ("VMPL_REFUSED" in found) == (vector.meta["vmpl"] != 0)
    assert ("FIRMWARE_PROVISIONAL" in found) == (vector.meta["committed_tcb"] != vector.meta["current_tcb"])


@pytest.mark.parametrize("vector", REPORTS, ids=ids)
def test_own_reading_of_a_vek_agrees_with_the_library(vector):
    """While the library still reads AMD's serial number 0, both read the same of every genuine VEK."""
    assert_agreement(parse_vek(vector.vek), vector.vek)


def test_one_chips_key_signs_no_other_chips_report():
    """Every report with every other chip's VEK is refused."""
    require_vectors()
    for vector in REPORTS:
        for other in REPORTS:
            if other.meta["vek_sha256"] != vector.meta["vek_sha256"] and other.vek != vector.vek:
                with pytest.raises(TwoCvmError):
                    VERIFIER.verify(vector.report, vek=other.vek, at=vector.at)


@pytest.mark.parametrize("path", negative_files(), ids=lambda path: path.name)
def test_tampered_evidence_is_refused(path):
    """Tampered reports and VCEKs that others published, under every genuine key and report."""
    raw = path.read_bytes()
    for vector in REPORTS:
        pair = {"report": raw, "vek": vector.vek} if path.suffix == ".bin" else {"report": vector.report, "vek": raw}
        with pytest.raises(TwoCvmError):
            VERIFIER.verify(pair["report"], vek=pair["vek"], at=vector.at)


def test_revoked_intermediate_is_refused_by_name():
    """Genoa's first ASK, which AMD revoked, is refused as revoked when evidence brings it."""
    folder = require_vectors()
    revoked = (folder / "snp/_negative/genoa_ask_serial_020001_REVOKED.der").read_bytes()
    vector = next(vector for vector in REPORTS if vector.meta["product"] == "Genoa")
    with pytest.raises(RevokedError) as caught:
        VERIFIER.verify(vector.report, vek=vector.vek, at=vector.at, chain=pem(revoked) + pem(vector.root))
    assert caught.value.code == "CHAIN_REVOKED"


def test_random_mutations_are_refused():
    """2000 reports and VEKs with one bit or one byte changed, each refused with one of our errors.

    The seed is fixed, so a failure can be looked at again.
    """
    require_vectors()
    dice = random.Random(20260610)  # noqa: S311 - which bit is flipped is no secret
    for _ in range(MUTATIONS):
        vector = dice.choice(REPORTS)
        parts = {"report": vector.report, "vek": vector.vek}
        name = dice.choice(("report", "vek"))
        changed = bytearray(parts[name])
        # Beyond the signed part and the signature a report is zero; those bytes are mutated as well.
        offset = dice.randrange(len(changed))
        changed[offset] ^= dice.choice([1 << dice.randrange(8), dice.randrange(1, 256)])
        parts[name] = bytes(changed)
        with pytest.raises(TwoCvmError):
            VERIFIER.verify(parts["report"], vek=parts["vek"], at=vector.at)


def test_example_report_is_authentic_and_has_debug_set():
    """The report that ships with the project: exit 11, for DEBUG, and for nothing else."""
    folder = ROOT / "examples" / "genuine"
    at = datetime(2026, 11, 22, tzinfo=UTC)
    verified = VERIFIER.verify((folder / "report.bin").read_bytes(), vek=(folder / "vcek.der").read_bytes(), at=at)
    appraisal = appraise(verified, policy=Policy.builtin(), at=at)
    assert [check.code for check in appraisal.checks if check.status is Status.FAIL] == ["DEBUG_ALLOWED"]
    assert appraisal.exit_status == 11


def test_every_bit_of_the_example_is_signed_or_reserved():
    """Each bit of the shipped report, flipped alone, is refused; no vectors are needed for this one."""
    folder = ROOT / "examples" / "genuine"
    report, vek = (folder / "report.bin").read_bytes(), (folder / "vcek.der").read_bytes()
    at = datetime(2026, 11, 22, tzinfo=UTC)
    for position in range(0, SIGNED_BYTES * 8, 13):
        changed = bytearray(report)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(TwoCvmError):
            VERIFIER.verify(bytes(changed), vek=vek, at=at)
    for offset in range(SIGNED_BYTES, len(report)):
        changed = bytearray(report)
        changed[offset] ^= 0x80
        with pytest.raises(TwoCvmError):
            VERIFIER.verify(bytes(changed), vek=vek, at=at)


def test_example_report_parses_only_as_what_it_is():
    """The shipped report relabelled as any other version is malformed or not its chip's."""
    report = (ROOT / "examples" / "genuine" / "report.bin").read_bytes()
    for version in (0, 1, 6, 7):
        with pytest.raises(MalformedError):
            parse_report(version.to_bytes(4, "little") + report[4:])
