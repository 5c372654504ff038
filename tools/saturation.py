"""`make saturation`: the verifier service at saturation for MINUTES=10, with failures in the middle.

It ends with 1 where anything is wrong: a nonce that is good twice, a verdict that is, an answer that no client should
get or a request that has none, a source that gets more connections than its share, memory that grows by more than a
twentieth once it is warm, or a hundredth of the answers that took ten times the median.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.support.saturation import Outcome, saturate

PROCESSES: Final = 3
THREADS: Final = 8
MAX_GROWTH: Final = 1.05
MAX_TAIL: Final = 10.0
# In shorter runs a process still takes, when the first samples count, what it then has for good.
WARM_SECONDS: Final = 240.0


def main() -> int:
    """Run it, print what came of it, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    missing = [name for name in ("haproxy", "redis-server") if shutil.which(name) is None]
    if missing:
        print(f"skipped: needs {' and '.join(missing)}")
        return 0
    began = time.monotonic()
    # Beside this file: a folder for temporary files may be memory, and the audit logs want a disk.
    place = Path(__file__).parents[1] / "build"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        outcome = saturate(
            Path(folder),
            seconds=arguments.minutes * 60,
            processes=PROCESSES,
            threads=THREADS,
            report=lambda text: print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True),
        )
    wrong = [*outcome.wrong, *_misses(outcome)]
    _print(outcome)
    print("\n".join(f"WRONG: {line}" for line in wrong[:50]) or "nothing is wrong")
    return 1 if wrong else 0


def _misses(outcome: Outcome) -> list[str]:
    growth = outcome.growth.items() if outcome.seconds >= WARM_SECONDS else ()
    missed = [f"memory of {name}: {grown:.3f} of what it was" for name, grown in growth if grown > MAX_GROWTH]
    if outcome.p99 >= MAX_TAIL * outcome.p50:
        missed.append(f"p99 is {outcome.p99 / outcome.p50:.1f} times p50")
    return missed


def _print(outcome: Outcome) -> None:
    tally = outcome.tally
    for (what, status, code), count in sorted(tally.answers.items()):
        print(f"{what:8} {status} {code:20} {count:8}")
    print(
        f"verdicts {dict(tally.verdicts)}, for {len(tally.accepted)} nonces; "
        f"connections that broke: {dict(Counter(what for what, _ in tally.broken))}"
    )
    print(
        f"{len(tally.seconds) / outcome.seconds:.0f} answers of use a second; p50 {outcome.p50 * 1e3:.1f} ms, "
        f"p99 {outcome.p99 * 1e3:.1f} ms, {outcome.p99 / outcome.p50:.1f} times; longest gap {tally.longest_gap:.1f} s"
    )
    print(
        "memory at the end, to what it was: "
        + ", ".join(f"{name} {grown:.3f}" for name, grown in outcome.growth.items())
    )


if __name__ == "__main__":
    sys.exit(main())
