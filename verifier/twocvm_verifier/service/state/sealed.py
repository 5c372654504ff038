"""Sessions that nobody keeps: an identifier is the session itself, sealed with AES-SIV.

    name (16) || AES-SIV-512(key, expiry (8) || whose nonce (1) || nonce, associated data: name)

So a challenge costs its maker nothing, and whoever asks for many fills nothing. What is kept begins with an answer, and
where that is kept (`Answers`) decides what is promised: one process, all replicas, or nobody, and then a nonce is good
for as long as its session lives and not once.

Spec: docs/spec/challenge.md, 2; RFC 5297.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from twocvm_verifier import strictjson
from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.service.problems import ServiceError

from .protocol import Answers, ChallengeSession, Moment, SessionState, Told

SESSION_SECONDS: Final = 150
NAME_BYTES: Final = 16
_EXPIRY_BYTES: Final = 8
_KEY_BYTES: Final = 64
_KEY_LABEL: Final = b"2cvm.session.v1"
_CALLERS, _DRAWN = b"\x00", b"\x01"
_HEAD_BYTES: Final = _EXPIRY_BYTES + 1
# 16 bytes of name, 16 of authentication, 8 of expiry, 1 that says whose nonce it is, 8 to 64 of nonce.
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{66,140}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A session that its identifier held, and what it was opened with."""

    session: ChallengeSession
    name: bytes = field(repr=False)
    epoch: bytes = field(repr=False)


class Sessions:
    """Makes sessions and knows them again.

    Args:
        answers: Knows which were answered.
        random_bytes: Gives as many random bytes as it is asked for.
    """

    def __init__(self, *, answers: Answers, random_bytes: Callable[[int], bytes]) -> None:
        self.answers = answers
        self._random_bytes = random_bytes
        self._cipher = (b"", AESSIV(bytes(_KEY_BYTES)))

    def open(self, nonce: bytes, *, drawn: bool) -> ChallengeSession:
        """Return a new session.

        Args:
            nonce: The challenge (8 to 64 bytes).
            drawn: As `ChallengeSession`.

        Raises:
            ServiceError: STATE_UNREACHABLE.
        """
        moment = self.answers.moment()
        expires_at = moment.at.replace(microsecond=0) + timedelta(seconds=SESSION_SECONDS)
        name = self._random_bytes(NAME_BYTES)
        content = int(expires_at.timestamp()).to_bytes(_EXPIRY_BYTES, "big") + (_DRAWN if drawn else _CALLERS) + nonce
        identifier = strictjson.base64url(name + self._cipher_of(moment).encrypt(content, [name]))
        return ChallengeSession(
            identifier=identifier, nonce=nonce, drawn=drawn, expires_at=expires_at, state=SessionState.WAITING
        )

    def get(self, identifier: str) -> ChallengeSession:
        """Return a session.

        Raises:
            MalformedError: Not of the form of an identifier.
            ServiceError: SESSION_UNKNOWN or STATE_UNREACHABLE.
        """
        opened = self._opened(identifier)
        told = self.answers.told(opened.name, epoch=opened.epoch)
        return opened.session if told is None else replace(opened.session, state=told.state, result=told.result)

    def begin(self, identifier: str) -> ChallengeSession:
        """Take a session from `waiting` to `processing`; where answers are known, only one caller ever can.

        Returns:
            The session.

        Raises:
            MalformedError: Not of the form of an identifier.
            ServiceError: SESSION_UNKNOWN; SESSION_SPENT for everybody else; SERVICE_BUSY; STATE_UNREACHABLE.
        """
        opened = self._opened(identifier)
        self.answers.take(opened.name, expires_at=opened.session.expires_at, epoch=opened.epoch)
        return replace(opened.session, state=SessionState.PROCESSING)

    def finish(self, session: ChallengeSession) -> None:
        """Keep what came of a session that `begin` returned.

        Raises:
            ServiceError: SESSION_UNKNOWN where it is over meanwhile; STATE_UNREACHABLE.
        """
        opened = self._opened(session.identifier)
        self.answers.finish(opened.name, Told(state=session.state, result=session.result), epoch=opened.epoch)

    def delete(self, identifier: str) -> None:
        """Forget a session.

        Raises:
            MalformedError: Not of the form of an identifier.
            ServiceError: SESSION_UNKNOWN or STATE_UNREACHABLE.
        """
        opened = self._opened(identifier)
        # What was forgotten already is unknown.
        self.answers.told(opened.name, epoch=opened.epoch)
        self.answers.forget(opened.name, epoch=opened.epoch)

    def _opened(self, identifier: str) -> _Opened:
        if not _IDENTIFIER.fullmatch(identifier):
            raise MalformedError("appraisal-request", "path", "not the id of a session")
        moment = self.answers.moment()
        try:
            raw = strictjson.parse_base64url(identifier)
            name, sealed = raw[:NAME_BYTES], raw[NAME_BYTES:]
            content = self._cipher_of(moment).decrypt(sealed, [name])
        except (ValueError, InvalidTag) as error:
            raise _unknown() from error
        expires_at = datetime.fromtimestamp(int.from_bytes(content[:_EXPIRY_BYTES], "big"), UTC)
        if expires_at <= moment.at:
            raise _unknown()
        session = ChallengeSession(
            identifier=identifier,
            nonce=content[_HEAD_BYTES:],
            drawn=content[_EXPIRY_BYTES:_HEAD_BYTES] == _DRAWN,
            expires_at=expires_at,
            state=SessionState.WAITING,
        )
        return _Opened(session=session, name=name, epoch=moment.epoch)

    def _cipher_of(self, moment: Moment) -> AESSIV:
        epoch, cipher = self._cipher
        if epoch != moment.epoch:
            key = HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=_KEY_LABEL).derive(moment.epoch)
            cipher = AESSIV(key)
            self._cipher = (moment.epoch, cipher)
        return cipher


class SealedOnly:
    """Keeps nothing: all replicas that have the key know the same sessions, and none knows which were answered.

    Args:
        key: What all replicas share (32 bytes).
        clock: Says what is over.
    """

    once: Final = False

    def __init__(self, *, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def moment(self) -> Moment:
        """Return the key and the time."""
        return Moment(epoch=self._key, at=self._clock.now())

    def take(self, name: bytes, *, expires_at: datetime, epoch: bytes) -> None:  # noqa: ARG002 - nothing is noted
        """Refuse what is over; see `Answers`."""
        if expires_at <= self._clock.now():
            raise _unknown()

    def told(self, name: bytes, *, epoch: bytes) -> Told | None:  # noqa: ARG002 - nothing is noted
        """Return None; see `Answers`."""
        return None

    def finish(self, name: bytes, told: Told, *, epoch: bytes) -> None:
        """Keep nothing."""

    def forget(self, name: bytes, *, epoch: bytes) -> None:
        """Forget nothing that would be kept."""


def _unknown() -> ServiceError:
    return ServiceError("SESSION_UNKNOWN", "session: is not known, or no longer")
