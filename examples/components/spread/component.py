"""How two sides' numbers spread, together: what either of them alone could not say.

in a, in b:  CSV, its one column the numbers
out spread:  JSON: count, median, quartiles and standard deviation of all numbers together
"""

import json
import math
import statistics

from ports import Component, read_port, say, write_port

_FEWEST = 10


class Run(Component):
    """What the component exports."""

    def compute(self) -> None:
        """Read both sides, write how they spread."""
        numbers = [number for port in ("a", "b") for number in read_numbers(port)]
        say(f"{len(numbers)} numbers")
        if len(numbers) < _FEWEST:
            raise ValueError(f"got {len(numbers)} numbers, want {_FEWEST}: fewer would say too much about each")
        low, median, high = statistics.quantiles(numbers, method="inclusive")
        spread = {
            "count": len(numbers),
            "lower_quartile": low,
            "median": median,
            "upper_quartile": high,
            "standard_deviation": statistics.stdev(numbers),
        }
        write_port("spread", json.dumps(spread).encode())


def read_numbers(port: str) -> list[float]:
    """Return the finite numbers of a port; anything else in it is a failure."""
    numbers = [float(line) for line in read_port(port).decode("ascii").splitlines()[1:]]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{port}: a number is not finite")
    return numbers
