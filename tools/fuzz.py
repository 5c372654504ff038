"""Fuzz every parser of the verifier package for a bounded time.

    python -m tools.fuzz --seconds 60                              every target, by two processes
    python -m tools.fuzz --seconds 60 --target snp.vek.parse_vek   one of them
    python -m tools.fuzz build/fuzz/crash-...                      tries again what a finding left behind

The first byte of an input chooses its target, so that one process serves many. Ends with 1 where something was found.
Needs atheris, which is in no lock: without it nothing is fuzzed, and this says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

FOUND: Final = Path(__file__).parents[1] / "build" / "fuzz"
PROCESSES: Final = 2
MAX_INPUT_BYTES: Final = 8192
MEMORY_MB: Final = 2048
# One input that takes longer than this is a finding too.
MOST_SECONDS_AN_INPUT: Final = 5
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def main() -> int:
    """Fuzz what the arguments say, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--target", action="append", help="one target by name; may be given again")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("file", type=Path, nargs="?", help="try this input again, and nothing else")
    arguments = parser.parse_args()
    if arguments.file is not None:
        return _try_again(arguments.file)
    if importlib.util.find_spec("atheris") is None:
        print("skip: nothing is fuzzed, for atheris is not installed here", file=sys.stderr)
        return 0
    if arguments.corpus is not None:
        return _fuzz(arguments.corpus, seconds=arguments.seconds)
    return _fuzz_all(arguments.target, seconds=arguments.seconds)


def _fuzz_all(chosen: list[str] | None, *, seconds: int) -> int:
    """Share the targets between processes, say how it went, and return the exit status."""
    from tools.fuzz_seeds import seeds
    from tools.fuzz_targets import selector

    first = seeds()
    names = chosen or sorted(first)
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(PROCESSES) as pool:
        corpora = [Path(folder) / str(number) for number in range(min(PROCESSES, len(names)))]
        for number, corpus in enumerate(corpora):
            corpus.mkdir()
            for name in names[number::PROCESSES]:
                for count, seed in enumerate(first[name]):
                    (corpus / f"{name}-{count}").write_bytes(selector(name) + seed)
        outcomes = list(pool.map(lambda corpus: _in_its_own_process(corpus, seconds=seconds), corpora))
    executed = sum(int(found[1]) for _, said in outcomes if (found := _EXECUTED.search(said)))
    failed = [said for status, said in outcomes if status]
    print(f"{len(names)} targets, {executed} inputs, {'findings in ' + str(FOUND) if failed else 'nothing found'}")
    for said in failed:
        print(said[said.find("=== Uncaught") :][:4000], file=sys.stderr)
    return 1 if failed else 0


def _in_its_own_process(corpus: Path, *, seconds: int) -> tuple[int, str]:
    command = [sys.executable, "-m", "tools.fuzz", "--corpus", corpus, "--seconds", str(seconds)]
    ended = subprocess.run(command, capture_output=True, check=False)
    return ended.returncode, (ended.stdout + ended.stderr).decode("utf-8", "replace")


def _fuzz(corpus: Path, *, seconds: int) -> int:
    import atheris

    with atheris.instrument_imports(include=["twocvm_verifier"]):
        from tools.fuzz_targets import try_selected
    options = {
        "max_total_time": seconds,
        "max_len": MAX_INPUT_BYTES,
        "rss_limit_mb": MEMORY_MB,
        "timeout": MOST_SECONDS_AN_INPUT,
        "print_final_stats": 1,
        "artifact_prefix": f"{FOUND}{os.sep}",
    }
    # Targets that have no seed in this corpus belong to another process.
    chosen = frozenset(path.read_bytes()[:1] for path in corpus.iterdir())

    def try_one(data: bytes) -> None:
        if data[:1] in chosen:
            try_selected(data)

    atheris.Setup(["fuzz", str(corpus), *(f"-{option}={value}" for option, value in options.items())], try_one)
    atheris.Fuzz()
    return 0


def _try_again(path: Path) -> int:
    from tools.fuzz_targets import NAMES, try_selected

    data = path.read_bytes()
    accepted = try_selected(data)
    print(f"{NAMES[data[0]]}: {'accepted' if accepted else 'refused'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
