"""`make bench`: run every benchmark, print its ratios, and end with 1 when one misses its bound."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

NOT_BENCHMARKS = {"ratio", "evaluation"}


def main() -> int:
    """Run the benchmarks named as arguments, or all."""
    found = sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if not m.name.startswith("_"))
    names = sys.argv[1:] or [name for name in found if name not in NOT_BENCHMARKS]
    missed = 0
    for name in names:
        print(f"-- {name}", flush=True)
        for ratio in importlib.import_module(f"bench.{name}").run():
            missed += not ratio.holds
            print(ratio.line(), flush=True)
    print(f"{missed} missed" if missed else "every bound holds")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
