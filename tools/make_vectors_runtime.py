"""Record what runs must give on every machine (`tests/vectors/runtime/outcomes.json`): digests of outputs, and fuel.

Run from the repository's root: `python -m tools.make_vectors_runtime`. A test compares what its own machine gives.
"""

from __future__ import annotations

import json

from tests.support.repeatable import CASES, RECORDED, outcome


def main() -> None:
    """Write the file."""
    outcomes = {name: outcome(case()) for name, case in CASES.items()}
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(json.dumps(outcomes, indent=1) + "\n")


if __name__ == "__main__":
    main()
