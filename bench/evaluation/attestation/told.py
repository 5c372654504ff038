"""What workloads and report both know: names, bounds, and what the paper has."""

from __future__ import annotations

from typing import Final

from bench.evaluation.model import Configuration

from twocvm_guest.platforms.simulated import HARDWARE_LATENCY_SECONDS

DIRECT: Final = Configuration(name="direct", title="one call each", flags="the simulated device")
BROKER: Final = Configuration(name="broker", title="through the broker", flags="the simulated device")
RECEIPTS: Final = Configuration(name="receipts", title="a receipt each", flags="the simulated device, its broker")
REAL_DEVICE: Final = Configuration(name="sev-guest", title="one call each at /dev/sev-guest", flags="a descriptor each")
CONNECTION: Final = Configuration(name="connection", title="over TLS, verified", flags="a guest in another process")
TOGETHER: Final = "through the broker over one call each, the last answer"
# Whoever comes while a report is made waits for that one and for its own.
MOST_SECONDS: Final = 2 * HARDWARE_LATENCY_SECONDS + 0.002
MOST_CALLS: Final = 2
# Of the stand-in: what a further position adds, and how straight the line is.
SLOPE_SECONDS: Final = (HARDWARE_LATENCY_SECONDS - 0.0001, HARDWARE_LATENCY_SECONDS + 0.0001)
LEAST_R_SQUARED: Final = 0.99
# Read off figure 11 of the paper: medians in milliseconds, first position to tenth.
FIGURE_11: Final = (4.5, 9.0, 13.5, 18.0, 22.3, 26.8, 31.2, 35.7, 40.0, 44.4)


def at_once(threads: int) -> str:
    """Return the name of the workload of so many threads."""
    return f"attestation/at-once-{threads}"


def connecting(threads: int) -> str:
    """Return the name of the workload of so many connections."""
    return f"attestation/connecting-{threads}"
