"""Make the vectors of framing, manifests and statements (`tests/vectors/`), the same bytes every time.

Run from the repository's root:

    python -m tools.make_vectors_manifest

A test compares what this makes with what lies there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Final

from tests.support.manifests import Document, World, broken_at, builtin, noise, set_at, use_everything, without
from tests.support.vectorfiles import ROOT, Vector
from tools.vectors_shared import slug
from tools.vectors_statements import THREE, statement_vectors

from twocvm_verifier import framing
from twocvm_verifier.strictjson import canonical

FOLDERS: Final = ("framing", "manifest", "statements")
SMALL: Final = World(participants=1, items=1, components=1)
EVERYTHING: Final = World(edit=use_everything)


def made_up() -> list[Vector]:
    """Return every vector, in no particular order."""
    return [*framing_vectors(), *manifest_vectors(), *statement_vectors()]


def framing_vectors() -> Iterator[Vector]:
    """Return each preimage with its digest; the payload is the preimage."""
    a, b, salt = bytes([0xA1]) * 32, bytes([0xB2]) * 32, bytes(range(32))
    hello = framing.sha256(b"hello")
    preimages: dict[str, tuple[str, bytes, bytes]] = {
        "manifest": ("the hash of a manifest", b'2cvm.manifest.v1\x00{"a":1}', framing.manifest_hash(b'{"a":1}')),
        "item": (
            "the commitment to the item `hello` under the salt 00, 01, ... 1f",
            b"2cvm.item.v1\x00" + salt + (5).to_bytes(8, "big") + hello,
            framing.item_commitment(salt=salt, size_bytes=5, sha256=hello),
        ),
        "roster": ("the digest of an empty roster", b"2cvm.roster.v1\x00[]", framing.roster_digest(b"[]")),
        "log-start": ("head 0 of a log", b"2cvm.log.v1\x00" + a, framing.log_start(a)),
        "log-next": ("the next head of a log", b"2cvm.log.v1\x00" + a + b"{}", framing.log_next(a, b"{}")),
        "policy": ("the digest of an empty policy", b"2cvm.policy.v1\x00{}", framing.policy_digest(b"{}")),
        "binder": ("the binder of a connection", b"spki" + a, framing.binder(spki_der=b"spki", exported=a)),
        "batch-leaf": ("a leaf of a batch", b"\x00" + a + b, framing.batch_leaf(nonce=a, binder=b)),
        "batch-node": ("a node of a batch", b"\x01" + a + b, framing.batch_node(a, b)),
    }
    for name, (comment, preimage, digest) in preimages.items():
        yield _vector(f"framing/{name}", "accept", "Framing", comment, preimage, sha256=digest.hex())


def manifest_vectors() -> Iterator[Vector]:
    """Return valid manifests with their hashes, and others with the one problem of each."""
    for name, comment, world in (
        ("small", "one participant, one item, one component", SMALL),
        ("three", "three participants with keys of the three kinds", THREE),
        ("everything", "every optional member", EVERYTHING),
    ):
        hashed = world.manifest.hash.hex()
        yield _vector(f"manifest/valid-{name}", "accept", "Members", comment, world.raw, manifest_hash=hashed)
    for name, (rule, pointer, raw) in _refused_bytes().items():
        yield _refused(name, "Canonical form", rule, pointer, raw)
    for name, (rule, pointer, value) in _REFUSED_FORM.items():
        yield _refused(name, "Members", rule, pointer, broken_at(THREE, pointer, value))
    yield _refused("missing purpose", "Members", "missing", "/purpose", without(THREE, "/purpose"))
    for section, refused in (("Members", _REFUSED_EDITED), ("Validity", _REFUSED_WHOLE)):
        for name, (rule, pointer, edit) in refused.items():
            yield _refused(name, section, rule, pointer, World(edit=edit).raw)


def _refused_bytes() -> dict[str, tuple[str, str, bytes]]:
    raw = THREE.raw
    unsorted = json.loads(raw)
    unsorted["outputs"].reverse()
    twice = json.loads(raw)
    twice["platform"]["measurements"] *= 2
    return {
        "duplicate key": ("json", "", raw.replace(b'"version":1', b'"version":1,"version":1')),
        "float": ("json", "", raw.replace(b'"version":1', b'"version":1.0')),
        "null": ("json", "/version", raw.replace(b'"version":1', b'"version":null')),
        "white space": ("json", "", raw.replace(b'"version":1', b'"version": 1')),
        "trailing new line": ("json", "", raw + b"\n"),
        "large integer": ("json", "", raw.replace(b'"version":1', b'"version":9007199254740992')),
        "bidirectional text": ("json", "/purpose", raw.replace(b"A test", "A \u202etest".encode())),
        "text not in NFC": ("json", "/purpose", raw.replace(b"A test", "Ae\u0301 test".encode())),
        "unsorted set": ("set", "/outputs/1", canonical(unsorted)),
        "set with a member twice": ("set", "/platform/measurements/1", canonical(twice)),
    }


_REFUSED_FORM: Final[dict[str, tuple[str, str, object]]] = {
    "unknown member": ("unknown", "/surprise", 1),
    "unknown member deep inside": ("unknown", "/components/0/limits/cpu", 1),
    "version 2": ("range", "/version", 2),
    "dots in a name": ("form", "/name", ".."),
    "name of 64 characters": ("form", "/name", "a" * 64),
    "salt in upper case": ("form", "/salt", "AB" * 16),
    "word for a number": ("type", "/rules/deadline_seconds", "3600"),
    "true for a number": ("type", "/rules/deadline_seconds", True),
    "empty array": ("form", "/references", []),
    "day that never was": ("form", "/not_after", "2027-02-30T00:00:00Z"),
    "end before the beginning": ("range", "/not_after", "2025-01-01T00:00:00Z"),
}


def _add(member: str, value: object) -> Callable[[Document], None]:
    return lambda document: document[member].append(value)


def _add_filter(entry: Document) -> Callable[[Document], None]:
    return lambda document: document.update(filters=[entry])


def _put(pointer: str, value: object) -> Callable[[Document], None]:
    return lambda document: set_at(document, pointer, value)


def _file(source: str, target: str) -> Document:
    return {"from": source, "to": target, "kind": "file", "max_bytes": 1_000_000}


def _filtered(*filters: Document, must_pass: str = "", budget: str = "") -> Callable[[Document], None]:
    """Give the output `model` these filters, and the first item what it asks for."""

    def edit(document: Document) -> None:
        document["filters"] = list(filters)
        document["outputs"][0]["filters"] = [each["name"] for each in filters]
        document["data"][0] |= {"must_pass": [must_pass]} if must_pass else {}
        document["data"][0] |= {"budget": {"epsilon": budget}} if budget else {}

    return edit


_SMALL: Final = builtin("small", "max_bytes", max_bytes=9)
_ROWS: Final = builtin("rows", "max_rows", format="csv", max_rows=9)
_LINES: Final = builtin("lines", "max_rows", format="json-lines", max_rows=9)
_PADDED: Final = builtin("padded", "padding", sizes=[64])

# Places are those of the sorted document, which are not always those of the edit.
_REFUSED_EDITED: Final[dict[str, tuple[str, str, Callable[[Document], None]]]] = {
    "import without a version": (
        "form",
        "/components/1/imports/1",
        _put("/components/0/imports", ["wasi:io/error@0.2.3", "wasi:io/streams"]),
    ),
    "epsilon that is a number": ("type", "/filters/0/parameters/epsilon", _filtered(noise(epsilon=1))),
    "epsilon in another spelling": ("form", "/filters/0/parameters/epsilon", _filtered(noise(epsilon="0.50"))),
    "gaussian noise without delta": ("missing", "/filters/0/parameters/delta", _filtered(noise(mechanism="gaussian"))),
    "schema with a reference": (
        "unknown",
        "/filters/0/parameters/schema/$ref",
        _filtered(builtin("shape", "json_schema", format="json", schema={"$ref": "#"})),
    ),
    "pattern with a group": (
        "form",
        "/filters/0/parameters/schema/pattern",
        _filtered(builtin("shape", "json_schema", format="json", schema={"pattern": "^(a+)+$"})),
    ),
    "masked chip": ("form", "/platform/chip_ids/0", _put("/platform/chip_ids", ["00" * 64])),
}
_REFUSED_WHOLE: Final[dict[str, tuple[str, str, Callable[[Document], None]]]] = {
    "owner who is nobody": ("reference", "/data/0/owner", _put("/data/0/owner", "nobody")),
    "channel from nothing": ("reference", "/channels/3/from", _add("channels", _file("data:x", "component:step-0.x"))),
    "two outputs of one name": ("unique", "/outputs/1/name", _put("/outputs/1/name", "model")),
    "undeclared import": (
        "import",
        "/components/1/imports/0",
        _put("/components/0/imports", ["wasi:sockets/tcp@0.2.3"]),
    ),
    "cycle": ("cycle", "/channels", _add("channels", _file("component:step-1.back", "component:step-0.back"))),
    "item that reaches whom it must not": (
        "must-not-reach",
        "/data/0/must_not_reach/0",
        _put("/data/0/must_not_reach", ["analytics"]),
    ),
    "output without a filter that an item must pass": (
        "must-pass",
        "/data/0/must_pass/0",
        _filtered(_SMALL, must_pass="small"),
    ),
    "filter after padding": ("filter", "/outputs/0/filters/1", _filtered(_PADDED, _ROWS)),
    "filters of two formats": ("filter", "/outputs/0/filters/1", _filtered(_ROWS, _LINES)),
    "noise twice on a column": ("filter", "/outputs/0/filters/1", _filtered(noise("a"), noise("b"))),
    "component of the graph as a filter": (
        "filter",
        "/filters/0/component",
        _add_filter({"name": "again", "owner": "analytics", "component": "step-0"}),
    ),
    "output without noise that spends a budget": ("budget", "/data/0/budget", _filtered(noise(), budget="9")),
    "padding beyond the output": (
        "limit",
        "/outputs/0/filters/0",
        _filtered(builtin("padded", "padding", sizes=[4097])),
    ),
    "deadline before the end": ("limit", "/rules/deadline_seconds", _put("/rules/deadline_seconds", 1)),
}


def _refused(name: str, section: str, rule: str, pointer: str, raw: bytes) -> Vector:
    place = f"manifest/refused-{slug(name)}"
    return _vector(place, "MALFORMED_MANIFEST", section, name, raw, problem=f"{rule} {pointer or '(document)'}")


def _vector(name: str, expect: str, section: str, comment: str, payload: bytes, **values: str) -> Vector:
    spec = f"docs/spec/{name.partition('/')[0]}.md, {section}"
    text = payload.startswith(b"{") and payload.isascii() and payload.decode("ascii").isprintable()
    return Vector(name=name, expect=expect, spec=spec, comment=comment, values=values, payload=payload, text=text)


def main() -> None:
    """Write the vectors, and remove those that are made no more."""
    wanted = {vector.name: vector.encode() for vector in made_up()}
    for folder in FOLDERS:
        (ROOT / folder).mkdir(parents=True, exist_ok=True)
        for path in (ROOT / folder).glob("*.txt"):
            if f"{folder}/{path.stem}" not in wanted:
                path.unlink()
    for name, raw in wanted.items():
        (ROOT / f"{name}.txt").write_bytes(raw)


if __name__ == "__main__":
    main()
