"""Verifying a report with a known chain, against the bare P-384 verification by the same library.

Both sides verify the same 32 distinct reports, one by one and in turn, so that whatever else the machine does falls on
single pairs, which the median leaves out. Every report is then verified with one bit flipped, and must be
refused: a fast verifier that accepts anything is no verifier.
"""

from __future__ import annotations

from itertools import cycle

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tests.support.amd import AT, fake_amd, signature_of

from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import SIGNED_BYTES
from twocvm_verifier.verifier import SnpVerifier

from .ratio import Ratio, interleaved

REPORTS = 32
ROUNDS = 64
# The project's own bound: what is not the signature may take a tenth of the time.
AT_LEAST = 0.90


def run() -> tuple[Ratio, ...]:
    amd = fake_amd(Product.GENOA)
    vek = amd.vcek()
    reports = [amd.report(report_data=number.to_bytes(64, "big")) for number in range(REPORTS)]
    verifier = SnpVerifier(roots=amd.roots())
    key, ecdsa = amd.keys.vek.public_key(), ec.ECDSA(hashes.SHA384())
    bare = [(encode_dss_signature(*signature_of(report)), report[:SIGNED_BYTES]) for report in reports]

    ours_next, theirs_next = cycle(reports), cycle(bare)

    def ours() -> None:
        verifier.verify(next(ours_next), vek=vek, at=AT)

    def theirs() -> None:
        key.verify(*next(theirs_next), ecdsa)

    ours(), theirs()
    value = interleaved(ours, theirs, rounds=REPORTS * ROUNDS)
    refused = sum(_refused(verifier, report, vek, bit=number * 169) for number, report in enumerate(reports))
    return (
        Ratio(name="verify, known chain / bare P-384 verification", value=value, at_least=AT_LEAST),
        Ratio(name="reports with one bit flipped that are refused", value=refused / REPORTS, at_least=1.0),
    )


def _refused(verifier: SnpVerifier, report: bytes, vek: bytes, *, bit: int) -> bool:
    position = bit % (SIGNED_BYTES * 8)
    changed = bytearray(report)
    changed[position // 8] ^= 1 << position % 8
    try:
        verifier.verify(bytes(changed), vek=vek, at=AT)
    except TwoCvmError:
        return True
    return False


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
