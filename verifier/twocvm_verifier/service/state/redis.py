"""What was answered, in a Redis or Valkey that all replicas share.

A nonce is good once as long as nothing forgets that it was answered, and a Redis may forget: it may start again from an
older copy, be emptied, push out what does not fit, or hand over to a replica that is behind. Each of these changes what
sessions are sealed with, which is asked in the same step as the answer is noted; so that where an answer may have been
forgotten, every session from before is unknown. The clock that ends sessions is the server's, one for all replicas.

Where it cannot be reached nobody can say what was answered, and so nothing is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from twocvm_verifier.clock import Clock
from twocvm_verifier.service.problems import ServiceError

from .protocol import Moment, SessionState, Told

PREFIX: Final = "{2cvm}"
REACH_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
# Where it was not reached, whoever comes meanwhile is not kept waiting to learn the same.
PAUSE_SECONDS: Final = 0.5
_SECRET_BYTES: Final = 32
_ATTEMPT_BYTES: Final = 16
_SECRET: Final = f"{PREFIX}:secret"
# A note stays for longer than any session, so that none ends before its session by a rounding.
_LIFETIMES: Final = 2
_PROCESSING, _COMPLETE, _FAILED, _FORGOTTEN = b"p", b"c", b"f", b"g"

# A start has its own run_id, and who takes over from another its own master_replid; what was pushed out is counted; who
# empties it empties the secret too.
_EPOCH: Final = """
local function epoch(secret)
    local told = redis.call('INFO', 'server', 'stats', 'replication')
    local run, line = string.match(told, 'run_id:(%x+)'), string.match(told, 'master_replid:(%x+)')
    return secret .. run .. line .. string.match(told, 'evicted_keys:(%d+)')
end
"""
_MOMENT: Final = f"""{_EPOCH}
if not redis.call('GET', KEYS[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
local time = redis.call('TIME')
return {{epoch(redis.call('GET', KEYS[1])), time[1], time[2]}}
"""
_SAME: Final = f"""{_EPOCH}
local secret = redis.call('GET', KEYS[1])
if not secret or epoch(secret) ~= ARGV[1] then return 'g' end
local noted = redis.call('GET', KEYS[2])
"""
# An attempt whose answer was lost on its way finds its own mark.
_TAKE: Final = f"""{_SAME}
if noted and noted ~= ARGV[2] then return noted end
if tonumber(redis.call('TIME')[1]) >= tonumber(ARGV[3]) then return 'g' end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
return ''
"""
_TOLD: Final = f"""{_SAME}
return noted or ''
"""
_FINISH: Final = f"""{_SAME}
if noted and string.sub(noted, 1, 1) == 'p' then redis.call('SET', KEYS[2], ARGV[2], 'KEEPTTL') end
return ''
"""
_FORGET: Final = f"""{_SAME}
redis.call('SET', KEYS[2], 'g', 'EX', ARGV[2])
return ''
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPlace:
    """Where a Redis is.

    Attributes:
        url: `redis://HOST:PORT/DB`, `rediss://` with TLS, or `unix://PATH`.
        user: Its user; empty where it has none.
        password: Its password; empty where it has none.
        authority: PEM of the authority of its certificate; None is the machine's own.
    """

    url: str
    user: str
    password: str
    authority: Path | None

    def __repr__(self) -> str:
        """Return no secret."""
        return f"RedisPlace({self.url!r})"


def connect(place: RedisPlace) -> Redis:
    """Return a client of a Redis, safe to use from several threads; it reaches for nothing before it is used."""
    given: dict[str, Any] = {}
    if place.url.startswith("rediss:") and place.authority is not None:
        given["ssl_ca_certs"] = str(place.authority)
    if place.user:
        given["username"] = place.user
    if place.password:
        given["password"] = place.password
    # A connection from before the server's end is made anew, once; each call here may be made twice.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return Redis.from_url(
        place.url,
        socket_connect_timeout=REACH_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=retry,
        protocol=2,
        **given,
    )


class RedisAnswers:
    """Keeps answers in a Redis of at least version 7, or a Valkey.

    Args:
        client: From `connect`.
        clock: Says when it is tried again.
        session_seconds: For how long a session lives.
        random_bytes: Gives as many random bytes as it is asked for.
    """

    once: Final = True

    def __init__(
        self, *, client: Redis, clock: Clock, session_seconds: int, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._clock = clock
        self._kept_seconds = _LIFETIMES * session_seconds
        self._random_bytes = random_bytes
        self._scripts = {text: client.register_script(text) for text in (_MOMENT, _TAKE, _TOLD, _FINISH, _FORGET)}
        self._not_before = clock.monotonic_seconds()

    def moment(self) -> Moment:
        """Return what sessions are sealed with, and the server's time."""
        epoch, seconds, microseconds = self._run(_MOMENT, [_SECRET], [self._random_bytes(_SECRET_BYTES)])
        at = datetime.fromtimestamp(int(seconds), UTC).replace(microsecond=int(microseconds))
        return Moment(epoch=epoch, at=at)

    def take(self, name: bytes, *, expires_at: datetime, epoch: bytes) -> None:
        """Note an answer, once; see `Answers`."""
        mark = _PROCESSING + self._random_bytes(_ATTEMPT_BYTES)
        noted = self._on(_TAKE, name, epoch, mark, int(expires_at.timestamp()), self._kept_seconds)
        if noted:
            raise ServiceError("SESSION_SPENT", f"session: is {_told(noted).state}")

    def told(self, name: bytes, *, epoch: bytes) -> Told | None:
        """Return what came of a session; see `Answers`."""
        noted = self._on(_TOLD, name, epoch)
        return _told(noted) if noted else None

    def finish(self, name: bytes, told: Told, *, epoch: bytes) -> None:
        """Keep what came of it; see `Answers`."""
        kind = _COMPLETE if told.state is SessionState.COMPLETE else _FAILED
        self._on(_FINISH, name, epoch, kind + told.result.encode("ascii"))

    def forget(self, name: bytes, *, epoch: bytes) -> None:
        """Make a session unknown; see `Answers`."""
        self._on(_FORGET, name, epoch, self._kept_seconds)

    def _on(self, script: str, name: bytes, epoch: bytes, *arguments: bytes | int) -> bytes:
        key = f"{PREFIX}:answered:{name.hex()}"
        noted = cast(bytes, self._run(script, [_SECRET, key], [epoch, *arguments]))
        if noted == _FORGOTTEN:
            raise ServiceError("SESSION_UNKNOWN", "session: is not known, or no longer")
        return noted

    def _run(self, script: str, keys: list[str], arguments: list[bytes | int]) -> Any:  # noqa: ANN401 - of the script's type
        if self._clock.monotonic_seconds() < self._not_before:
            raise ServiceError("STATE_UNREACHABLE", "state: was not reached a moment ago")
        try:
            return self._scripts[script](keys=keys, args=arguments)
        except (RedisError, OSError) as error:
            # Their text may quote a key or the address.
            self._not_before = self._clock.monotonic_seconds() + PAUSE_SECONDS
            raise ServiceError("STATE_UNREACHABLE", f"state: {type(error).__name__}") from error


def _told(noted: bytes) -> Told:
    kind, result = noted[:1], noted[1:]
    if kind == _COMPLETE:
        return Told(state=SessionState.COMPLETE, result=result.decode("ascii"))
    return Told(state=SessionState.FAILED if kind == _FAILED else SessionState.PROCESSING)
