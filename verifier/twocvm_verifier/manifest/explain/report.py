"""Put together what `explain` answers."""

from __future__ import annotations

from collections.abc import Collection

from twocvm_verifier.manifest.model import Manifest
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, SIMULATED_PRODUCT, Platform

from .caveats import caveats
from .coalition import learned_by
from .facts import Explanation, Ground
from .reach import Reach


def explain(manifest: Manifest, *, me: str, companions: Collection[str], host: bool) -> Explanation:
    """Explain a manifest to one participant.

    Args:
        manifest: As parsed.
        me: The participant who asks.
        companions: Participants who are taken to pool what they learn with `me`; may be empty.
        host: Whether the host is taken to be one of them. It comes with its operator, and the operator with it: where
            the manifest says that a participant controls the host, one is never there without the other.

    Raises:
        KeyError: A name is no participant's.
    """
    members = {manifest.participant(name).name for name in (me, *companions)}
    platform = manifest.platform
    operators = {entry.name for entry in manifest.participants if entry.name == platform.operator}
    host = host or not members.isdisjoint(operators)
    if host:
        members |= operators
    reach = Reach(manifest)
    return Explanation(
        manifest=manifest.hash.hex(),
        name=manifest.name,
        purpose=manifest.purpose,
        participants=tuple(sorted(entry.name for entry in manifest.participants)),
        me=me,
        coalition=tuple(sorted(members)),
        host=host,
        items=reach.items,
        code=reach.code,
        ways=reach.ways,
        learned=learned_by(reach, members=members, host=host, simulated=platform.simulated),
        ground=_ground(platform),
        unprotected=tuple(caveats(manifest, reach)),
    )


def _ground(platform: Platform) -> Ground:
    return Ground(
        products=platform.products,
        measurements=tuple(measurement.hex() for measurement in platform.measurements),
        firmware_measurements=tuple(measurement.hex() for measurement in platform.firmware_measurements),
        simulated=platform.simulated,
        operator=platform.operator,
        any_chip=not platform.chip_ids,
        without_floor=tuple(
            product
            for product in platform.products
            if product != SIMULATED_PRODUCT and product not in platform.minimum_tcb
        ),
        debug_forbidden=bool(platform.guest_policy.forbidden >> GUEST_POLICY_BITS["debug"] & 1),
        ledgers=tuple(ledger.origin for ledger in platform.ledgers),
    )
