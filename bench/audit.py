"""What an audit log costs: records that are durable, in a crowd and one after the other, against the disk alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.ratio import Ratio, interleaved, seconds
from tests.support.audit_logs import auditing, verdict

ROUNDS = 7
RECORDS = 400
CROWD = 64


def run() -> Iterable[Ratio]:
    """Compare a crowd's records with as many writes that each wait for the disk, in the same folder."""
    # Beside this file: a folder for temporary files may be memory.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        plain = os.open(Path(folder) / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with auditing(Path(folder) / "audit") as log, ThreadPoolExecutor(CROWD) as crowd:

            def record(number: int) -> None:
                log.record(verdict(f"r-{number}")).result()

            def recorded() -> None:
                list(crowd.map(record, range(RECORDS)))

            def synced() -> None:
                for _ in range(RECORDS):
                    os.write(plain, b"x" * 500)
                    os.fdatasync(plain)

            recorded()
            ratio = interleaved(recorded, synced, rounds=ROUNDS)
            each = seconds(recorded) / RECORDS
        os.close(plain)
    yield Ratio(
        name="durable audit records a second, to plain synced writes",
        value=ratio,
        at_least=0.5,
        detail=f"crowd of {CROWD}: {each * 1e6:.0f} us a record here",
    )
