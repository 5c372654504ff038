"""The one user of the platform's device, which makes one report at a time and takes 4.4 ms for each.

Every report of a launch is made here, on one thread, in the order in which they were asked for. Those who ask for
evidence for their connection share: when it is the turn of the one who asked first, all who wait by then and were shown
the same TLS key get one report over a Merkle root. So nobody waits for a batch to fill: who finds the device idle is
answered at once and alone, and who does not is served by the next call, together with all others, however many they
are. A certificate, a receipt or a derived key waits for those before it and for nobody who comes later.

A call that fails fails exactly those whom it was for. Who has gone meanwhile is left out. After a failure that nothing
can mend, such as the loss of the machine's key to the firmware, the device is not asked again: `broken` tells whoever
has to end the guest.

Spec: docs/spec/ratls.md, 5.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from twocvm_verifier.binding import LogPosition
from twocvm_verifier.errors import FetchError
from twocvm_verifier.evidence import Evidence

from .attestation import Question, connection_evidence
from .batch import MAX_LEAVES
from .platforms.attester import Attester
from .platforms.derived import KeyRequest, key_from
from .platforms.device import DeviceError
from .tls import ServerIdentity

T = TypeVar("T")
LogOf: TypeAlias = Callable[[ServerIdentity], LogPosition]
"""Where the log stands for connections that show an identity; raises where that is not in use any more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Caller:
    identity: ServerIdentity
    question: Question
    answer: Future[Evidence] = field(default_factory=Future)


class AttestationBroker:
    """Has reports made in turn, and answers many connections with one. From any thread.

    Args:
        attester: The platform; nobody else may use it.
        log_of: Asked once for each batch, just before its report is made.
        most: How many connections may share a report.

    Attributes:
        broken: Why there will never be another report in this launch, once there will be none.
    """

    def __init__(self, attester: Attester, *, log_of: LogOf, most: int = MAX_LEAVES) -> None:
        self.broken: DeviceError | None = None
        self._attester: Final = attester
        self._log_of: Final = log_of
        self._most: Final = most
        self._turns: Final = ThreadPoolExecutor(1, thread_name_prefix="platform")
        self._mutex = threading.Lock()
        self._callers: deque[_Caller] = deque()

    def turn(self, ask: Callable[[Attester], T]) -> T:
        """Return what `ask` makes of the platform, when its turn has come; nobody else is served meanwhile.

        Report, quote and certificates of one piece of evidence are of one turn: the key that signs may change between.

        Args:
            ask: Called once, on the broker's thread; must not ask the broker.

        Raises:
            FetchError: The platform made no report; PLATFORM_FAILED, or what its device says.
            RuntimeError: After `stop`.
        """
        return self._turns.submit(self._turn, ask).result()

    def derived_key(self, wanted: KeyRequest) -> bytes:
        """Return a key that the chip derives for this guest alone (32 bytes), when its turn has come.

        Args:
            wanted: Which key.

        Raises:
            UnsupportedError: DERIVED_KEY_UNSUPPORTED: the platform, or the device that it goes through, derives none.
            FetchError, RuntimeError: As `turn`.
        """
        return self.turn(lambda attester: key_from(attester, wanted, name=f"platform {attester.name}"))

    def evidence(self, *, identity: ServerIdentity, question: Question) -> Future[Evidence]:
        """Return what will be the evidence for one connection.

        Its errors are those of `log_of`, and FetchError (as `turn`) where the platform made no report. It may be
        cancelled as long as it is not its turn.

        Args:
            identity: What the connection's handshake showed.
            question: The nonce that came, and the connection's exporter value for it.

        Raises:
            RuntimeError: After `stop`.
        """
        caller = _Caller(identity=identity, question=question)
        with self._mutex:
            self._turns.submit(self._serve, caller)
            self._callers.append(caller)
        return caller.answer

    def stop(self) -> None:
        """Make no more reports; whoever waits for one is told that it was cancelled."""
        self._turns.shutdown(wait=False, cancel_futures=True)
        with self._mutex:
            for caller in self._callers:
                caller.answer.cancel()
            self._callers.clear()

    def _turn(self, ask: Callable[[Attester], T]) -> T:
        with self._asking():
            return ask(self._attester)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Say that the platform failed, for the length of a `with` in which it is asked; once it is broken, at once."""
        if self.broken is not None:
            raise DeviceError(self.broken.code, self.broken.detail)
        try:
            yield
        except DeviceError as error:
            if error.fatal:
                self.broken = error
            raise
        except OSError as error:
            raise FetchError("PLATFORM_FAILED", f"platform: made no report: {type(error).__name__}") from error

    def _serve(self, first: _Caller) -> None:
        callers = [caller for caller in self._batch(first) if caller.answer.set_running_or_notify_cancel()]
        if not callers:
            return
        try:
            made = self._evidence(callers[0].identity, [caller.question for caller in callers])
        except BaseException as error:  # noqa: BLE001 - raised again for each of the callers
            for caller in callers:
                caller.answer.set_exception(error)
            return
        for caller, evidence in zip(callers, made, strict=True):
            caller.answer.set_result(evidence)

    def _evidence(self, identity: ServerIdentity, questions: list[Question]) -> tuple[Evidence, ...]:
        log = self._log_of(identity)
        with self._asking():
            return connection_evidence(self._attester, identity=identity, log=log, questions=questions)

    def _batch(self, first: _Caller) -> list[_Caller]:
        # Everybody has a turn, so all who came before have been served: who is not the first now was served with them,
        # and leaves the turn unused, for it would come before reports that were asked for earlier.
        with self._mutex:
            taken: list[_Caller] = []
            left: deque[_Caller] = deque()
            if self._callers and self._callers[0] is first:
                for caller in self._callers:
                    shares = caller.identity is first.identity and len(taken) < self._most
                    (taken if shares else left).append(caller)
                self._callers = left
            return taken
