"""Hold branch coverage against its floors, package by package; a floor only ever rises.

Run after `coverage combine`: prints one line a package and ends with 1 when any is below its floor.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# Workers run with `-I -S` behind their filter, where nothing can be counted: the guest's floor is lower for it.
FLOORS = {"twocvm_certs": 100.0, "twocvm_verifier": 100.0, "twocvm_sdk": 95.0, "twocvm_guest": 90.0}


def main() -> int:
    """Print each package's branch coverage beside its floor and return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)], check=True)
        files = json.loads(report.read_text())["files"]
    below = 0
    for package, floor in FLOORS.items():
        summaries = [file["summary"] for name, file in files.items() if f"{package}/" in name]
        total = sum(s["num_statements"] + s["num_branches"] for s in summaries)
        covered = sum(s["covered_lines"] + s["covered_branches"] for s in summaries)
        percent = 100.0 * covered / total if total else 0.0
        below += percent < floor
        print(f"{package:16} {percent:6.2f} %   floor {floor:.0f} %{'   BELOW' if percent < floor else ''}")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
