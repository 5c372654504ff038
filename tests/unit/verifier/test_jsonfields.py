"""Reading machine-written JSON."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import Fields

VALUES = st.recursive(
    st.text(max_size=70) | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner),
)
READERS = ["text", "name", "hash", "base64url", "array", "names"]


def _fields(value: object) -> Fields:
    return Fields({"m": value}, document="receipt", pointer="/x", required={"m"})  # type: ignore[dict-item]


def _refusal(read: Callable[[], object]) -> MalformedError | None:
    """Return how `read` refused; any other error is the test's failure."""
    try:
        read()
    except MalformedError as error:
        return error
    return None


@given(VALUES, st.sampled_from(READERS))
def test_every_reader_reads_or_refuses(value: object, reader: str) -> None:
    """Whatever stands there is read as what it should be, or malformed at its place."""
    refusal = _refusal(lambda: getattr(_fields(value), reader)("m"))
    assert refusal is None or refusal.field == "/x/m"


@given(VALUES)
def test_every_object_reader_reads_or_refuses(value: object) -> None:
    """An object, an array of objects and an integer are read or malformed, never another error."""
    for read in (
        lambda fields: fields.fields("m", required={"a"}, optional={"b"}),
        lambda fields: fields.objects("m", required={"a"}),
        lambda fields: fields.integer("m", maximum=9),
        lambda fields: fields.exactly("m", "x"),
    ):
        refusal = _refusal(lambda read=read: read(_fields(value)))
        assert refusal is None or refusal.code == "MALFORMED_RECEIPT"


@pytest.mark.parametrize("value", [[], "x", 1, True, {"a": 1, "b": 1, "c": 1}, {"b": 1}, {}])
def test_an_object_has_its_members_and_no_other(value: object) -> None:
    """What is no object, lacks a required member or has an unknown one is refused."""
    with pytest.raises(MalformedError):
        Fields(value, document="receipt", pointer="", required={"a"}, optional={"b"})  # type: ignore[arg-type]


def test_members_are_read_as_what_they_are() -> None:
    """Each reader gives the value of its member, and an optional member may be asked for."""
    fields = Fields(
        {"t": "x y", "n": "a-1", "h": "0f" * 32, "b": "-_8", "i": 9, "l": ["a"], "o": {"k": 1}, "os": [{"k": 2}]},
        document="receipt",
        pointer="",
        required={"t", "n", "h", "b", "i", "l", "o"},
        optional={"os", "absent"},
    )
    assert (fields.text("t"), fields.name("n"), fields.hash("h")) == ("x y", "a-1", b"\x0f" * 32)
    assert (fields.base64url("b"), fields.integer("i", maximum=9)) == (b"\xfb\xff", 9)
    assert (fields.array("l"), fields.names("l"), fields.json("l")) == (("a",), ("a",), ["a"])
    assert fields.fields("o", required={"k"}).integer("k", maximum=1) == 1
    assert [each.integer("k", maximum=2) for each in fields.objects("os", required={"k"})] == [2]
    assert ("os" in fields, "absent" in fields) == (True, False)


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("name", "Upper"),
        ("name", "a" * 64),
        ("name", "a\n"),
        ("hash", "0F" * 32),
        ("hash", "0f" * 31),
        ("hash", "0f" * 32 + "\n"),
        ("base64url", "eA=="),
        ("base64url", "eB"),
        ("names", ["a", "B"]),
        ("names", ["a", 1]),
    ],
)
def test_nearly_right_is_refused(reader: str, value: object) -> None:
    """Other spellings and types of the same thing are refused."""
    with pytest.raises(MalformedError):
        getattr(_fields(value), reader)("m")


@pytest.mark.parametrize("value", [True, False, -1, 10, "1"])
def test_an_integer_is_one_within_its_limit(value: object) -> None:
    """A boolean, a string, and a number out of range are no integers here."""
    with pytest.raises(MalformedError):
        _fields(value).integer("m", maximum=9)


def test_what_came_is_shown_quoted_and_cut() -> None:
    """Untrusted text stands in the message quoted, escaped and cut."""
    with pytest.raises(MalformedError) as caught:
        _fields("\x1b[2J" + "x" * 500).name("m")
    assert "\\x1b" in caught.value.detail
    assert len(caught.value.detail) < 200
