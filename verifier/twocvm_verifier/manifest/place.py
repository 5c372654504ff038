"""Reading one JSON value by its place in a manifest: every reader notes what is wrong and goes on.

A reader always returns a value of its type. Where the place is wrong it notes a problem and returns the empty value of
that type (`""`, `b""`, 0, False, `()`), which the rules that follow know to pass over; nobody but them ever sees it,
because a document with a problem gives no manifest.

>>> from .problems import Problems
>>> found = Problems()
>>> Place("Hospital", "/name", found).name()
''
>>> [str(problem) for problem in found.found]
["/name: got 'Hospital', want [a-z][a-z0-9-]{0,62}"]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, TypeVar

from twocvm_verifier.clock import parse_time
from twocvm_verifier.strictjson import Json, canonical

from .problems import Problems, Rule

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_HEX: Final = re.compile(r"[0-9a-f]*", re.ASCII)
_SHOWN_CHARACTERS: Final = 80

NO_TIME: Final = datetime.min.replace(tzinfo=UTC)

T = TypeVar("T")
A = TypeVar("A")


def is_name(text: str) -> bool:
    """Return whether `text` is a name of this project: `[a-z][a-z0-9-]{0,62}`."""
    return _NAME.fullmatch(text) is not None


def shown(text: str) -> str:
    """Return untrusted text as it may stand in a message: quoted, escaped and cut."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def child(pointer: str, key: str | int) -> str:
    """Return the JSON pointer of a member (RFC 6901, 3)."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


class Place:
    """One value of the document, where it stands, and where its problems go.

    Args:
        value: The value as `strictjson` gave it; None where a required member is missing, which is already noted.
        pointer: The JSON pointer of the place.
        problems: Where problems are noted.
    """

    __slots__ = ("pointer", "problems", "value")

    def __init__(self, value: Json | None, pointer: str, problems: Problems) -> None:
        self.value = value
        self.pointer = pointer
        self.problems = problems

    def wrong(self, rule: Rule, detail: str) -> None:
        """Note that this place breaks `rule`."""
        self.problems.add(rule, self.pointer, detail)

    def string(self) -> str:
        """Read any string."""
        if isinstance(self.value, str):
            return self.value
        self._wrong_type("a string")
        return ""

    def text(self, max_characters: int) -> str:
        """Read a string of 1 to `max_characters` code points."""
        text = self.string()
        if isinstance(self.value, str) and not 1 <= len(text) <= max_characters:
            self.wrong(Rule.FORM, f"got {len(text)} characters, want 1 to {max_characters}")
            return ""
        return text

    def matching(self, accepts: Callable[[str], bool], wanted: str) -> str:
        """Read a string that `accepts` holds of; `wanted` says in words what that is."""
        text = self.string()
        if isinstance(self.value, str) and not accepts(text):
            self.wrong(Rule.FORM, f"got {shown(text)}, want {wanted}")
            return ""
        return text

    def name(self) -> str:
        """Read a name."""
        return self.matching(is_name, _NAME.pattern)

    def choice(self, allowed: Iterable[str]) -> str:
        """Read one of the `allowed` strings."""
        wanted = tuple(allowed)
        return self.matching(lambda text: text in wanted, "one of " + ", ".join(wanted))

    def hex(self, size_bytes: int) -> bytes:
        """Read `size_bytes` bytes in lower-case hex."""
        text = self.string()
        if not isinstance(self.value, str):
            return b""
        if len(text) != 2 * size_bytes or not _HEX.fullmatch(text):
            self.wrong(Rule.FORM, f"got {shown(text)}, want {2 * size_bytes} lower-case hex digits")
            return b""
        return bytes.fromhex(text)

    def time(self) -> datetime:
        """Read a time; `NO_TIME` where it is none."""
        text = self.string()
        if not isinstance(self.value, str):
            return NO_TIME
        try:
            return parse_time(text)
        except ValueError:
            self.wrong(Rule.FORM, f"got {shown(text)}, want a time as YYYY-MM-DDTHH:MM:SSZ")
            return NO_TIME

    def integer(self, low: int, high: int) -> int:
        """Read a whole number from `low` to `high`, both included; 0 where it is none."""
        # bool is an int in Python, and not in JSON.
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self._wrong_type("an integer")
            return 0
        if not low <= self.value <= high:
            self.wrong(Rule.RANGE, f"got {self.value}, want {low} to {high}")
            return 0
        return self.value

    def boolean(self) -> bool:
        """Read true or false."""
        if isinstance(self.value, bool):
            return self.value
        self._wrong_type("true or false")
        return False

    def array(self, read: Callable[[Place], T]) -> tuple[T, ...]:
        """Read an array in the order it has; it is never empty."""
        if not isinstance(self.value, list):
            self._wrong_type("an array")
            return ()
        if not self.value:
            self.wrong(Rule.FORM, "got an empty array; leave the member out")
        return tuple(
            read(Place(member, child(self.pointer, index), self.problems)) for index, member in enumerate(self.value)
        )

    def set(self, read: Callable[[Place], T]) -> tuple[T, ...]:
        """Read an array that is a set: sorted by its members' JCS bytes, none twice."""
        if isinstance(self.value, list):
            keys = [canonical(member) for member in self.value]
            for index, (before, key) in enumerate(pairwise(keys), start=1):
                if before >= key:
                    fault = "stands twice" if before == key else "is out of order"
                    self.problems.add(
                        Rule.SET, child(self.pointer, index), f"{fault} in a set sorted by its members' JCS bytes"
                    )
        return self.array(read)

    def members(self, *, required: Iterable[str] = (), optional: Iterable[str] = ()) -> Members:
        """Read an object that has all `required` members, perhaps some `optional` ones, and no other."""
        if not isinstance(self.value, dict):
            self._wrong_type("an object")
            return Members({}, self, present=False)
        wanted = tuple(required)
        known = {*wanted, *optional}
        for key in self.value:
            if key not in known:
                self.problems.add(Rule.UNKNOWN, child(self.pointer, key[:_SHOWN_CHARACTERS]), "no such member")
        for key in wanted:
            if key not in self.value:
                self.problems.add(Rule.MISSING, child(self.pointer, key), "the member is missing")
        if not self.value and not wanted:
            self.wrong(Rule.FORM, "got an empty object; leave the member out")
        return Members(self.value, self, present=True)

    def _wrong_type(self, wanted: str) -> None:
        if self.value is not None:
            self.wrong(Rule.TYPE, f"got {_type_name(self.value)}, want {wanted}")


class Members:
    """The members of one object, each read by its place.

    Args:
        value: The object.
        place: Where it stands.
        present: Whether it is an object at all.
    """

    __slots__ = ("_place", "_value", "present")

    def __init__(self, value: Mapping[str, Json], place: Place, *, present: bool) -> None:
        self._value = value
        self._place = place
        self.present = present

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def __getitem__(self, key: str) -> Place:
        return Place(self._value.get(key), child(self._place.pointer, key), self._place.problems)

    def optional(self, key: str, read: Callable[[Place], T], absent: A) -> T | A:
        """Read the member `key`, or return `absent` where the object has none."""
        return read(self[key]) if key in self._value else absent


def _type_name(value: Json) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, Mapping) else "an array"
