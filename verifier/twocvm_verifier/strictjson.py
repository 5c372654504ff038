"""JSON from outside, read so that two readers can never disagree, and its one canonical form.

Refused beyond what JSON itself refuses: more than the caller's limit of bytes, more than 16 levels, a duplicate key,
a float, `null`, NaN, an integer of magnitude 2**53 or more, and in any string or key a lone surrogate, a control or
bidirectional character, or text that is not in NFC. Canonical form is RFC 8785 (JCS).

>>> canonical(parse(b'{"b": 1, "a": [true]}', document="manifest", max_bytes=100))
b'{"a":[true],"b":1}'
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn, TypeAlias

from .errors import MalformedError

Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json]"

MAX_DEPTH: Final = 16
# RFC 8785, 3.2.2.3 and RFC 7493, 2.2: integers that every reader keeps exactly.
MAX_INTEGER: Final = 2**53 - 1
_SEPARATORS: Final = (b",", b"[", b"{")
# A string, as far as it goes, or a bracket outside strings.
_BRACKET: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
# What it escapes is what RFC 8785, 3.2.2.2 escapes; `_plain` sees to all else. It is compiled, and JSON is most of
# what an answer costs.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
# Controls, surrogates, and the characters that reorder or hide text (Unicode 16, Bidi_Control and zero width).
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def parse(raw: bytes, *, document: str, max_bytes: int) -> Json:
    """Return the JSON value that `raw` writes, as dict, list, str, int and bool.

    Args:
        raw: UTF-8, the whole document and nothing after it.
        document: The format's name, for the error (`codes` has its row).
        max_bytes: The most that is read at all.

    Raises:
        MalformedError: Anything that the module docstring lists.
    """
    if len(raw) > max_bytes:
        raise MalformedError(document, "", f"got {len(raw)} bytes, want at most {max_bytes}")
    _bound_depth(raw, document)

    def refuse(what: str) -> NoReturn:
        raise MalformedError(document, "", what)

    def pairs(members: list[tuple[str, Json]]) -> dict[str, Json]:
        result = dict(members)
        if len(result) != len(members):
            refuse("an object has the same key twice")
        return result

    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_float=lambda _: refuse("a number is not an integer"),
            parse_constant=lambda _: refuse("NaN and Infinity are not JSON"),
            parse_int=lambda text: _integer(text, document),
        )
    except UnicodeDecodeError as error:
        raise MalformedError(document, "", "not UTF-8") from error
    except json.JSONDecodeError as error:
        raise MalformedError(document, "", f"not JSON: {error.msg} at byte {error.pos}") from error
    _refuse_values(value, document)
    result: Json = value
    return result


def require_few_values(raw: bytes, *, document: str, max_values: int) -> None:
    """Refuse bytes that would be more values than somebody wants to have taken apart, before any is.

    What separates values is counted, in strings too, so that text with many commas or brackets may be refused as well.

    Raises:
        MalformedError: They might be more than `max_values`.
    """
    if sum(map(raw.count, _SEPARATORS)) > max_values:
        raise MalformedError(document, "", f"more than {max_values} values")


def parse_canonical(raw: bytes, *, document: str, max_bytes: int) -> Json:
    """Return the value of `raw`, which must already be its own canonical form.

    Raises:
        MalformedError: As `parse`; or the bytes are not their own JCS.
    """
    value = parse(raw, document=document, max_bytes=max_bytes)
    if canonical(value) != raw:
        raise MalformedError(document, "", "bytes are not canonical (RFC 8785)")
    return value


def canonical(value: Json) -> bytes:
    """Return the RFC 8785 bytes of a value of our own making.

    Raises:
        ValueError: `value` holds something that strict JSON does not.
    """
    try:
        return _ENCODER.encode(_plain(value)).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("value has no canonical form") from error


def base64url(data: bytes) -> str:
    """Return `data` as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def parse_base64url(text: str) -> bytes:
    """Return the bytes that `text` writes, accepting only the one canonical spelling.

    Raises:
        ValueError: Padding, other characters, or non-zero trailing bits.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64url") from error
    if base64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


def text_problem(text: str) -> str | None:
    """Return why `text` may not stand in a document, or None where it may."""
    if text.isascii():
        return None if text.isprintable() else "has a control character"
    if _FORBIDDEN.search(text):
        return "has a control, bidirectional or surrogate character"
    return None if unicodedata.is_normalized("NFC", text) else "is not in NFC"


def _plain(value: Json) -> Json:
    """Return a value in the built-in containers, its members sorted, and nothing in it that strict JSON has not."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValueError("value has no canonical form: an integer is 2**53 or more")
        return value
    if isinstance(value, (dict, Mapping)):
        return {key: _plain(value[key]) for key in _sorted(value)}
    if isinstance(value, (list, Sequence)) and not isinstance(value, (bytes, bytearray)):
        return [_plain(member) for member in value]
    raise ValueError(f"value has no canonical form: a {type(value).__name__} is not strict JSON")


def _sorted(members: Mapping[str, Json]) -> list[str]:
    """Return keys in the order of their UTF-16 (RFC 8785, 3.2.3)."""
    if not all(isinstance(key, str) for key in members):
        raise ValueError("value has no canonical form: a key is not text")
    if all(map(str.isascii, members)):
        return sorted(members)
    return sorted(members, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _bound_depth(raw: bytes, document: str) -> None:
    # Before the parser recurses, on the bytes. What has so few brackets in all, also in its strings, needs no walk.
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for part in _BRACKET.findall(raw):
        if part in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise MalformedError(document, "", f"nested deeper than {MAX_DEPTH} levels")
        elif part in b"]}":
            depth -= 1


def _integer(text: str, document: str) -> int:
    if len(text) > len(str(MAX_INTEGER)) + 1 or abs(int(text)) > MAX_INTEGER:
        raise MalformedError(document, "", "an integer is 2**53 or more")
    if text == "-0":
        raise MalformedError(document, "", "minus zero is not an integer")
    return int(text)


def _refuse_values(value: object, document: str, pointer: str = "") -> None:
    # The pointers are of whatever names stand there, and no `places`.
    if value is None:
        raise MalformedError(document, pointer, "null is not allowed", places=())
    if isinstance(value, str):
        if problem := text_problem(value):
            raise MalformedError(document, pointer, f"text {problem}", places=())
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _refuse_values(member, document, f"{pointer}/{index}")
    elif isinstance(value, dict):
        for key, member in value.items():
            if problem := text_problem(key):
                raise MalformedError(document, pointer, f"key {problem}", places=())
            _refuse_values(member, document, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
