"""Strict JSON: one reading, one writing, and nothing else."""

from __future__ import annotations

import json
import time
from types import MappingProxyType

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.strictjson import (
    MAX_DEPTH,
    MAX_INTEGER,
    Json,
    base64url,
    canonical,
    parse,
    parse_base64url,
    parse_canonical,
    require_few_values,
    text_problem,
)

TEXTS = st.text().filter(lambda text: text_problem(text) is None)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-MAX_INTEGER, MAX_INTEGER), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)

REFUSED = {
    "nothing at all": b"",
    "not UTF-8": b'"\xff"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a byte order mark": b"\xef\xbb\xbf1",
    "something after the value": b"1 1",
    "a float": b"1.0",
    "an exponent": b"1e2",
    "minus zero": b"-0",
    "minus zero as a float": b"-0.0",
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "a leading zero": b"01",
    "2**53": b"9007199254740992",
    "-2**53": b"[-9007199254740992]",
    "an integer of a million digits": b"1" * 1_000_000,
    "null": b"null",
    "null inside": b'{"a":[null]}',
    "a trailing comma": b"[1,]",
    "a comment": b"[1] // x",
    "a key twice": b'{"a":1,"a":1}',
    "a key twice, once escaped": b'{"a":1,"\\u0061":2}',
    "a key twice, deep inside": b'[{"b":{"a":1,"a":1}}]',
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate as a key": b'{"\\udc00":1}',
    "a control character": b'"\\u0007"',
    "a raw control character": b'"\t"',
    "DEL": b'"\\u007f"',
    "a C1 control character": b'"\\u0085"',
    "right-to-left override": b'"\\u202e"',
    "an isolate": b'"\\u2066"',
    "Arabic letter mark": b'"\\u061c"',
    "zero width space": b'"\\u200b"',
    "a byte order mark inside": b'"a\\ufeff"',
    "a line separator in a key": b'{"\\u2028":1}',
    "text not in NFC": '"e\u0301"'.encode(),
    "a key not in NFC": '{"e\u0301":1}'.encode(),
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(raw: bytes) -> None:
    """What two readers could read in two ways is refused."""
    with pytest.raises(MalformedError) as refusal:
        parse(raw, document="manifest", max_bytes=2**20)
    assert refusal.value.code == "MALFORMED_MANIFEST"


@given(st.binary(max_size=64))
def test_total_on_bytes(raw: bytes) -> None:
    """Any bytes give a value or MalformedError."""
    try:
        parse(raw, document="manifest", max_bytes=2**20)
    except MalformedError:
        return


@given(st.lists(st.sampled_from(list('{}[]":,\\ud80012e.-ntrue falsl"\u202e')), max_size=40).map("".join))
def test_total_on_text_like_json(text: str) -> None:
    """Text made of JSON's own characters gives a value or MalformedError."""
    try:
        parse(text.encode(), document="manifest", max_bytes=2**20)
    except MalformedError:
        return


@given(VALUES)
def test_round_trip(value: Json) -> None:
    """What is written canonically is read as the same value, and is its own canonical form."""
    raw = canonical(value)
    assert parse_canonical(raw, document="manifest", max_bytes=2**20) == value
    assert json.loads(raw) == value


@given(VALUES)
def test_canonical_of_frozen_values(value: Json) -> None:
    """Tuples and read-only mappings have the canonical form of the lists and dicts they stand for."""

    def frozen(part: Json) -> Json:
        if isinstance(part, dict):
            return MappingProxyType({key: frozen(member) for key, member in part.items()})
        return tuple(frozen(member) for member in part) if isinstance(part, list) else part

    assert canonical(frozen(value)) == rfc8785.dumps(value)


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_canonical_of_any_text(value: Json) -> None:
    """Also text that no document may have, in values and keys, is escaped and sorted as RFC 8785 says."""
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [1.5, None, b"x", "\ud800", {"\udfff": 1}, {1: 2}, 2**53, [float("nan")], {1}])
def test_canonical_refuses(value: object) -> None:
    """What strict JSON has not got has no canonical form; that is our own caller's mistake."""
    with pytest.raises(ValueError, match="canonical form"):
        canonical(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("raw", [b'{"b":1,"a":2}', b'{"a": 1}', b"[1]\n", b'"\\u0061"', b'"\\/"'])
def test_parse_canonical_refuses_other_spellings(raw: bytes) -> None:
    """Bytes that write the value in any but its canonical way are refused."""
    parse(raw, document="manifest", max_bytes=100)
    with pytest.raises(MalformedError):
        parse_canonical(raw, document="manifest", max_bytes=100)


def test_key_order_is_that_of_utf16() -> None:
    """Keys are sorted by UTF-16 code units, as RFC 8785 says: a surrogate pair comes before U+FFFD."""
    raw = '{"\U0001f600":1,"\ufffd":2}'.encode()
    assert canonical(parse_canonical(raw, document="manifest", max_bytes=100)) == raw


def test_size_limit() -> None:
    """One byte more than the limit is refused, whatever it is."""
    assert parse(b"[1]", document="manifest", max_bytes=3) == [1]
    with pytest.raises(MalformedError):
        parse(b"[1] ", document="manifest", max_bytes=3)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_limit(opening: str, closing: str) -> None:
    """As many levels as the limit are read; one more is refused."""
    fits = opening * (MAX_DEPTH - 1) + "[]" + closing * (MAX_DEPTH - 1)
    parse(fits.encode(), document="manifest", max_bytes=1000)
    with pytest.raises(MalformedError):
        parse((opening + fits + closing).encode(), document="manifest", max_bytes=1000)


def test_brackets_in_strings_are_not_depth() -> None:
    """Brackets and escaped quotes inside strings count for nothing."""
    assert parse(b'"\\"[[[[[[[[[[[[[[[[[[[[[["', document="manifest", max_bytes=100) == '"' + "[" * 22


@pytest.mark.parametrize("raw", [b"[" * 2**20, b'"' * 2**20, b'"' + b"\\" * 2**20, b'{"":' * 2**18, b"[]" * 2**19])
def test_hostile_bytes_are_refused_soon(raw: bytes) -> None:
    """A megabyte made to be slow is refused within seconds and without recursion."""
    began = time.monotonic()
    with pytest.raises(MalformedError):
        parse(raw, document="manifest", max_bytes=2**21)
    assert time.monotonic() - began < 5


@given(st.binary(max_size=100))
def test_base64url_round_trip(data: bytes) -> None:
    """What base64url writes is read as the same bytes."""
    assert parse_base64url(base64url(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AA==", "AB", "A+8A", "A/8A", "AA\n", "AAAA AAA", "\u00e4\u00e4", "====", "AAA="]
)
def test_base64url_has_one_spelling(text: str) -> None:
    """Padding, the other alphabet, white space and non-zero trailing bits are refused."""
    with pytest.raises(ValueError, match="base64url"):
        parse_base64url(text)


@given(st.text(max_size=12))
def test_base64url_is_total(text: str) -> None:
    """Any text gives bytes, whose spelling it then is, or ValueError."""
    try:
        assert base64url(parse_base64url(text)) == text
    except ValueError:
        return


def test_pointer_of_a_bad_value() -> None:
    """The error names the place as a JSON pointer, with its two characters escaped."""
    with pytest.raises(MalformedError) as refusal:
        parse(b'{"a/b":{"c~d":[1,null]}}', document="manifest", max_bytes=100)
    assert refusal.value.field == "/a~1b/c~0d/1"


def test_more_values_than_are_wanted() -> None:
    """They are counted before anything is taken apart: one more than there may be is refused."""
    raw = b"[" + b",".join([b"{}"] * 50) + b"]"
    require_few_values(raw, document="manifest", max_values=100)
    with pytest.raises(MalformedError, match="more than 99 values"):
        require_few_values(raw, document="manifest", max_values=99)
