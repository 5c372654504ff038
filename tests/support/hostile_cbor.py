"""Every trick that CBOR has, played on a map of byte strings that is otherwise right."""

from __future__ import annotations

import cbor2


def tricks(members: dict[str, object]) -> dict[str, bytes]:
    """Return hostile spellings of the deterministic map `members`, by the name of the trick.

    Args:
        members: At least two members; byte strings and arrays of them.
    """
    right = cbor2.dumps(members, canonical=True)
    keys = sorted(members, key=cbor2.dumps)
    pairs = [cbor2.dumps(key) + cbor2.dumps(members[key], canonical=True) for key in keys]
    head = bytes([0xA0 + len(pairs)])
    return {
        "trailing byte": right + b"\x00",
        "trailing map": right + right,
        "truncated": right[:-1],
        "empty": b"",
        "not a map": cbor2.dumps([right]),
        "empty map": b"\xa0",
        "wrong order": head + pairs[-1] + b"".join(pairs[:-1]),
        "duplicate key": bytes([0xA1 + len(pairs)]) + pairs[0] + b"".join(pairs),
        "indefinite map": b"\xbf" + b"".join(pairs) + b"\xff",
        "indefinite key": head + b"\x7f" + pairs[0][:1] + keys[0].encode() + b"\xff" + pairs[0][len(keys[0]) + 1 :],
        "map length in one more byte": b"\xb8" + bytes([len(pairs)]) + b"".join(pairs),
        "map length in eight bytes": b"\xbb" + len(pairs).to_bytes(8, "big") + b"".join(pairs),
        "key length not minimal": head + b"\x78" + bytes([len(keys[0])]) + pairs[0][1:] + b"".join(pairs[1:]),
        "map longer than its bytes": b"\xbb" + b"\xff" * 8,
        "string longer than its bytes": head + cbor2.dumps(keys[0]) + b"\x5b" + b"\xff" * 8,
        "array longer than its bytes": head + cbor2.dumps(keys[0]) + b"\x9b" + b"\x7f" * 8,
        "integer": cbor2.dumps({**members, keys[0]: 1}, canonical=True),
        "negative integer": cbor2.dumps({**members, keys[0]: -1}, canonical=True),
        "float": cbor2.dumps({**members, keys[0]: 1.5}, canonical=True),
        "null": cbor2.dumps({**members, keys[0]: None}, canonical=True),
        "true": cbor2.dumps({**members, keys[0]: True}, canonical=True),
        "undefined": cbor2.dumps({**members, keys[0]: cbor2.undefined}, canonical=True),
        "tagged": cbor2.dumps(cbor2.CBORTag(55799, members), canonical=True),
        "tagged value": cbor2.dumps({**members, keys[0]: cbor2.CBORTag(24, b"x")}, canonical=True),
        "regular expression": head + cbor2.dumps(keys[0]) + b"\xd8\x23\x6b(a+)+(a+)+$" + b"".join(pairs[1:]),
        "big number": cbor2.dumps({**members, keys[0]: 1 << 4096}, canonical=True),
        "big float": head + cbor2.dumps(keys[0]) + b"\xc5\x82\x1b" + b"\x7f" * 8 + b"\x01" + b"".join(pairs[1:]),
        "cyclic value": b"\xd8\x1c\x81\xd8\x1d\x00",
        "integer key": cbor2.dumps({**members, 1: b"x"}, canonical=True),
        "byte string key": cbor2.dumps({**members, b"x": b"x"}, canonical=True),
        "text for bytes": cbor2.dumps({**members, keys[0]: "x"}, canonical=True),
        "key not UTF-8": bytes([0xA1 + len(pairs)]) + b"\x61\xff\x40" + b"".join(pairs),
        "nested deep": b"\x81" * 1000 + b"\x80",
        "nested deep in a value": head + cbor2.dumps(keys[0]) + b"\x81" * 1000 + b"\x80" + b"".join(pairs[1:]),
        "reserved length": b"\xbc" + b"".join(pairs),
        "missing member": bytes([0xA0 + len(pairs) - 1]) + b"".join(pairs[1:]),
        "further member": cbor2.dumps({**members, "zz": b"x"}, canonical=True),
        "only a break": b"\xff",
    }
