"""Locking a guest to a manifest that every participant signed.

Decides when a guest counts as locked: not when it says so, but when a new connection has proved the same launch under
this manifest, served these participants' consents, and shown a log that grew from what was seen before. Whoever calls
this needs no trust in whoever else calls it: a guest that is locked to the same manifest already is verified just so.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from twocvm_verifier.appraisal import Verifier
from twocvm_verifier.clock import Clock, SystemClock
from twocvm_verifier.errors import BindingError, FetchError
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.roster import Consents, verify_consents
from twocvm_verifier.manifest.statements import Statement
from twocvm_verifier.policy import Policy
from twocvm_verifier.ratls.proof import ChannelProof, Expectation, ManifestState
from twocvm_verifier.snp.revocation import PREFER, CrlUse
from twocvm_verifier.snp.roots import Roots

from .connection import AttestedConnection
from .guest import Guest
from .identity import Identity
from .instance import Instance
from .resuming import Patience
from .trust import expect


def lock(
    url: str,
    *,
    manifest: Manifest,
    consents: tuple[Statement, ...],
    policy: Policy,
    identity: Identity,
    roots: Roots | None = None,
    crls: CrlUse = PREFER,
    verifier: Verifier | None = None,
    clock: Clock | None = None,
) -> ChannelProof:
    """Lock the guest at `url`, and return only once it has proved to be locked.

    Args:
        url: `https://HOST:PORT`.
        manifest: What the guest is locked to, for its whole life.
        consents: One of each participant, in any order.
        policy: What the guest's evidence is held to, beside the manifest's `platform`.
        identity: A participant of the manifest.
        roots: Trust anchors; AMD's where none are given.
        crls: Whether revocation is asked about.
        verifier: Who judges instead of this machine, which then has no `roots` and `crls` to give.
        clock: The machine's own where none is given.

    Returns:
        The proof of the new connection.

    Raises:
        ValueError: `url` is no guest's, or simulated roots with a manifest that does not allow them.
        LockError: The guest refused.
        BindingError: GUEST_REPLACED: another launch answered the second connection.
        TwoCvmError: A consent, a proof, the served manifest or the log did not verify.
    """
    identity.require_entry(manifest)
    agreed = verify_consents(sorted(consents, key=lambda consent: consent.body.participant), manifest)
    clock = clock or SystemClock()

    expectation = expect(manifest, policy=policy, roots=roots, crls=crls, verifier=verifier, unlocked_ok=True)

    def connect(expected: Expectation) -> AttestedConnection:
        return AttestedConnection.open(
            url, expectation=expected, identity=identity.tls, clock=clock, randomness=secrets.token_bytes
        )

    with connect(expectation) as connection:
        before = connection.proof
        if before.manifest_state is ManifestState.UNLOCKED:
            _put(Guest(connection), manifest, agreed)

    def dial() -> AttestedConnection:
        return connect(replace(expectation, unlocked_ok=False))

    with dial() as connection:
        if connection.proof.report_id != before.report_id:
            raise BindingError("GUEST_REPLACED", "guest: another launch answers than the one that was to be locked")
        Instance(connection, dial=dial, manifest=manifest, patience=Patience(), seen=(before.log,)).verify()
        return connection.proof


def _put(guest: Guest, manifest: Manifest, agreed: Consents) -> None:
    try:
        guest.put_manifest(manifest.raw, agreed.statements)
    except FetchError:
        # The guest closes its connections as it locks, and the answer may be lost: the next connection decides.
        return
