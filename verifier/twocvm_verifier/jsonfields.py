"""Reading machine-written JSON member by member; the first thing that is wrong ends it.

For documents that only programs write. A manifest, which people write, has every problem reported at once instead.

>>> Fields({"n": 1}, document="receipt", pointer="/x", required={"n"}).integer("n", maximum=9)
1
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Final

from .errors import MalformedError
from .framing import HASH_BYTES
from .strictjson import Json, parse_base64url

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_HASH: Final = re.compile(rf"[0-9a-f]{{{2 * HASH_BYTES}}}", re.ASCII)
_SHOWN_CHARACTERS: Final = 80


class Fields:
    """One object that has all `required` members, perhaps some `optional` ones, and no other.

    Args:
        value: The value as `strictjson` gave it.
        document: The format's name, for errors.
        pointer: Where the object stands in the document (RFC 6901).
        required: Members that must be there.
        optional: Members that may be.

    Raises:
        MalformedError: Not an object, or with other members; so does every method, for its member.
    """

    def __init__(
        self, value: Json, *, document: str, pointer: str, required: Set[str], optional: Set[str] = frozenset()
    ) -> None:
        self._document = document
        self._pointer = pointer
        if not isinstance(value, Mapping):
            raise MalformedError(document, pointer, "not an object", places=(pointer,))
        if unknown := sorted(value.keys() - required - optional):
            raise MalformedError(document, pointer, f"members {_shown(unknown)} are not known", places=(pointer,))
        if missing := sorted(required - value.keys()):
            places = tuple(f"{pointer}/{name}" for name in missing)
            raise MalformedError(document, pointer, f"members {missing} are missing", places=places)
        self._value: Mapping[str, Json] = value

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def json(self, key: str) -> Json:
        """Return the member as it is, to be read by whoever owns its format."""
        return self._value[key]

    def text(self, key: str) -> str:
        """Return any string."""
        value = self._value[key]
        if not isinstance(value, str):
            raise self._malformed(key, "not a string")
        return value

    def name(self, key: str) -> str:
        """Return a name (`[a-z][a-z0-9-]{0,62}`)."""
        text = self.text(key)
        if not NAME.fullmatch(text):
            raise self._malformed(key, f"got {_shown(text)}, want a name")
        return text

    def exactly(self, key: str, wanted: str) -> None:
        """Demand one fixed string."""
        text = self.text(key)
        if text != wanted:
            raise self._malformed(key, f"got {_shown(text)}, want {wanted!r}")

    def hash(self, key: str) -> bytes:
        """Return the 32 bytes that 64 lower-case hex digits write."""
        text = self.text(key)
        if not _HASH.fullmatch(text):
            raise self._malformed(key, f"got {_shown(text)}, want 64 lower-case hex digits")
        return bytes.fromhex(text)

    def base64url(self, key: str) -> bytes:
        """Return the bytes that canonical base64url without padding writes."""
        try:
            return parse_base64url(self.text(key))
        except ValueError as error:
            raise self._malformed(key, str(error)) from error

    def integer(self, key: str, *, maximum: int) -> int:
        """Return a whole number from 0 to `maximum`."""
        value = self._value[key]
        # bool is an int in Python, and not in JSON.
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
            raise self._malformed(key, f"not an integer from 0 to {maximum}")
        return value

    def array(self, key: str) -> tuple[Json, ...]:
        """Return the members of an array."""
        value = self._value[key]
        if not isinstance(value, list):
            raise self._malformed(key, "not an array")
        return tuple(value)

    def names(self, key: str) -> tuple[str, ...]:
        """Return an array of names, in its order."""
        members = self.array(key)
        names = tuple(member for member in members if isinstance(member, str) and NAME.fullmatch(member))
        if len(names) != len(members):
            raise self._malformed(key, "a member is not a name")
        return names

    def fields(self, key: str, *, required: Set[str], optional: Set[str] = frozenset()) -> Fields:
        """Return the object that the member is."""
        return Fields(
            self._value[key],
            document=self._document,
            pointer=f"{self._pointer}/{key}",
            required=required,
            optional=optional,
        )

    def objects(self, key: str, *, required: Set[str]) -> tuple[Fields, ...]:
        """Return the objects of an array, each with exactly the `required` members."""
        return tuple(
            Fields(member, document=self._document, pointer=f"{self._pointer}/{key}/{index}", required=required)
            for index, member in enumerate(self.array(key))
        )

    def _malformed(self, key: str, detail: str) -> MalformedError:
        return MalformedError(self._document, f"{self._pointer}/{key}", detail)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
