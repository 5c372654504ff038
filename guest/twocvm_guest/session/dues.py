"""What a session still owes its participants: outputs to their recipients, and a receipt to everybody.

Decides how long a guest stays: outputs until every recipient has acknowledged, or the deadline; receipts until every
participant has fetched its own, or for `RECEIPT_SECONDS` after the outputs are gone. No I/O and no clock.
"""

from __future__ import annotations

from typing import Final

from twocvm_verifier.errors import ReleaseError
from twocvm_verifier.manifest import Manifest

# Protocol, "Withdraw" and "Wipe": 10 minutes for participants that do not come.
RECEIPT_SECONDS: Final = 600.0


class Dues:
    """Who is still owed what.

    Args:
        manifest: Names the participants, the outputs and their recipients.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest: Final = manifest
        self._outputs: set[tuple[str, str]] = set()
        self._receipts: set[str] = {entry.name for entry in manifest.participants}
        self._since_seconds: float | None = None

    @property
    def outputs_due(self) -> bool:
        """Whether a recipient has still to acknowledge an output."""
        return bool(self._outputs)

    def owe_outputs(self) -> None:
        """Begin to owe every output to each of its recipients."""
        self._outputs = {(output.name, name) for output in self._manifest.outputs for name in output.recipients}

    def waive_outputs(self) -> None:
        """Owe no output to anybody any more."""
        self._outputs.clear()

    def acknowledge(self, name: str, recipient: str) -> None:
        """Note that `recipient` has the output `name`; again is no mistake."""
        self._outputs.discard((name, recipient))

    def receipt_sent(self, participant: str) -> None:
        """Note that `participant` has its receipt; again is no mistake."""
        self._receipts.discard(participant)

    def settled(self, monotonic_seconds: float) -> bool:
        """Return whether nothing is owed, or was long enough; the first call starts the time for receipts.

        Args:
            monotonic_seconds: On a clock that never goes back.
        """
        if self._since_seconds is None:
            self._since_seconds = monotonic_seconds
        return not self._receipts or monotonic_seconds - self._since_seconds >= RECEIPT_SECONDS


def require_recipient(manifest: Manifest, name: str, *, caller: str) -> None:
    """Refuse a participant that is not a recipient of the output `name`.

    Raises:
        ReleaseError: UNKNOWN_NAME or NOT_YOURS.
    """
    recipients = {output.name: output.recipients for output in manifest.outputs}
    if name not in recipients:
        raise ReleaseError("UNKNOWN_NAME", f"output: the manifest has no {name!r}")
    if caller not in recipients[name]:
        raise ReleaseError("NOT_YOURS", f"output {name!r}: is not for {caller!r}")
