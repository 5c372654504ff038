"""A crowd that wants one unknown chip: how often the service is asked, when it answers and when it fails.

The service is a real HTTP server on this machine. What came is then changed by one bit, in the store and on the wire,
and must be refused: a client that asks once and believes anything is no client.
"""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.amd import AT, fake_amd
from tests.support.fake_kds import FakeKds, Mode, collateral_of, source_of

from twocvm_verifier.collateral import vcek_names
from twocvm_verifier.errors import CollateralError
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report

from .ratio import Ratio, interleaved

THREADS = 64
ROUNDS = 11
AMD = fake_amd(Product.GENOA)
REPORT = parse_report(AMD.report())
NAME = vcek_names(REPORT)[0]
VCEK = AMD.vcek()


def run() -> tuple[Ratio, ...]:
    right, failing = requests_of_a_crowd(Mode.RIGHT), requests_of_a_crowd(Mode.BROKEN)
    flipped = [bytes([*VCEK[:at], VCEK[at] ^ 1, *VCEK[at + 1 :]]) for at in range(8, len(VCEK), len(VCEK) // 40)]
    refused = sum(is_refused(der) for der in flipped) / len(flipped)
    return (
        Ratio(name="KDS requests of 64 threads for one unknown chip", value=right, at_most=1.0),
        Ratio(name="KDS requests of 64 threads, the service failing", value=failing, at_most=1.0),
        Ratio(name="a VCEK from the store / a VCEK from a service next door", value=store_against_wire(), at_least=1.0),
        Ratio(name="VCEKs with one bit flipped that are refused", value=refused, at_least=1.0),
    )


def requests_of_a_crowd(mode: Mode) -> float:
    """Return how many requests reach the service when all threads ask at the same moment."""
    with tempfile.TemporaryDirectory() as folder, FakeKds.serving({NAME.kds_path: VCEK}, mode=mode) as kds:
        kds.delay_seconds = 0.1
        collateral = collateral_of(Path(folder), AMD.roots(), source_of(kds))
        begun = threading.Barrier(THREADS)

        def ask(_: int) -> None:
            begun.wait()
            try:
                collateral.vek_of(REPORT, at=AT)
            except CollateralError:
                if mode is Mode.RIGHT:
                    raise

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(ask, range(THREADS)))
        return float(len(kds.asked))


def store_against_wire() -> float:
    """Return how much quicker the store is than a service on this machine, both verified."""
    with tempfile.TemporaryDirectory() as folder, FakeKds.serving({NAME.kds_path: VCEK}) as kds:
        kept = collateral_of(Path(folder) / "kept", AMD.roots(), source_of(kds))
        kept.vek_of(REPORT, at=AT)
        fresh = iter(range(10_000))

        def fetch() -> None:
            collateral_of(Path(folder) / str(next(fresh)), AMD.roots(), source_of(kds)).vek_of(REPORT, at=AT)

        return interleaved(lambda: kept.vek_of(REPORT, at=AT), fetch, rounds=ROUNDS)


def is_refused(der: bytes) -> bool:
    """Whether a changed certificate is taken neither from a service nor from the store."""
    with tempfile.TemporaryDirectory() as folder, FakeKds.serving({NAME.kds_path: der}) as kds:
        collateral = collateral_of(Path(folder), AMD.roots(), source_of(kds))
        place = Path(folder) / NAME.file_name
        place.parent.mkdir(parents=True)
        place.write_bytes(der)
        try:
            collateral.vek_of(REPORT, at=AT)
        except CollateralError as error:
            return error.code == "FETCH_WRONG" and len(kds.asked) == 1
        return False


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
