"""Verifying reports, against the bare signature verifications of the same library that it cannot do without.

Both sides verify the same 32 distinct reports, in turn, and the fastest turn of each counts. Every measurement is
followed by the same with one bit flipped in each report or certificate, which must be refused: a fast verifier that
accepts anything is no verifier.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Thread

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tests.support.amd import AT, FakeAmd, fake_amd, signature_of

from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import SIGNED_BYTES
from twocvm_verifier.snp.roots import PSS, SHA384
from twocvm_verifier.snp.vek import parse_vek
from twocvm_verifier.verifier import MAX_KNOWN_REPORTS, SnpVerifier

from .ratio import Ratio, fastest

# More than a verifier remembers, so that none is known when its turn comes again.
REPORTS = 2 * MAX_KNOWN_REPORTS
ROUNDS = 64
THREADS = 2
MOST_THREAD_ROUNDS = 96
# The project's own bounds: what is not a signature may take a tenth of the time, or a quarter where a VEK is new.
KNOWN_AT_LEAST = 0.90
NEW_AT_LEAST = 0.75
CORES_AT_LEAST = 1.7
# Each takes about as long as the verification of a report.
HASHES = REPORTS * 4
HASHED = bytes(200_000)
ECDSA = ec.ECDSA(hashes.SHA384())


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A report with the certificate of its key, and the same for the bare verification."""

    report: bytes
    vek: bytes
    key: ec.EllipticCurvePublicKey
    signature: bytes

    def bare_p384(self) -> None:
        """Verify the report's signature and nothing else."""
        self.key.verify(self.signature, self.report[:SIGNED_BYTES], ECDSA)


def run() -> Iterator[Ratio]:
    amd = fake_amd(Product.GENOA)
    yield from known_chain(amd)
    yield from two_threads(amd)
    yield from new_veks(amd)


def known_chain(amd: FakeAmd) -> Iterator[Ratio]:
    evidence, verifier = [_evidence(amd, number) for number in range(REPORTS)], SnpVerifier(roots=amd.roots())

    def ours() -> None:
        for each in evidence:
            verifier.verify(each.report, vek=each.vek, at=AT)

    def theirs() -> None:
        for each in evidence:
            each.bare_p384()

    value = fastest(ours, theirs, rounds=ROUNDS)
    yield Ratio(name="verify, known chain / bare P-384", value=value, at_least=KNOWN_AT_LEAST)
    yield _refused(verifier, _flipped_reports(evidence), "reports with a bit flipped that are refused")


def two_threads(amd: FakeAmd) -> Iterator[Ratio]:
    """How many cores two threads use; the best round counts, for whatever else runs here only takes cores away.

    What two threads get that do nothing but hash, and so hold no lock at all, is shown beside it.
    """
    evidence, verifier = [_evidence(amd, number) for number in range(REPORTS)], SnpVerifier(roots=amd.roots())

    def work() -> None:
        for each in evidence * 4:
            verifier.verify(each.report, vek=each.vek, at=AT)

    rounds, free = [_cores(work)], [_cores(_hash)]
    while max(rounds) < CORES_AT_LEAST and len(rounds) < MOST_THREAD_ROUNDS:
        rounds.append(_cores(work))
        free.append(_cores(_hash))
    detail = f"median {statistics.median(rounds):.2f}, where hashing gets {statistics.median(free):.2f}"
    yield Ratio(name="verify, cores that two threads use", value=max(rounds), at_least=CORES_AT_LEAST, detail=detail)
    yield _refused(verifier, _flipped_reports(evidence), "reports with a bit flipped that are refused")


def new_veks(amd: FakeAmd) -> Iterator[Ratio]:
    """Every report comes from a chip that was never seen before."""
    chips = [replace(amd, keys=replace(amd.keys, vek=ec.generate_private_key(ec.SECP384R1()))) for _ in range(REPORTS)]
    evidence = [_evidence(chip, number) for number, chip in enumerate(chips)]
    certificates = {each.vek: parse_vek(each.vek) for each in evidence}
    roots, issuer = amd.roots(), amd.keys.ask.public_key()

    def ours() -> None:
        verifier = SnpVerifier(roots=roots)
        for each in evidence:
            verifier.verify(each.report, vek=each.vek, at=AT)

    def theirs() -> None:
        for each in evidence:
            certificate = certificates[each.vek]
            issuer.verify(certificate.signature, certificate.tbs, PSS, SHA384)
            each.bare_p384()

    value = fastest(ours, theirs, rounds=ROUNDS)
    yield Ratio(name="verify, every VEK new / bare P-384 and RSA-4096", value=value, at_least=NEW_AT_LEAST)
    verifier = SnpVerifier(roots=roots)
    flipped = [replace(each, vek=_flip(each.vek, number * 331)) for number, each in enumerate(evidence)]
    yield _refused(verifier, flipped, "VEKs with a bit flipped that are refused")


def _evidence(amd: FakeAmd, number: int) -> Evidence:
    report = amd.report(report_data=number.to_bytes(64, "big"))
    signature = encode_dss_signature(*signature_of(report))
    return Evidence(report=report, vek=_vek_of(amd), key=amd.keys.vek.public_key(), signature=signature)


_VEKS: dict[ec.EllipticCurvePrivateKey, bytes] = {}


def _vek_of(amd: FakeAmd) -> bytes:
    # PSS is randomised: asked twice, the same chip would have two certificates.
    if amd.keys.vek not in _VEKS:
        _VEKS[amd.keys.vek] = amd.vcek()
    return _VEKS[amd.keys.vek]


def _hash() -> None:
    for _ in range(HASHES):
        hashlib.sha512(HASHED).digest()


def _cores(work) -> float:
    threads = [Thread(target=work) for _ in range(THREADS)]
    wall, busy = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - busy) / (time.perf_counter() - wall)


def _flipped_reports(evidence: list[Evidence]) -> Iterator[Evidence]:
    return (replace(each, report=_flip(each.report, number * 169)) for number, each in enumerate(evidence))


def _flip(raw: bytes, bit: int) -> bytes:
    # What follows 0x29F in a report is its signature, and a shorter run of a certificate is as good as all of it.
    bit %= SIGNED_BYTES * 8
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _refused(verifier: SnpVerifier, evidence: Iterable[Evidence], name: str) -> Ratio:
    refused = 0
    for each in evidence:
        try:
            verifier.verify(each.report, vek=each.vek, at=AT)
        except TwoCvmError:
            refused += 1
    return Ratio(name=name, value=refused / REPORTS, at_least=1.0)
