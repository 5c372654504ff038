"""One process of clients that ask a verifier service for as much as it gives, and hold every answer to what is true.

Each of its threads opens a session, answers it with evidence whose verdict is known, now and then sends the same answer
to both replicas at once, and sends answers from before once more. What a nonce was accepted for is counted here, from
outside: the service is believed nothing.

    tally = run(Plan(...))
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey

from twocvm_guest.platforms.simulated import SimulatedChip, SimulatedPlatform
from twocvm_guest.platforms.simulated_pki import SimulatedCertificates

NEW: Final = "/challenge-response/v1/newSession"
REQUEST: Final = "application/vnd.2cvm.appraise+json"
MEASUREMENT: Final = b"m" * 48
# What a client does that was told to come back; less than it was told, or there would be no saturation.
PAUSE_SECONDS: Final = 0.1
OUTAGE_SECONDS: Final = 20.0
_BAD: Final = ("for another nonce", "with a wrong signature", "of another chip")
_SPENT: Final = 64
_COME_BACK: Final = (http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE)
_Answer: TypeAlias = tuple[int, http.client.HTTPMessage, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A simulated chip that can be sent to another process.

    Attributes:
        chip_id: Its id.
        key: PEM of its VCEK's private key.
        certificates: VCEK, chain and revocation list.
    """

    chip_id: bytes
    key: bytes
    certificates: tuple[bytes, bytes, bytes]

    @classmethod
    def of(cls, chip: SimulatedChip) -> Chip:
        """Return what is sent of a chip."""
        made = chip.certificates
        pem = made.vcek_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(chip_id=chip.chip_id, key=pem, certificates=(made.vcek_der, made.chain_pem, made.crl_der))

    def platform(self) -> SimulatedPlatform:
        """Return a guest on it."""
        key, (vcek, chain, crl) = load_pem_private_key(self.key, password=None), self.certificates
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        made = SimulatedCertificates(vcek_key=key, vcek_der=vcek, chain_pem=chain, crl_der=crl)
        chip = SimulatedChip(chip_id=self.chip_id, certificates=made)
        return SimulatedPlatform(chip, host_data=bytes(32), measurement=MEASUREMENT, latency_seconds=0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one process of clients does.

    Attributes:
        client: Its address, a loopback one of its own, so that it has a client's share of its own.
        front: The port of what stands before the replicas.
        replicas: Their own ports.
        chip: Whose evidence is good.
        foreign: A chip that the service does not trust.
        key: The JWK that tokens are signed with.
        threads: How many ask at a time.
        stop: The file whose being there ends it.
        seed: Of what is left to chance.
    """

    client: str
    front: int
    replicas: tuple[int, int]
    chip: Chip
    foreign: Chip
    key: Mapping[str, str]
    threads: int
    stop: Path
    seed: int


@dataclass(kw_only=True)
class Tally:
    """What came of it.

    Attributes:
        answers: By what was asked (`open`, `answer`, `again`, `race`, `replay`, `greedy`), the status and the code.
        broken: For each connection that ended without an answer, what was asked, and when it ended.
        seconds: How long each request for a session, or with its evidence, took that was answered through the front.
        accepted: Nonces for which there was a verdict.
        verdicts: How many there were, by verdict.
        wrong: What must not be, in words.
        unknown: For each answer to a session that was not known any more, when that session was opened.
        longest_gap: The longest time that a thread went without an answer of use, in seconds.
    """

    answers: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    broken: list[tuple[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    accepted: set[bytes] = field(default_factory=set)
    verdicts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)
    longest_gap: float = 0.0

    def add(self, other: Tally) -> None:
        """Take what another process counted; a nonce that both saw accepted is wrong."""
        self.wrong += [*other.wrong, *(f"accepted twice: {nonce.hex()}" for nonce in self.accepted & other.accepted)]
        self.accepted |= other.accepted
        self.answers += other.answers
        self.broken += other.broken
        self.seconds += other.seconds
        self.verdicts += other.verdicts
        self.unknown += other.unknown
        self.longest_gap = max(self.longest_gap, other.longest_gap)


def run(plan: Plan) -> Tally:
    """Ask until it is ended, and return what came of it."""
    tally, lock = Tally(), threading.Lock()
    platforms = plan.chip.platform(), plan.foreign.platform()

    def ask(place: int) -> None:
        _Client(plan, platforms, tally, lock, chance=random.Random(f"{plan.seed}/{place}")).run()  # noqa: S311 - no secret

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(plan.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


@dataclass(frozen=True, kw_only=True)
class _Session:
    path: str
    nonce: bytes
    opened_at: float
    body: bytes
    good: bool


class _Line:
    """A connection that is made anew when it breaks."""

    def __init__(self, client: str, port: int) -> None:
        self._made = http.client.HTTPConnection("127.0.0.1", port, timeout=OUTAGE_SECONDS, source_address=(client, 0))

    def send(self, path: str, body: bytes) -> None:
        self._made.request("POST", path, body=body, headers={"Content-Type": REQUEST} if body else {})

    def answer(self) -> _Answer:
        answer = self._made.getresponse()
        raw = answer.read()
        with suppress(ValueError):
            return answer.status, answer.headers, json.loads(raw)
        return answer.status, answer.headers, {}

    def close(self) -> None:
        self._made.close()


class _Client:
    def __init__(
        self,
        plan: Plan,
        platforms: tuple[SimulatedPlatform, SimulatedPlatform],
        tally: Tally,
        lock: threading.Lock,
        *,
        chance: random.Random,
    ) -> None:
        self._plan, self._tally, self._lock, self._chance = plan, tally, lock, chance
        self._platform, self._foreign = platforms
        self._key = ECKey.import_key(dict(plan.key))
        self._front = _Line(plan.client, plan.front)
        self._replicas = [_Line(plan.client, port) for port in plan.replicas]
        self._spent: deque[_Session] = deque(maxlen=_SPENT)
        self._useful_at = time.monotonic()

    def run(self) -> None:
        while not self._plan.stop.exists():
            session = self._opened()
            if session is None:
                time.sleep(PAUSE_SECONDS)
                continue
            dice = self._chance.random()
            if dice < 0.1:
                self._race(session)
            else:
                self._answer(session)
            if session.nonce in self._tally.accepted:
                self._spent.append(session)
            if dice > 0.85 and self._spent:
                self._asked(self._front, "replay", self._chance.choice(self._spent))
        for line in (self._front, *self._replicas):
            line.close()

    def _opened(self) -> _Session | None:
        got = self._ask(self._front, "open", NEW, b"")
        if got is None or got[0] != http.HTTPStatus.CREATED:
            return None
        nonce = base64.b64decode(got[2]["nonce"], validate=True)
        good = self._chance.random() < 0.7
        path = f"/challenge-response/v1/{got[1]['Location']}"
        opened_at = time.monotonic()
        return _Session(path=path, nonce=nonce, opened_at=opened_at, body=self._evidence(nonce, good=good), good=good)

    def _answer(self, session: _Session) -> None:
        done = self._asked(self._front, "answer", session)
        # Whoever does not know what became of an answer sends it again.
        while not done and not self._plan.stop.exists():
            time.sleep(PAUSE_SECONDS)
            done = self._asked(self._front, "again", session)

    def _race(self, session: _Session) -> None:
        """Send the same to both replicas before either has answered."""
        sent = []
        for line in self._replicas:
            with self._counting("race", line):
                line.send(session.path, session.body)
                sent.append(line)
        for line in sent:
            with self._counting("race", line):
                self._judge("race", session, line.answer())

    def _asked(self, line: _Line, what: str, session: _Session) -> bool:
        got = self._ask(line, what, session.path, session.body)
        if got is None:
            return False
        self._judge(what, session, got)
        return got[0] not in _COME_BACK

    def _ask(self, line: _Line, what: str, path: str, body: bytes) -> _Answer | None:
        with self._counting(what, line):
            began = time.monotonic()
            line.send(path, body)
            got = line.answer()
            ended = time.monotonic()
            with self._lock:
                if what == "open":
                    self._count(what, got)
                if got[0] in (http.HTTPStatus.OK, http.HTTPStatus.CREATED):
                    self._tally.seconds.append(ended - began)
                    self._tally.longest_gap = max(self._tally.longest_gap, ended - self._useful_at)
                    self._useful_at = ended
            return got
        return None

    def _judge(self, what: str, session: _Session, got: _Answer) -> None:
        status, _, told = got
        with self._lock:
            self._count(what, got)
            if told.get("code") == "SESSION_UNKNOWN":
                self._tally.unknown.append(session.opened_at)
            if status == http.HTTPStatus.OK:
                self._tally.wrong += self._accepted(session, told)

    def _count(self, what: str, got: _Answer) -> None:
        status, headers, told = got
        code = str(told.get("code", ""))
        self._tally.answers[what, status, code] += 1
        # Whoever says it, haproxy too: a client learns what it is, and when to come back.
        if status in _COME_BACK and not (code and headers["Retry-After"]):
            self._tally.wrong.append(f"{status} to {what} without a code or Retry-After")

    def _accepted(self, session: _Session, told: dict[str, Any]) -> Iterator[str]:
        """Count an acceptance, and say what is wrong with it."""
        claims = jwt.decode(told["result"], self._key, algorithms=["ES256"]).claims
        verdict, wanted = claims["2cvm.verdict"], "warning" if session.good else "contraindicated"
        self._tally.verdicts[verdict] += 1
        if session.nonce in self._tally.accepted:
            yield f"accepted twice: {session.nonce.hex()}"
        self._tally.accepted.add(session.nonce)
        if verdict != wanted or told["status"] != "complete":
            yield f"wrong verdict: got {verdict}, {told['status']}, want {wanted}"
        if claims["eat_nonce"] != _base64url(session.nonce):
            yield "a token for another nonce"

    def _evidence(self, nonce: bytes, *, good: bool) -> bytes:
        flaw = "" if good else self._chance.choice(_BAD)
        platform = self._foreign if flaw == "of another chip" else self._platform
        data = nonce[::-1] if flaw == "for another nonce" else nonce
        report = bytearray(platform.report(data.ljust(64, b"\x00")))
        if flaw == "with a wrong signature":
            report[0x2A0] ^= 1
        parts = {"report": bytes(report), "vek": platform.vek(), "chain": platform.chain()}
        return json.dumps({"evidence": {name: _base64url(raw) for name, raw in parts.items()}}).encode()

    @contextmanager
    def _counting(self, what: str, line: _Line) -> Iterator[None]:
        """Count a connection that breaks, and go on."""
        try:
            yield
        except (OSError, http.client.HTTPException):
            line.close()
            with self._lock:
                self._tally.broken.append((what, time.monotonic()))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
