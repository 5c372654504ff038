"""Simulated chips for tests, made once a process, and what it takes to accept them.

platform = launch(host_data=bytes(32), measurement=MEASUREMENT)      # a new guest, with a REPORT_ID of its own
verifier = verifier_of(platform)                                    # trusts exactly that platform's root
policy = lenient_policy()                                           # the strict default, without a CRL
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Final

from twocvm_guest.platforms.simulated import SimulatedChip, SimulatedPlatform
from twocvm_verifier import Policy, SnpVerifier, Unchecked, simulated_roots

ISSUED_AT: Final = datetime(2026, 6, 1, tzinfo=UTC)


@cache
def chip(number: int, /) -> SimulatedChip:
    """Return the simulated chip of that number; chips of different numbers have different roots."""
    return SimulatedChip.create(at=ISSUED_AT)


def launch(*, host_data: bytes, measurement: bytes, on: int = 0) -> SimulatedPlatform:
    """Return a new guest on the chip of that number, which answers at once."""
    return SimulatedPlatform(chip(on), host_data=host_data, measurement=measurement, latency_seconds=0)


def verifier_of(platform: SimulatedPlatform) -> SnpVerifier:
    """Return a verifier that trusts the platform's root and no other."""
    return SnpVerifier(roots=simulated_roots(platform.root_pem), crls=Unchecked("simulated roots revoke nothing"))


def lenient_policy() -> Policy:
    """Return the built-in policy, but for the CRL that a release would need."""
    return replace(Policy.builtin(), max_crl_age_seconds=Unchecked("simulated roots revoke nothing"))
