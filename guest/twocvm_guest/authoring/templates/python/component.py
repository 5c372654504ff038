"""@name@: counts and adds up the numbers that it is given.

in numbers:  CSV, its one column `number`
out summary: JSON, {"count":N,"sum":S}
"""

import json

from ports import Component, read_port, say, write_port


class Run(Component):
    """What the component exports; the class keeps this name."""

    def compute(self) -> None:
        """Read the numbers, write the summary."""
        numbers = [float(line) for line in read_port("numbers").decode().splitlines()[1:]]
        say(f"{len(numbers)} numbers")
        summary = {"count": len(numbers), "sum": sum(numbers)}
        write_port("summary", json.dumps(summary, separators=(",", ":")).encode())
