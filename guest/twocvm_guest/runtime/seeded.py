"""Random numbers that a seed decides: the same seed gives the same numbers, and without it nobody can tell them."""

from __future__ import annotations

import hashlib


class Seeded:
    """A stream of bytes: SHA-512 of the seed and a counter, block after block.

    Args:
        seed: 32 bytes, secret unless the manifest fixes them.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._block = 0
        self._rest = b""

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        while len(self._rest) < count:
            self._rest += hashlib.sha512(self._seed + self._block.to_bytes(8, "big")).digest()
            self._block += 1
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken
