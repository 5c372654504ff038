"""A guest under its manifest: the session, and everything that the session's decisions move.

`LockedGuest` serialises every transition of the session under one lock, held only for the transition itself: bytes
stream, components compile, nodes run and platforms sign outside it. After each transition it does what the session's
state asks for: it starts the run, or it drops everything that participants gave. Threads of any kind may call it.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from twocvm_verifier.binding import LogPosition
from twocvm_verifier.errors import ReleaseError
from twocvm_verifier.manifest import Component, DataItem, Manifest
from twocvm_verifier.manifest.graph import Flow
from twocvm_verifier.manifest.statements import Statement
from twocvm_verifier.receipt import Receipt, ReceiptBody, SealedOutput
from twocvm_verifier.strictjson import Json

from .runtime.items import Item
from .runtime.run import RunResult
from .session.intake import Offer
from .session.machine import State
from .session.session import Session
from .tls import ServerIdentity
from .upload import Upload
from .vault import Arrival, Vault

Sign: TypeAlias = Callable[[ReceiptBody], Receipt]


class Workers(Protocol):
    """What a guest needs of the runtime (`runtime.supervisor.Runtime`)."""

    def admit(self, component: Component, item: Item) -> None:
        """Inspect and compile a component, or raise `ComponentError`. Blocks; the item stays its caller's."""
        ...

    def run(self, inputs: Mapping[str, Item]) -> RunResult:
        """Run the manifest's graph, once. Blocks; the inputs stay their caller's."""
        ...

    def filter(self, outputs: Mapping[str, Item]) -> RunResult:
        """Pass what a run left through the manifest's filters. Blocks; the outputs stay their caller's."""
        ...

    def wipe(self) -> None:
        """Kill every worker and drop everything it had, now. From any thread, any number of times."""
        ...


class LockedGuest:
    """A guest that is locked. From any thread.

    Args:
        session: Just locked.
        identity: What connections are shown under this manifest.
        workers: For this manifest.
        sign: Signs receipts, and has the platform report of them. Blocks.
        agreement: The manifest and the consents as they came (canonical JSON).
    """

    def __init__(
        self, *, session: Session, identity: ServerIdentity, workers: Workers, sign: Sign, agreement: bytes
    ) -> None:
        self.identity: Final = identity
        self._agreement: Final = agreement
        self._session: Final = session
        self._workers: Final = workers
        self._sign: Final = sign
        self._vault: Final = Vault()
        self._receipts: Final[dict[str, Receipt]] = {}
        self._flow: Final = Flow(session.manifest)
        self._failures: Mapping[str, str] = MappingProxyType({})
        # Held for a transition of the session and never while anything waits.
        self._transition = threading.Lock()
        self._signing = threading.Lock()
        self._run_started = False

    @property
    def manifest(self) -> Manifest:
        """The manifest in force."""
        return self._session.manifest

    @property
    def state(self) -> State:
        """Where the session is."""
        return self._session.state

    @property
    def log_position(self) -> LogPosition:
        """Where the event log stands."""
        return self._session.log.position

    @property
    def tls_keys(self) -> Mapping[bytes, str]:
        """Whose TLS keys the manifest names: participants, by the hash of each key."""
        return {key: entry.name for entry in self.manifest.participants for key in entry.tls}

    def caller(self, spki_sha256: bytes | None) -> str:
        """Return the participant whose TLS key a connection has shown; names count nowhere.

        Raises:
            ReleaseError: CLIENT_CERTIFICATE_REQUIRED or NOT_A_PARTICIPANT.
        """
        if spki_sha256 is None:
            raise ReleaseError("CLIENT_CERTIFICATE_REQUIRED", "connection: has no client certificate")
        try:
            return self.manifest.participant_of_tls_key(spki_sha256).name
        except KeyError as error:
            raise ReleaseError("NOT_A_PARTICIPANT", "connection: its key is not in the manifest") from error

    def agreement(self) -> bytes:
        """Return the manifest and the consents, as they came."""
        with self._transition:
            self._session.require_readable()
        return self._agreement

    def log(self) -> bytes:
        """Return the event log as it is served."""
        with self._transition:
            self._session.require_readable()
            return self._session.log.encode()

    def roster(self) -> Json:
        """Return the goes so far, and whether they are all."""
        with self._transition:
            self._session.require_readable()
            goes = [go.to_json() for go in self._session.goes]
            return {"complete": self._session.roster_complete, "goes": goes}

    def failures(self, caller: str) -> Json:
        """Return the code of each node that failed and that only the caller's own data could reach.

        Of every other node a code would be data of somebody else's.
        """
        with self._transition:
            self._session.require_readable()
            return {node: code for node, code in self._failures.items() if self._flow.is_entitled(caller, node=node)}

    def join(self, go: Statement, *, caller: str) -> None:
        """Take a participant's go; see `Session.join`."""
        with self._transition:
            self._session.join(go, caller=caller)
        self._follow()

    def withdraw(self, withdrawal: Statement, *, caller: str) -> None:
        """Take a participant's withdrawal; everything is gone when this returns. See `Session.withdraw`."""
        with self._transition:
            self._session.withdraw(withdrawal, caller=caller)
        self._follow()

    def begin_item(self, offer: Offer, *, caller: str) -> Upload:
        """Return where to write an item that its owner has begun to send; see `Session.begin_item`."""
        with self._transition:
            item = self._session.begin_item(offer, caller=caller)
            try:
                arrival = self._vault.receive(offer.name, max_bytes=offer.size_bytes)
            except BaseException:
                self._session.abandon_item(offer.name)
                raise
        return Upload(self, offer, item, arrival)

    def admit(self, wanted: DataItem | Component, item: Item) -> None:
        """Admit what arrived in full; called by `Upload.finish` alone, which closes the item where this fails."""
        if isinstance(wanted, Component):
            # What the runtime keeps of a component is its own; the file is not needed again.
            self._workers.admit(wanted, item)
            item.close()
        with self._transition:
            self._session.admit_item(wanted.name)
            if isinstance(wanted, DataItem):
                self._vault.keep_item(item)
        self._follow()

    def end_item(self, name: str, arrival: Arrival) -> None:
        """Forget an upload that has ended; called by `Upload.close` alone."""
        self._vault.release(arrival)
        with self._transition:
            self._session.abandon_item(name)

    def output(self, name: str, *, caller: str) -> Item:
        """Return a sealed output to read from; reading ends with `ValueError` once outputs are wiped.

        Raises:
            ReleaseError: As `Session.output`.
        """
        with self._transition:
            self._session.output(name, caller=caller)
            return self._vault.output(name)

    def acknowledge(self, name: str, *, caller: str) -> None:
        """Note that a recipient has its output; see `Session.acknowledge`."""
        with self._transition:
            self._session.acknowledge(name, caller=caller)
        self._follow()

    def receipt(self, caller: str) -> Receipt:
        """Return the caller's receipt, the same each time. Blocks while the platform signs it.

        Raises:
            ReleaseError: RECEIPT_NOT_READY or SESSION_ENDED.
        """
        with self._transition:
            body = self._session.receipt_body(caller)
        with self._signing:
            if caller not in self._receipts:
                self._receipts[caller] = self._sign(body)
            return self._receipts[caller]

    def receipt_sent(self, caller: str) -> None:
        """Note that a participant has its receipt."""
        with self._transition:
            self._session.receipt_sent(caller)

    def advance(self, *, monotonic_seconds: float, at: datetime) -> None:
        """Let time pass; see `Session.advance`."""
        with self._transition:
            self._session.advance(monotonic_seconds=monotonic_seconds, at=at)
        self._follow()

    def halt(self) -> None:
        """End everything now, without an outcome."""
        with self._transition:
            self._session.halt()
        self._follow()

    def _follow(self) -> None:
        with self._transition:
            starts = self._session.state is State.RUNNING and not self._run_started
            self._run_started = self._run_started or starts
            over = not self._session.keeps_data
        if starts:
            threading.Thread(target=self._run, name="run", daemon=True).start()
        if over:
            first = self._vault.empty()
            self._workers.wipe()
            if first:
                # Objects that refer to each other wait for the collector, and what they hold with them.
                gc.collect()

    def _run(self) -> None:
        try:
            completed = self._complete(self._workers.run(self._vault.items()))
        except Exception:  # noqa: BLE001 - whatever it was, the run failed, and nobody may be told more
            completed = False
        if not completed:
            with self._transition:
                self._session.fail()
        self._follow()

    def _complete(self, result: RunResult) -> bool:
        # Of a result only this much goes on, and of the failures only what `failures` lets through.
        try:
            with self._transition:
                self._failures = result.failures
                if not result.completed or not self._session.ran():
                    return False
            return self._seal(self._workers.filter(result.outputs))
        finally:
            for item in result.outputs.values():
                item.close()

    def _seal(self, filtered: RunResult) -> bool:
        outputs = filtered.outputs
        try:
            with self._transition:
                self._failures = filtered.failures
            if not filtered.completed:
                return False
            sealed = {name: _sealed(item) for name, item in outputs.items()}
            self._vault.drop_items()
            with self._transition:
                self._vault.keep_outputs(outputs)
                outputs = {}
                return self._session.complete(sealed)
        finally:
            for item in outputs.values():
                item.close()


def _sealed(item: Item) -> SealedOutput:
    return SealedOutput(sha256=item.sha256, size_bytes=item.size_bytes)
