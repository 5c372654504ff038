"""Documents in Redis or Valkey: for all replicas, as durable as the server is set up to be.

    {prefix}:{kind}:history:{name}       list of revisions, oldest first; its last is what the name points to
    {prefix}:{kind}:names                hash from name to digest, for who asks for all of them
    {prefix}:{kind}:content:{sha256}     a document

A name moves in one script, which the server runs while nothing else runs: of however many who come at once one finds
the name where it says, and every other is told that it was moved. A call whose answer was lost on its way may be made
again: it finds its own revision last, and is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from twocvm_verifier import strictjson
from twocvm_verifier.service.problems import ServiceError

from .documents import (
    MAX_NAMES,
    MAX_REVISIONS,
    Change,
    Kind,
    Revision,
    revision_json,
    revisions_of,
)
from .redis import PREFIX

DEFAULT_PREFIX: Final = f"{PREFIX}:documents"
_MOVED, _FULL = 1, 2
_T = TypeVar("_T")

# KEYS: names, history, content. ARGV: name, expected digest or empty, new digest, revision, content, and the limits.
_PUT: Final = f"""
local pointed = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if pointed == ARGV[3] and redis.call('LINDEX', KEYS[2], -1) == ARGV[4] then return 0 end
if pointed ~= ARGV[2] then return {_MOVED} end
if redis.call('LLEN', KEYS[2]) >= tonumber(ARGV[7]) then return {_FULL} end
if pointed == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) then return {_FULL} end
redis.call('SET', KEYS[3], ARGV[5])
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 0
"""


class RedisDocuments:
    """A store in Redis or Valkey; see `Documents`.

    Args:
        client: Connected, answering bytes; with time limits of its own.
        prefix: What every key begins with.
    """

    def __init__(self, client: Redis, *, prefix: str = DEFAULT_PREFIX) -> None:
        # The library's own types say that every answer may also be a promise of one.
        self._client: Any = client
        self._put: Any = client.register_script(_PUT)
        self._prefix = prefix

    def put(self, change: Change) -> None:
        """Move a name; see `Documents`."""
        kind, digest = change.kind, change.revision.sha256.hex()
        keys = [self._key(kind, "names"), self._key(kind, "history", change.name), self._key(kind, "content", digest)]
        revision = strictjson.canonical(revision_json(change.revision))
        words = [change.name, change.expected.hex(), digest, revision, change.content, MAX_NAMES, MAX_REVISIONS]
        outcome = _asked(lambda: self._put(keys=keys, args=words))
        if outcome == _MOVED:
            raise ServiceError("DOCUMENT_CHANGED", f"{kind} {change.name}: points elsewhere by now")
        if outcome == _FULL:
            raise ServiceError(
                "DOCUMENTS_FULL", f"documents: want at most {MAX_NAMES} names, {MAX_REVISIONS} revisions"
            )

    def names(self, kind: Kind) -> Mapping[str, bytes]:
        """Return every name; see `Documents`."""
        found = _asked(lambda: self._client.hgetall(self._key(kind, "names")))
        return {name.decode(): bytes.fromhex(digest.decode()) for name, digest in sorted(found.items())}

    def history(self, kind: Kind, name: str) -> tuple[Revision, ...]:
        """Return the steps of a name; see `Documents`."""
        found = _asked(lambda: self._client.lrange(self._key(kind, "history", name), 0, -1))
        return revisions_of(found)

    def content(self, kind: Kind, sha256: bytes) -> bytes | None:
        """Return a document; see `Documents`."""
        found: bytes | None = _asked(lambda: self._client.get(self._key(kind, "content", sha256.hex())))
        return found

    def _key(self, kind: Kind, *parts: str) -> str:
        return ":".join((self._prefix, kind, *parts))


def _asked(question: Callable[[], _T]) -> _T:
    try:
        return question()
    except RedisError as error:
        # Its text may hold an address or what was asked.
        raise ServiceError("DOCUMENTS_UNREACHABLE", f"documents: {type(error).__name__}") from error
