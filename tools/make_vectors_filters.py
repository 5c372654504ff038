"""Make the vectors of built-in filters (`tests/vectors/filters/`), the same bytes every time.

Run from the repository's root:

    python -m tools.make_vectors_filters

Each has a filter as a manifest has it, an output, and what becomes of it. Noise has none: it is never the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from tests.support.vectorfiles import ROOT, Vector
from tools.vectors_shared import slug

FOLDER: Final = "filters"
_CSV: Final = {"format": "csv", "columns": ["n"]}
_GROUPS: Final = _CSV | {"minimum": 5}
_HALVES: Final = _CSV | {"step": "0.5"}
_ROWS: Final = {"format": "csv", "max_rows": 2}
_LINES: Final = {"format": "json-lines", "max_rows": 2}
_ANY: Final = {"format": "json", "schema": {"title": "anything"}}
_MODEL: Final = {
    "format": "json",
    "schema": {
        "type": "object",
        "properties": {
            "weights": {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}, "maxItems": 3},
            "code": {"pattern": "^[A-Z]{2}[0-9]+$", "maxLength": 6},
        },
        "required": ["weights"],
        "additionalProperties": False,
    },
}
_WEIGHTS: Final = {"format": "json", "pointers": ["/weights/*"], "step": "0.01"}
_SIZES: Final = {"sizes": [4, 8]}
_COUNTS_IN_JSON: Final = {"format": "json", "pointers": ["/*/n"], "minimum": 5}


def _pairs(*pointers: str, kind: str = "json") -> dict[str, Any]:
    """Return the parameters of rounding to multiples of 2."""
    return {"format": kind, "pointers": list(pointers), "step": "2"}


# Comment, filter, parameters, the output as it is, and what is left of it.
_PASSES: Final[tuple[tuple[str, str, dict[str, Any], bytes, bytes], ...]] = (
    ("as long as allowed", "max_bytes", {"max_bytes": 3}, b"abc", b"abc"),
    ("an empty output", "max_bytes", {"max_bytes": 3}, b"", b""),
    ("two records", "max_rows", _ROWS, b"n\n1\n2\n", b"n\n1\n2\n"),
    ("a header alone", "max_rows", _ROWS, b"n\n", b"n\n"),
    ("carriage returns", "max_rows", _ROWS, b"n\r\n1\r\n2", b"n\n1\n2\n"),
    ("quotes that nobody needs", "max_rows", _ROWS, b'"n","m"\n"1",2\n', b"n,m\n1,2\n"),
    ("quotes that are needed", "max_rows", _ROWS, b'n,m\n"a,b","say ""x"""\n', b'n,m\n"a,b","say ""x"""\n'),
    ("empty fields", "max_rows", _ROWS, b'n,m\n,""\n', b"n,m\n,\n"),
    ("an empty field alone", "max_rows", _ROWS, b'n\n""\n', b'n\n""\n'),
    ("letters of all kinds", "max_rows", _ROWS, "n\nä €\n".encode(), "n\nä €\n".encode()),
    ("two lines of JSON", "max_rows", _LINES, b'{"b": 1, "a": 2.50}\r\n"x"', b'{"a":2.5,"b":1}\n"x"\n'),
    ("a model", "json_schema", _MODEL, b'{"weights": [1, -0.50], "code": "AB12"}',
     b'{"code":"AB12","weights":[1,-0.5]}'),
    ("white space and escapes", "json_schema", _ANY, b' {"\\u0061" :\t[1E2, -0.0, null, "\\u00e4"]}\n',
     '{"a":[100,0,null,"ä"]}'.encode()),
    ("members in their order", "json_schema", _ANY, b'{"b":1,"a":2}', b'{"a":2,"b":1}'),
    ("the largest integer", "json_schema", _ANY, b"9007199254740991", b"9007199254740991"),
    ("as deep as allowed", "json_schema", _ANY, b"[" * 32 + b"]" * 32, b"[" * 32 + b"]" * 32),
    ("counts that are enough", "min_group_size", _GROUPS, b"k,n\na,5\nb,1000\n", b"k,n\na,5\nb,1000\n"),
    ("a count with a fraction of nothing", "min_group_size", _GROUPS, b"n\n5.0\n1e1\n", b"n\n5\n10\n"),
    ("no counts at all", "min_group_size", _GROUPS, b"n\n", b"n\n"),
    ("counts in JSON", "min_group_size", _COUNTS_IN_JSON, b'[{"n":5},{"n":6}]', b'[{"n":5},{"n":6}]'),
    ("halves", "rounding", _HALVES, b"n,m\n1.26,x\n1.25,x\n1.75,x\n-0.2,x\n", b"n,m\n1.5,x\n1.0,x\n2.0,x\n0.0,x\n"),
    ("tens", "rounding", _CSV | {"step": "10"}, b"n\n14\n15\n25\n-15\n", b"n\n10\n20\n20\n-20\n"),
    ("thirds of nothing round", "rounding", _CSV | {"step": "0.3"}, b"n\n0.45\n0.44\n", b"n\n0.6\n0.3\n"),
    ("exponents", "rounding", _HALVES, b"n\n1.3e1\n5E-1\n125e-2\n", b"n\n13.0\n0.5\n1.0\n"),
    ("weights", "rounding", _WEIGHTS, b'{"weights":[0.125,0.135,1,-0.001]}', b'{"weights":[0.12,0.14,1,0]}'),
    ("no weights", "rounding", _WEIGHTS, b'{"weights":[]}', b'{"weights":[]}'),
    ("a cell that two pointers name", "rounding", _pairs("/*", "/0"), b"[3,5]", b"[4,4]"),
    ("a key with a slash and a tilde", "rounding", _pairs("/a~1b~0c"), b'{"a/b~c":5}', b'{"a/b~c":4}'),
    ("every member of an object", "rounding", _pairs("/*/n"), b'{"a":{"n":3},"b":{"n":7}}',
     b'{"a":{"n":4},"b":{"n":8}}'),
    ("every line", "rounding", _pairs("/n", kind="json-lines"), b'{"n":5}\n{"n":7}\n', b'{"n":4}\n{"n":8}\n'),
    ("padding", "padding", _SIZES, b"ab", b"ab\x80\0"),
    ("padding of one byte", "padding", _SIZES, b"abc", b"abc\x80"),
    ("padding to the next size", "padding", _SIZES, b"abcd", b"abcd\x80\0\0\0"),
    ("padding of nothing", "padding", _SIZES, b"", b"\x80\0\0\0"),
)  # fmt: skip
# Comment, filter, parameters, the output as it is, and the code of the refusal.
_REFUSED: Final[tuple[tuple[str, str, dict[str, Any], bytes, str], ...]] = (
    ("a byte too many", "max_bytes", {"max_bytes": 3}, b"abcd", "FILTER_TOO_LARGE"),
    ("a record too many", "max_rows", _ROWS, b"n\n1\n2\n3\n", "FILTER_ROWS"),
    ("a line too many", "max_rows", _LINES, b"1\n2\n3", "FILTER_ROWS"),
    ("an empty table", "max_rows", _ROWS, b"", "FILTER_MALFORMED"),
    ("a byte order mark", "max_rows", _ROWS, b"\xef\xbb\xbfn\n1\n", "FILTER_MALFORMED"),
    ("a quoted byte order mark", "max_rows", _ROWS, b'"\xef\xbb\xbfn"\n1\n', "FILTER_MALFORMED"),
    ("bytes that are not UTF-8", "max_rows", _ROWS, b"n\n\xff\n", "FILTER_MALFORMED"),
    ("a NUL", "max_rows", _ROWS, b"n\n\0\n", "FILTER_MALFORMED"),
    ("a tab", "max_rows", _ROWS, b"n\n1\t\n", "FILTER_MALFORMED"),
    ("a carriage return inside", "max_rows", _ROWS, b"n\n1\r2\n", "FILTER_MALFORMED"),
    ("a carriage return at the end", "max_rows", _ROWS, b"n\n1\r", "FILTER_MALFORMED"),
    ("a control character of ISO 8859", "max_rows", _ROWS, "n\n\u0085\n".encode(), "FILTER_MALFORMED"),
    ("a line break in a field", "max_rows", _ROWS, b'n\n"a\nb"\n', "FILTER_MALFORMED"),
    ("a quotation mark that never ends", "max_rows", _ROWS, b'n\n"a\n', "FILTER_MALFORMED"),
    ("a quotation mark inside", "max_rows", _ROWS, b'n\na"b\n', "FILTER_MALFORMED"),
    ("text after a quotation mark", "max_rows", _ROWS, b'n\n"a"b\n', "FILTER_MALFORMED"),
    ("a field too few", "max_rows", _ROWS, b"n,m\n1\n", "FILTER_MALFORMED"),
    ("a field too many", "max_rows", _ROWS, b"n\n1,2\n", "FILTER_MALFORMED"),
    ("an empty line", "max_rows", _ROWS, b"n\n\n1\n", "FILTER_MALFORMED"),
    ("two columns of one name", "max_rows", _ROWS, b"n,n\n1,2\n", "FILTER_MALFORMED"),
    ("an empty line of JSON", "max_rows", _LINES, b"1\n\n2\n", "FILTER_MALFORMED"),
    ("two values in a line", "max_rows", _LINES, b"1 2\n", "FILTER_MALFORMED"),
    ("a weight too large", "json_schema", _MODEL, b'{"weights":[1.5]}', "FILTER_SCHEMA"),
    ("a weight too many", "json_schema", _MODEL, b'{"weights":[0,0,0,0]}', "FILTER_SCHEMA"),
    ("a member of its own", "json_schema", _MODEL, b'{"weights":[],"note":"x"}', "FILTER_SCHEMA"),
    ("no weights at all", "json_schema", _MODEL, b"{}", "FILTER_SCHEMA"),
    ("a code of another form", "json_schema", _MODEL, b'{"weights":[],"code":"AB12\\n"}', "FILTER_SCHEMA"),
    ("not JSON", "json_schema", _ANY, b"{'a':1}", "FILTER_MALFORMED"),
    ("nothing", "json_schema", _ANY, b"", "FILTER_MALFORMED"),
    ("a key twice", "json_schema", _ANY, b'{"a":1,"a":2}', "FILTER_MALFORMED"),
    ("a key twice by an escape", "json_schema", _ANY, b'{"a":1,"\\u0061":2}', "FILTER_MALFORMED"),
    ("not a number", "json_schema", _ANY, b"NaN", "FILTER_MALFORMED"),
    ("infinity", "json_schema", _ANY, b"-Infinity", "FILTER_MALFORMED"),
    ("a number beyond doubles", "json_schema", _ANY, b"1e999", "FILTER_MALFORMED"),
    ("an integer beyond doubles with an exponent", "json_schema", _ANY, b"9007199254740992e0", "FILTER_MALFORMED"),
    ("an integer beyond doubles", "json_schema", _ANY, b"9007199254740992", "FILTER_MALFORMED"),
    ("a number of a book", "json_schema", _ANY, b"0." + b"1" * 63, "FILTER_MALFORMED"),
    ("an integer of a book", "json_schema", _ANY, b"1" * 5000, "FILTER_MALFORMED"),
    ("deeper than allowed", "json_schema", _ANY, b"[" * 33 + b"]" * 33, "FILTER_MALFORMED"),
    ("depth that never ends", "json_schema", _ANY, b"[" * 4000, "FILTER_MALFORMED"),
    ("a lone surrogate", "json_schema", _ANY, b'"\\ud800"', "FILTER_MALFORMED"),
    ("a lone surrogate in a key", "json_schema", _ANY, b'{"\\udfff":1}', "FILTER_MALFORMED"),
    ("a byte order mark before JSON", "json_schema", _ANY, b"\xef\xbb\xbf1", "FILTER_MALFORMED"),
    ("JSON in UTF-16", "json_schema", _ANY, "[1]".encode("utf-16"), "FILTER_MALFORMED"),
    ("a small group", "min_group_size", _GROUPS, b"n\n5\n4\n", "FILTER_GROUP"),
    ("a group of nobody", "min_group_size", _GROUPS, b"n\n0\n", "FILTER_GROUP"),
    ("a group of less than nobody", "min_group_size", _GROUPS, b"n\n-7\n", "FILTER_GROUP"),
    ("half a person", "min_group_size", _GROUPS, b"n\n5.5\n", "FILTER_VALUE"),
    ("a count that is none", "min_group_size", _GROUPS, b"n\nmany\n", "FILTER_VALUE"),
    ("a count that is not there", "min_group_size", _GROUPS, b'n\n""\n', "FILTER_VALUE"),
    ("a column that is missing", "min_group_size", _GROUPS, b"k\n5\n", "FILTER_VALUE"),
    ("a number in Arabic digits", "rounding", _HALVES, "n\n٣\n".encode(), "FILTER_VALUE"),
    ("a number with a plus", "rounding", _HALVES, b"n\n+1\n", "FILTER_VALUE"),
    ("a number with zeros before it", "rounding", _HALVES, b"n\n01\n", "FILTER_VALUE"),
    ("a number with a space", "rounding", _HALVES, b"n\n 1\n", "FILTER_VALUE"),
    ("not a number in a table", "rounding", _HALVES, b"n\nNaN\n", "FILTER_VALUE"),
    ("infinity in a table", "rounding", _HALVES, b"n\ninf\n", "FILTER_VALUE"),
    ("an exponent of three digits", "rounding", _HALVES, b"n\n1e-999\n", "FILTER_VALUE"),
    ("a number with too many digits", "rounding", _HALVES, b"n\n0." + b"1" * 63 + b"\n", "FILTER_VALUE"),
    ("a number too large", "rounding", _HALVES, b"n\n1e15\n", "FILTER_VALUE"),
    ("too many steps", "rounding", _CSV | {"step": "0.000000000001"}, b"n\n1000\n", "FILTER_VALUE"),
    ("a member that is missing", "rounding", _WEIGHTS, b"{}", "FILTER_VALUE"),
    ("a member that is no number", "rounding", _WEIGHTS, b'{"weights":[true]}', "FILTER_VALUE"),
    ("a number where a list should be", "rounding", _WEIGHTS, b'{"weights":1}', "FILTER_VALUE"),
    ("an index beyond the end", "rounding", _pairs("/1"), b"[1]", "FILTER_VALUE"),
    ("an index with a zero before it", "rounding", _pairs("/00"), b"[1]", "FILTER_VALUE"),
    ("more than can be padded", "padding", _SIZES, b"abcdefgh", "FILTER_TOO_LARGE"),
)  # fmt: skip


def made_up() -> Iterator[Vector]:
    """Return every vector, in no particular order."""
    for comment, builtin, parameters, payload, left in _PASSES:
        yield _vector(comment, "accept", builtin, parameters, payload, left=left.hex())
    for comment, builtin, parameters, payload, code in _REFUSED:
        yield _vector(comment, code, builtin, parameters, payload)


def _vector(
    comment: str, expect: str, builtin: str, parameters: dict[str, Any], payload: bytes, **values: str
) -> Vector:
    described = json.dumps({"builtin": builtin, "parameters": parameters}, sort_keys=True)
    return Vector(
        name=f"{FOLDER}/{builtin.replace('_', '-')}-{slug(comment)}",
        expect=expect,
        spec=f"docs/spec/filters.md, {builtin}",
        comment=comment,
        values={"filter": described} | values,
        payload=payload,
        text=False,
    )


def main() -> None:
    """Write the vectors, and remove those that are made no more."""
    wanted = {vector.name: vector.encode() for vector in made_up()}
    (ROOT / FOLDER).mkdir(parents=True, exist_ok=True)
    for path in (ROOT / FOLDER).glob("*.txt"):
        if f"{FOLDER}/{path.stem}" not in wanted:
            path.unlink()
    for name, raw in wanted.items():
        (ROOT / f"{name}.txt").write_bytes(raw)


if __name__ == "__main__":
    main()
