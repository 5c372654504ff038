"""What @name@ computes on numbers.csv is what Python computes. Run with Python or pytest, after `component build`."""

import json
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def test_the_summary_is_right() -> None:
    """Count and sum of the numbers are those of a direct computation."""
    numbers = [float(line) for line in (HERE / "numbers.csv").read_text().splitlines()[1:]]
    with tempfile.TemporaryDirectory() as out:
        data = f"numbers={HERE / 'numbers.csv'}"
        subprocess.run(["twocvm", "run", "--local", HERE / "manifest.toml", "--data", data, "--out", out], check=True)
        summary = json.loads((Path(out) / "summary").read_text())
    assert summary == {"count": len(numbers), "sum": sum(numbers)}


if __name__ == "__main__":
    test_the_summary_is_right()
    print("right")
