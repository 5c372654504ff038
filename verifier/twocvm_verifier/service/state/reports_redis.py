"""Pages of appraisals in a Redis or Valkey that all replicas share, so that any of them shows any page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, cast

from redis import Redis
from redis.exceptions import RedisError

from twocvm_verifier.service.problems import ServiceError

from .redis import PREFIX
from .reports import MAX_REPORTS, full, unknown

_INDEX: Final = f"{PREFIX}:reports"
# The index knows how many there are: a Redis that nobody fills pushes out nothing that it must not forget.
_KEEP: Final = """
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'EXAT', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[3], KEYS[2])
return 1
"""


class RedisReports:
    """Keeps documents in a Redis.

    Args:
        client: From `redis.connect`.
        max_reports: How many are kept at once, by all replicas.
    """

    def __init__(self, *, client: Redis, max_reports: int = MAX_REPORTS) -> None:
        self._client = client
        self._max_reports = max_reports
        self._keep = client.register_script(_KEEP)

    def keep(self, name: bytes, document: bytes, *, until: datetime) -> None:
        """Keep a document; see `Reports`."""
        arguments: list[int | bytes] = [self._max_reports, document, int(until.timestamp())]
        if not _reached(lambda: self._keep(keys=[_INDEX, _key(name)], args=arguments)):
            raise full()

    def find(self, name: bytes) -> bytes:
        """Return a document; see `Reports`."""
        document = cast("bytes | None", _reached(lambda: self._client.get(_key(name))))
        if document is None:
            raise unknown()
        return document


def _key(name: bytes) -> str:
    return f"{PREFIX}:report:{name.hex()}"


def _reached(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - of the command's type
    try:
        return work()
    except (RedisError, OSError) as error:
        # Their text may quote a key or the address.
        raise ServiceError("STATE_UNREACHABLE", f"state: {type(error).__name__}") from error
