"""A session's receipt on the participant's side: fetched, verified, kept.

Decides whether a receipt is this participant's, of this very instance and run: everything that `receipt_file` demands
of any receipt, and then that its report is of the guest that began this connection, and that its log grew from every
head that was seen here. The file that is kept holds all that a judge needs beside the manifest and the policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from twocvm_verifier.azure.verify import boot_said, quoted_of
from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import BindingError
from twocvm_verifier.eventlog import Outcome
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.policy import Policy
from twocvm_verifier.ratls.proof import Expectation
from twocvm_verifier.receipt import ReceiptBody
from twocvm_verifier.receipt_file import ReceiptFile, VerifiedReceipt, verify_receipt
from twocvm_verifier.snp.report import parse_report

from . import storage
from .cards import receipt_card
from .instance import Instance

# protocol, "Channel evidence": what of the receipt's report equals the certificate's.
_SAME_FIELDS: Final = ("measurement", "host_data", "policy", "chip_id", "report_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReceipt:
    """One participant's receipt. Made only by `fetch`, which has verified it.

    Attributes:
        file: The receipt with what lies beside it.
        body: What it states.
        expectation: The manifest, policy and trust anchors of the connection.
        clock: Judges the validity of certificates.
    """

    file: ReceiptFile = field(repr=False)
    body: ReceiptBody
    expectation: Expectation = field(repr=False)
    clock: Clock = field(repr=False)

    @classmethod
    def fetch(cls, instance: Instance, *, participant: str, expectation: Expectation, clock: Clock) -> SessionReceipt:
        """Fetch this participant's receipt of a session that has ended, and verify it.

        Args:
            instance: The guest.
            participant: Whose receipt it must be.
            expectation: What the connection was proven under.
            clock: Judges the validity of certificates.

        Raises:
            BindingError: RECEIPT_OF_ANOTHER, RECEIPT_MISMATCH.
            TwoCvmError: As `verify_receipt`, or the guest did not answer.
        """
        # The receipt comes last: who has everything of the guest may find it gone.
        log, goes = instance.log(), instance.guest.roster().goes
        file = ReceiptFile(
            receipt=instance.guest.receipt(),
            guest_spki_der=instance.proof.spki_der,
            manifest=instance.manifest.raw,
            consents=instance.consents.statements,
            goes=goes,
            log=log.events,
            policy=expectation.policy.to_json(),
        )
        verified = verify_receipt(
            file,
            manifest=expectation.manifest,
            policy=expectation.policy,
            verifier=expectation.verifier,
            at=clock.now(),
        )
        verified.require_own(
            participant=participant, report_id=instance.report_id, guest_spki_sha256=instance.spki_sha256
        )
        _require_same_guest(file, instance)
        return cls(file=file, body=verified.body, expectation=expectation, clock=clock)

    def _repr_html_(self) -> str:
        # What notebooks ask for.
        return receipt_card(self.body)

    @property
    def outcome(self) -> Outcome:
        """How the session ended."""
        return self.body.outcome

    def verify(self, *, manifest: Manifest | None = None, policy: Policy | None = None) -> VerifiedReceipt:
        """Judge the receipt, as anybody can who has its file.

        Args:
            manifest: The one that judges; that of the connection where none is given.
            policy: The one that judges; that of the connection where none is given.

        Raises:
            TwoCvmError: It is not authentic, not whole, or not acceptable to this policy.
        """
        return verify_receipt(
            self.file,
            manifest=manifest or self.expectation.manifest,
            policy=policy or self.expectation.policy,
            verifier=self.expectation.verifier,
            at=self.clock.now(),
        )

    def save(self, path: Path) -> None:
        """Write the receipt file, in one step; one that is there is replaced.

        Raises:
            OSError: It cannot be written; then `path` is as it was.
        """
        with storage.arriving(path) as file:
            file.write(self.file.encode())


def _require_same_guest(file: ReceiptFile, instance: Instance) -> None:
    ours, its = instance.proof.verified.report, parse_report(file.receipt.evidence.report)
    changed = [name for name in _SAME_FIELDS if getattr(ours, name) != getattr(its, name)]
    evidence = file.receipt.evidence
    if boot_said(quoted_of(evidence.azure, claims=evidence.claims)) != instance.proof.verified.boot:
        changed.append("boot")
    if changed:
        raise BindingError("RECEIPT_OF_ANOTHER", f"receipt: its report has another {', '.join(changed)} than the guest")
