"""Make the vector of an evidence bundle (`tests/vectors/bundle/`), the same bytes every time.

Run from the repository's root: `python -m tools.make_vectors_bundle`. A test compares what this makes with what lies
there: where they differ, the format of results has changed, which is a decision (`docs/spec/bundle.md`, section 2).
"""

from __future__ import annotations

from pathlib import Path

from tests.support.vectorfiles import ROOT, Vector
from tools.vectors_shared import vector

from twocvm_verifier import Policy, amd_roots
from twocvm_verifier.advisories import parse_advisory
from twocvm_verifier.bundle import Case, bundle_of, judge
from twocvm_verifier.clock import parse_time

GENUINE = Path(__file__).parents[1] / "examples" / "genuine"
# Made up, so that a change of the table that ships changes no vector.
_HEAD = """
title = "A made-up attack"
source = "https://example.test/"
published = "2026"
recorded = "2026-11-22"
basis = "Made up for this vector."
"""
_ADVISORIES = (
    f'id = "first"{_HEAD}[[fix]]\nproduct = "Milan"\ntcb = {{ snp = 24 }}\n',
    f'id = "second"{_HEAD}[unattested]\nMilan = "no field of a report shows it"\n',
)


def genuine() -> Vector:
    """Return the bundle of the report that ships with the project."""
    case = Case(
        report=(GENUINE / "report.bin").read_bytes(),
        vek=(GENUINE / "vcek.der").read_bytes(),
        chain=None,
        crl=None,
        manifest=None,
        policy=Policy.builtin(),
        advisories=tuple(map(parse_advisory, _ADVISORIES)),
        judged_at=parse_time("2026-11-22T00:00:00Z"),
    )
    raw = bundle_of(case, judge(case, roots=amd_roots())).encode()
    return vector("bundle/genuine", "accept", 3, "a genuine report, refused for DEBUG", raw, code="DEBUG_ALLOWED")


def main() -> None:
    """Write the vector."""
    (ROOT / "bundle").mkdir(parents=True, exist_ok=True)
    made = genuine()
    (ROOT / f"{made.name}.txt").write_bytes(made.encode())


if __name__ == "__main__":
    main()
