"""What the service is put together from, and the one way from a request to a token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

from starlette.requests import Request

from twocvm_verifier.clock import Clock
from twocvm_verifier.collateral.sources import KDS_INTERVAL_SECONDS
from twocvm_verifier.errors import FetchError

from .appraisals import Appraiser, Outcome
from .audit.ledger import Ledger, NoLedger, verdict_entry
from .ear import DEFAULT_AUDIENCE, ear_claims, token_allowed
from .limits import Rate
from .line import Line, Turns
from .lists import WouldWaitError
from .observe import seen
from .problems import ServiceError
from .requests import AppraisalRequest, parse_request
from .shelf import Shelf
from .state.reports import NoReports, Reports
from .state.sealed import Sessions
from .tokens import KeyRing

# For what is not judged on the event loop. They wait more than they compute, so more of them than cores are of use.
THREADS: Final = 8
MAX_WAITING: Final = 64
# Whoever leaves the VEK out makes us ask AMD's KDS, which is slow: in a line of their own they hold up nobody else.
FETCHING_THREADS: Final = 2
# What is longer than evidence alone can take a while to read and to judge, and must not keep the event loop so long.
SMALL_BODY_BYTES: Final = 32_768
READING_THREADS: Final = 2
MAX_FETCHING: Final = 16
# One client has half of that line, and half of the turns that KDS gives; what the store has is nobody's share.
CLIENT_FETCHES_PER_SECOND: Final = 1 / (2 * KDS_INTERVAL_SECONDS)
CLIENT_FETCHES: Final = MAX_FETCHING // 2
# A store of state answers in a moment, or it is not there.
STATE_THREADS: Final = 4
MAX_STATE_WAITING: Final = 256
_TOKEN_ID_BYTES: Final = 16
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that the routes share.

    Attributes:
        appraiser: Judges.
        keys: Sign.
        sessions: Makes challenges and knows them again.
        issuer: The service's own URL, without a slash at its end.
        federations: Audiences that tokens are issued for only under the conditions of docs/spec/ear.md, 1.
        clock: Says what time it is.
        random_bytes: Gives as many random bytes as it is asked for.
        probes: By a part's name, what raises where the part is of no use; `/readyz` tells them.
        reports: Where pages of appraisals are kept; nowhere, unless the owner wants them.
        report_seconds: For how long.
        shelf: The owner's documents, and the mirror of collateral.
        ledger: Where each verdict is recorded before it is told; nowhere, unless the owner wants it.
        closing: Called once the last request is over, in this order.
    """

    appraiser: Appraiser
    keys: KeyRing
    sessions: Sessions
    issuer: str
    federations: frozenset[str]
    clock: Clock
    random_bytes: Callable[[int], bytes] = field(repr=False)
    probes: Mapping[str, Callable[[], None]] = field(repr=False, default_factory=dict)
    reports: Reports = field(repr=False, default_factory=NoReports)
    report_seconds: int = 0
    shelf: Shelf = field(repr=False, default_factory=Shelf.empty)
    ledger: Ledger = field(repr=False, default_factory=NoLedger)
    closing: tuple[Callable[[], None], ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A judgement, and the token that tells it.

    Attributes:
        outcome: What was judged.
        token: Signed; empty where its audience is not to be told.
        token_id: Its `jti`; empty where there is none.
        key_id: Of the key that signed it; empty where there is none.
    """

    outcome: Outcome
    token: str = field(repr=False)
    token_id: str = ""
    key_id: str = ""


class Desk:
    """Judges what is asked, and refuses what would have to wait behind too many.

    Args:
        parts: What it works with.
        turns: For what only computes.
        whole: For evidence with its certificate.
        fetching: For evidence whose certificate has to be looked for.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        turns: Turns[Answer] | None = None,
        whole: Line | None = None,
        fetching: Line | None = None,
    ) -> None:
        self.parts = parts
        self._turns = turns or Turns(max_waiting=MAX_WAITING, clock=parts.clock)
        self._whole = whole or Line(threads=THREADS, max_waiting=MAX_WAITING)
        self._fetching = fetching or Line(threads=FETCHING_THREADS, max_waiting=MAX_FETCHING)
        self._reading = Line(threads=READING_THREADS, max_waiting=MAX_WAITING)
        self._state = Line(threads=STATE_THREADS, max_waiting=MAX_STATE_WAITING)
        self._fetches = Rate(per_second=CLIENT_FETCHES_PER_SECOND, burst=CLIENT_FETCHES, clock=parts.clock)

    async def read(self, body: bytes, *, media_type: str) -> AppraisalRequest:
        """Return what a body asks.

        Raises:
            MalformedError: As `parse_request`.
            ServiceError: SERVICE_BUSY.
        """
        if len(body) <= SMALL_BODY_BYTES:
            return parse_request(body, media_type=media_type)
        return await self._reading.run(lambda: parse_request(body, media_type=media_type))

    async def answer(self, asked: AppraisalRequest, *, client: str) -> Answer:
        """Judge one request, sign what comes out, and have it recorded; only then is it to be told.

        Args:
            asked: The request.
            client: Whose it is, as `clients.client_of` counts.

        Raises:
            ServiceError: AUDIENCE_UNKNOWN, SERVICE_BUSY or AUDIT_UNAVAILABLE.
            TwoCvmError: As `Appraiser.appraise`.
        """
        audience = asked.audience or DEFAULT_AUDIENCE
        if audience != DEFAULT_AUDIENCE and audience not in self.parts.federations:
            raise ServiceError("AUDIENCE_UNKNOWN", "audience: is not one of the owner's list")
        began, noted = self.parts.clock.monotonic_seconds(), seen()
        answer = await self._judged(asked, audience, client=client)
        noted.appraisal_seconds = self.parts.clock.monotonic_seconds() - began
        await self.parts.ledger.keep(
            lambda: verdict_entry(
                answer.outcome, request_id=noted.request_id, token_id=answer.token_id, key_id=answer.key_id
            )
        )
        noted.verdict = str(answer.outcome.appraisal.verdict)
        return answer

    async def ask_state(self, work: Callable[[Sessions], _T]) -> _T:
        """Ask the sessions something, which may mean to wait for a store elsewhere.

        Raises:
            ServiceError: SERVICE_BUSY, or what `work` does.
        """
        return await self._state.run(lambda: work(self.parts.sessions))

    def stop(self) -> None:
        """Begin nothing more; what runs ends by itself."""
        for line in (self._whole, self._fetching, self._reading, self._state):
            line.stop()
        self.parts.shelf.stop()
        for close in self.parts.closing:
            close()

    async def _judged(self, asked: AppraisalRequest, audience: str, *, client: str) -> Answer:
        """Judge on the event loop what memory has everything for and does not take long, and all else in a thread."""
        parts = self.parts
        if asked.size_bytes <= SMALL_BODY_BYTES and parts.keys.current.prompt and parts.appraiser.remembers(asked):
            with suppress(WouldWaitError):
                return await self._turns.run(lambda: self._judge(asked, audience, patient=False))
        whole, line = await self._line_for(asked, client)
        return await line.run(lambda: self._judge(whole, audience, patient=True))

    async def _line_for(self, asked: AppraisalRequest, client: str) -> tuple[AppraisalRequest, Line]:
        appraiser, given = self.parts.appraiser, asked
        if given.evidence.vek is None:
            asked = await self._whole.run(lambda: appraiser.with_stored(given))
        if asked.evidence.vek is not None or not appraiser.fetches:
            return asked, self._whole
        if wait := self._fetches.wait_seconds(client):
            raise FetchError("FETCH_BUSY", "client: has more fetched than its share", retry_after_seconds=wait)
        return asked, self._fetching

    def _judge(self, asked: AppraisalRequest, audience: str, *, patient: bool) -> Answer:
        parts = self.parts
        outcome = parts.appraiser.appraise(asked, patient=patient)
        if not token_allowed(outcome, audience=audience):
            return Answer(outcome=outcome, token="")
        claims = ear_claims(
            outcome,
            issuer=parts.issuer,
            audience=audience,
            nonce=asked.nonce,
            token_id=parts.random_bytes(_TOKEN_ID_BYTES),
            now=parts.clock.now(),
        )
        return Answer(
            outcome=outcome,
            token=parts.keys.token(claims),
            token_id=str(claims["jti"]),
            key_id=str(parts.keys.current.public_jwk["kid"]),
        )


def desk_of(request: Request) -> Desk:
    """Return the desk of the application that a request came to."""
    return cast(Desk, request.app.state.desk)
