"""Fresh proofs from the go to the end, beside whatever the session does, and what happens when one fails.

Decides when a guest that was proven once counts as proven no more. Every so often a thread opens a connection of its
own, on which the guest proves itself in full, as on the first one: same instance, same policy, a log that only grew.
Rules, in order:

1. A proof that is malformed, not authentic, or refused by the policy has failed, and one is enough.
2. No proof is no failure: a lost connection, a guest too busy, collateral that cannot be had now. It becomes one after
   `silence_seconds` without any fresh proof; then there is nobody to withdraw to, and it is only reported.
3. After a failure nothing more leaves, and every call of the session that waits or releases raises it.
4. `FailedProof.WITHDRAW` first writes the withdrawal into the ledger, and then sends it, if a connection can still be
   had on which the same instance proves itself in full. Nothing is ever sent to a guest that does not: not even this.

Spec: docs/sdk.md, "Fresh proofs"; docs/adr/0012.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from twocvm_verifier.clock import Clock
from twocvm_verifier.codes.table import CANNOT_JUDGE
from twocvm_verifier.errors import FetchError, HandshakeError, ReleaseError, TwoCvmError

from .guest import Guest
from .history import History
from .instance import Dial
from .resuming import Patience
from .withdrawing import Withdrawer

# A withdrawal is urgent, and whoever waits for the failure waits for it.
_WITHDRAWING: Final = Patience(attempts=4, first_pause_seconds=0.25, longest_pause_seconds=1.0)
_STOPPING_SECONDS: Final = 5.0


class FailedProof(StrEnum):
    """What happens when a fresh proof fails."""

    WITHDRAW = "withdraw"  # the session ends, for everybody, if the guest still hears it
    REPORT = "report"  # this side releases nothing more, and says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How a session is watched.

    Attributes:
        interval_seconds: From one question to the next.
        silence_seconds: How long no fresh proof at all is borne.
        on_failed_proof: What happens when one fails.

    Raises:
        ValueError: A time that is not positive, or an interval that no thread can wait for: the watch would end unseen.
    """

    interval_seconds: float = 60.0
    silence_seconds: float = 300.0
    on_failed_proof: FailedProof = FailedProof.WITHDRAW

    def __post_init__(self) -> None:
        # Written so that NaN is refused.
        if not (0 < self.interval_seconds <= threading.TIMEOUT_MAX and self.silence_seconds > 0):
            raise ValueError(f"watching: got {self}, want times that are positive, and an interval that ends")


class Watch:
    """The watch over one instance. `start` and `stop` it; from one thread, beside its own.

    Args:
        dial: Opens a connection of the watch's own.
        history: The instance, shared with the session.
        rule: How it is watched.
        clock: Counts the silence.
        withdrawer: Takes the go back.
    """

    def __init__(self, *, dial: Dial, history: History, rule: Watching, clock: Clock, withdrawer: Withdrawer) -> None:
        self._dial: Final = dial
        self._history: Final = history
        self._rule: Final = rule
        self._clock: Final = clock
        self._withdrawer: Final = withdrawer
        self._proven_seconds = clock.monotonic_seconds()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._consequence = "nothing was withdrawn"

    def start(self) -> None:
        """Begin to watch; a second call, or one after the end, does nothing."""
        if self._thread is None and not self._stopping.is_set():
            self._proven_seconds = self._clock.monotonic_seconds()
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the watch; a withdrawal that is under way is waited for."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(None if self._failure is not None else _STOPPING_SECONDS)

    def require_proven(self) -> None:
        """Refuse to go on after a failure, once the rule for it has been followed.

        Raises:
            HandshakeError: A proof failed; its code is the failure's.
            FetchError: GUEST_SILENT.
        """
        failure = self._failure
        if failure is None:
            return
        if self._thread is not None:
            self._thread.join()
        if not isinstance(failure, TwoCvmError):
            raise RuntimeError("watch: ended by an error of its own") from failure
        text = f"fresh proof: {failure.detail}; {self._consequence}"
        if isinstance(failure, FetchError):
            raise FetchError(failure.code, text) from failure
        raise HandshakeError(failure.code, text) from failure

    def look(self) -> bool:
        """Ask for one fresh proof, and return whether to go on; False after a failure."""
        asked_seconds = self._clock.monotonic_seconds()
        try:
            self._meet(lambda _: None)
        except TwoCvmError as error:
            if error.exit_status != CANNOT_JUDGE:
                self._fail(error)
            elif asked_seconds - self._proven_seconds > self._rule.silence_seconds:
                silence = f"none for {self._rule.silence_seconds:g} s, the last answer was {error.code}"
                self._failure = FetchError("GUEST_SILENT", silence)
        except Exception as error:  # noqa: BLE001 - whatever it was, the guest has not proven itself
            self._fail(error)
        else:
            self._proven_seconds = asked_seconds
        return self._failure is None

    def _run(self) -> None:
        while not self._stopping.wait(self._rule.interval_seconds):
            if not self.look():
                return

    def _meet(self, act: Callable[[Guest], None]) -> None:
        """Open a connection, see that it leads to the instance, and do something there."""
        before = self._history.events
        with self._dial() as connection:
            self._history.meet(connection, at_least=before)
            act(Guest(connection))

    def _fail(self, error: Exception) -> None:
        self._failure = error
        if self._rule.on_failed_proof is FailedProof.WITHDRAW:
            self._consequence = self._withdraw()

    def _withdraw(self) -> str:
        try:
            self._withdrawer.note()
        except TwoCvmError as error:
            return f"nothing was withdrawn, for it could not be written down: {error.code}"
        outcome = ""
        for pause in (0.0, *_WITHDRAWING.pauses()):
            time.sleep(pause)
            try:
                self._meet(self._withdrawer.send)
            except ReleaseError as refused:
                # The guest itself has answered: the session is beyond withdrawing.
                return f"the withdrawal was refused: {refused.code}"
            except TwoCvmError as error:
                outcome = f"the withdrawal is in the ledger, and could not be handed over: {error.code}"
            else:
                return "the session was withdrawn from"
        return outcome
