"""What stands between a verdict and whoever asked for it: its record, or the owner's word that none is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from twocvm_verifier.service.appraisals import Outcome
from twocvm_verifier.service.problems import ServiceError

from .record import Entry, Kind
from .writer import AuditLog

# A disk that hangs keeps nobody for as long as a request may take.
PATIENCE_SECONDS: Final = 5.0


class Ledger(Protocol):
    """Where verdicts are kept."""

    async def keep(self, entry: Callable[[], Entry]) -> None:
        """Return once an entry is durable, where entries are kept at all.

        Args:
            entry: Makes it, where it is wanted.

        Raises:
            ServiceError: AUDIT_UNAVAILABLE: it is not, so the verdict is not to be told.
        """
        ...


class NoLedger:
    """Keeps nothing, as the owner has it; that is said when the service starts."""

    async def keep(self, entry: Callable[[], Entry]) -> None:
        """Return at once."""


class AuditLedger:
    """Keeps entries in an audit log.

    Args:
        log: Where.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def keep(self, entry: Callable[[], Entry]) -> None:
        """Return once the entry is durable.

        Args:
            entry: Makes it.

        Raises:
            ServiceError: AUDIT_UNAVAILABLE.
        """
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._log.record(entry())), PATIENCE_SECONDS)
        except TimeoutError as error:
            raise ServiceError("AUDIT_UNAVAILABLE", "audit log: the disk does not answer") from error


def verdict_entry(outcome: Outcome, *, request_id: str, token_id: str, key_id: str) -> Entry:
    """Return what is recorded of a verdict.

    Args:
        outcome: What was judged.
        request_id: Of the request.
        token_id: `jti` of the token; empty where there is none.
        key_id: `kid` of the key that signed it.
    """
    appraisal = outcome.appraisal
    said = {
        "request_id": request_id,
        "report": outcome.report_sha256.hex(),
        "policy": appraisal.policy_sha256.hex(),
        "purpose": str(outcome.purpose),
        "verdict": str(appraisal.verdict),
    }
    if outcome.manifest is not None:
        said["manifest"] = outcome.manifest.hash.hex()
    if appraisal.findings:
        said["code"] = str(appraisal.to_json()["code"])
    if token_id:
        said |= {"jti": token_id, "kid": key_id}
    return Entry(kind=Kind.VERDICT, members=said)
