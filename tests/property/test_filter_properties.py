"""Properties of filters: no path goes round one, and what each leaves is what it promises, whatever comes in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.filters import code, kind_of, left
from tests.support.manifests import Document, World, builtin, noise

from twocvm_verifier.manifest import ManifestError, parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes
from twocvm_verifier.manifest.graph import Flow

COMPONENTS = tuple(f"step-{index}" for index in range(4))
CLEANED = {"name": "cleaned", "owner": "hospital-a", "component": "cleaner"}
FILTERS = {
    "cleaned": CLEANED,
    "small": builtin("small", "max_bytes", max_bytes=9),
    "rows": builtin("rows", "max_rows", format="csv", max_rows=9),
    "blur": noise(epsilon="0.5"),
    "fine": noise("fine", columns=["m"], epsilon="0.25"),
}


@st.composite
def manifests(draw: st.DrawFn) -> Document:
    """Return a manifest of any graph without cycles, with any filters on any outputs, valid but for its flow."""
    names = list(FILTERS)
    edges = draw(st.sets(st.sampled_from([(a, b) for a in range(4) for b in range(a + 1, 4)])))
    starts = draw(st.lists(st.sets(st.sampled_from(range(4)), min_size=1), min_size=1, max_size=3))
    chains = draw(st.lists(st.tuples(st.sampled_from(range(4)), st.permutations(names)), min_size=1, max_size=4))
    lengths = [draw(st.integers(0, len(names))) for _ in chains]
    asked = [draw(st.sets(st.sampled_from(names), max_size=2)) for _ in starts]
    budgets = [draw(st.sampled_from(["", "0.25", "0.5", "0.75", "1.5", "3"])) for _ in starts]

    def edit(document: Document) -> None:
        document["components"].append(document["components"][0] | {"name": "cleaner", "sha256": "08" * 32})
        document["filters"] = list(FILTERS.values())
        document["data"] = [
            {"name": f"d{index}", "owner": "hospital-a", "media_type": "a/b", "max_bytes": 1}
            | ({"must_pass": sorted(asked[index])} if asked[index] else {})
            | ({"budget": {"epsilon": budgets[index]}} if budgets[index] else {})
            for index in range(len(starts))
        ]
        document["channels"] = [
            _file(f"data:d{index}", f"component:step-{step}.d{index}")
            for index, steps in enumerate(starts)
            for step in sorted(steps)
        ] + [_file(f"component:step-{a}.to-{b}", f"component:step-{b}.from-{a}") for a, b in sorted(edges)]
        document["outputs"] = [
            {"name": f"o{index}", "from": f"component:step-{step}.o{index}", "recipients": ["analytics"],
             "max_bytes": 1} | ({"filters": list(order[:count])} if count else {})
            for index, ((step, order), count) in enumerate(zip(chains, lengths, strict=True))
        ]  # fmt: skip

    return World(components=4, edit=edit).document


def _file(source: str, target: str) -> Document:
    return {"from": source, "to": target, "kind": "file", "max_bytes": 1}


def every_path(document: Document, place: str) -> Iterator[tuple[str, ...]]:
    """Yield every way from an item or a component to an output, each as all that is passed on it, filters included."""
    for channel in document["channels"]:
        if channel["from"].partition(".")[0] == place:
            for path in every_path(document, channel["to"].partition(".")[0]):
                yield (place, *path)
    for output in document["outputs"]:
        if output["from"].partition(".")[0] == place:
            yield (place, *(f"filter:{name}" for name in output.get("filters", ())), f"output:{output['name']}")


@given(manifests())
def test_no_path_goes_round_a_filter(document: Document) -> None:
    """must_pass is refused exactly where walking every path finds one without the filter."""
    wanted = {
        (item["name"], name)
        for item in document["data"]
        for name in item.get("must_pass", ())
        if any(f"filter:{name}" not in path for path in every_path(document, f"data:{item['name']}"))
    }
    found = {(parts[2], parts[4]) for rule, parts in _problems(document) if rule == "must-pass"}
    ordered = sorted(document["data"], key=canonical)
    told = {
        (item["name"], name)
        for place, item in enumerate(ordered)
        for index, name in enumerate(item.get("must_pass", ()))
        if (str(place), str(index)) in found
    }
    assert told == wanted


@given(manifests())
def test_no_path_spends_more_than_the_budget(document: Document) -> None:
    """A budget is refused exactly where an output is reached without noise, or where all noise together is more."""
    price = {name: Fraction(FILTERS[name]["parameters"]["epsilon"]) for name in ("blur", "fine")}
    wanted = set()
    for item in document["data"]:
        reached = {path[-1]: path for path in every_path(document, f"data:{item['name']}")}
        costs = [[price[name[7:]] for name in path if name[7:] in price] for path in reached.values()]
        if "budget" in item and (not all(costs) or sum(map(sum, costs)) > Fraction(item["budget"]["epsilon"])):
            wanted.add(item["name"])
    ordered = sorted(document["data"], key=canonical)
    found = {ordered[int(parts[2])]["name"] for rule, parts in _problems(document) if rule == "budget"}
    assert found == wanted


@given(manifests())
def test_every_filter_has_the_labels_of_its_output(document: Document) -> None:
    """A filter of an output is reached by what reaches the output, and by nothing else."""
    for item in document["data"]:
        item.pop("must_pass", None)
        item.pop("budget", None)
    flow = Flow(parse_manifest(canonical_bytes(document)))
    assert "cleaner" not in {node.name for node in flow.nodes}
    for output in document["outputs"]:
        wanted = {
            item["name"]
            for item in document["data"]
            if any(path[-1] == f"output:{output['name']}" for path in every_path(document, f"data:{item['name']}"))
        }
        for name in output.get("filters", ()):
            assert {item.name for item in flow.items_reaching(f"{output['name']}/{name}")} == wanted
        chain = [node.name for node in flow.filter_nodes.get(output["name"], ())]
        assert chain == [f"{output['name']}/{name}" for name in output.get("filters", ()) if name == "cleaned"]


def canonical(value: object) -> bytes:
    """Return the bytes by which members of a set are sorted."""
    return canonical_bytes(value)  # type: ignore[arg-type]


def _problems(document: Document) -> list[tuple[str, list[str]]]:
    try:
        parse_manifest(canonical_bytes(document))
    except ManifestError as error:
        return [(str(problem.rule), problem.pointer.split("/")) for problem in error.problems]
    return []


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**8), max_value=10**8, places=6)
STEPS = st.sampled_from(["0.000001", "0.3", "0.5", "1", "7", "10", "1234.5"])


def table(numbers: list[Decimal]) -> bytes:
    """Return a table of one column."""
    return b"n\n" + b"".join(f"{number:f}\n".encode() for number in numbers)


@given(st.lists(NUMBERS, max_size=20), STEPS)
def test_rounding(numbers: list[Decimal], step: str) -> None:
    """Every number becomes a multiple that is no further than half a step; rounding again changes nothing."""
    kind = kind_of("rounding", format="csv", columns=["n"], step=step)
    rounded = left(kind, table(numbers))
    assert left(kind, rounded) == rounded
    for before, after in zip(numbers, rounded.decode().split()[1:], strict=True):
        assert Fraction(after) % Fraction(step) == 0
        assert abs(Fraction(after) - Fraction(before)) <= Fraction(step) / 2


@given(st.lists(NUMBERS, min_size=1, max_size=20), STEPS)
def test_rounding_is_the_same_in_json(numbers: list[Decimal], step: str) -> None:
    """JSON is rounded to the numbers that a table is rounded to, and a second time to the same bytes."""
    kind = kind_of("rounding", format="json", pointers=["/*"], step=step)
    rounded = left(kind, ("[" + ",".join(f"{number:f}" for number in numbers) + "]").encode())
    assert left(kind, rounded) == rounded
    in_table = left(kind_of("rounding", format="csv", columns=["n"], step=step), table(numbers)).decode().split()[1:]
    assert [Fraction(number) for number in in_table] == [
        Fraction(number) for number in json.loads(rounded, parse_float=str, parse_int=str)
    ]


@given(st.binary(max_size=300), st.lists(st.integers(1, 400), min_size=1, max_size=4, unique=True))
def test_padding(content: bytes, sizes: list[int]) -> None:
    """What is padded has one of the sizes, the least that fits, and a recipient gets back what was there."""
    kind = kind_of("padding", sizes=sizes)
    if len(content) >= max(sizes):
        assert code(kind, content) == "FILTER_TOO_LARGE"
        return
    padded = left(kind, content, piece_bytes=7)
    assert len(padded) == min(size for size in sizes if size > len(content))
    stripped = padded.rstrip(b"\0")
    assert (stripped[-1:], stripped[:-1]) == (b"\x80", content)


@given(st.lists(st.integers(-5, 30), max_size=30), st.integers(2, 20))
def test_no_small_group_passes(counts: list[int], minimum: int) -> None:
    """An output passes exactly if no count is below the least."""
    kind = kind_of("min_group_size", format="csv", columns=["n"], minimum=minimum)
    refused = code(kind, table([Decimal(count) for count in counts]))
    assert refused == ("FILTER_GROUP" if any(count < minimum for count in counts) else "")


FIELDS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=5)


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(FIELDS, min_size=width, max_size=width), max_size=6)))
def test_tables_keep_their_fields(records: list[list[str]]) -> None:
    """Another program's quoting gives the same fields here, in one spelling; writing that again changes nothing."""
    width = len(records[0]) if records else 1
    rows = [[f"c{index}" for index in range(width)], *records]
    loose = io.StringIO()
    csv.writer(loose, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    kind = kind_of("max_rows", format="csv", max_rows=1000)
    written = left(kind, loose.getvalue().encode())
    assert list(csv.reader(io.StringIO(written.decode(), newline=""), strict=True)) == rows
    assert left(kind, written) == written


TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-(2.0**53) + 1, 2.0**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner),
    max_leaves=10,
)


@given(VALUES, st.sampled_from([None, 1]))
def test_json_keeps_its_value(value: Any, indent: int | None) -> None:
    """However JSON is spelled, its value comes out in one spelling; writing that again changes nothing."""
    kind = kind_of("json_schema", format="json", schema={"title": "x"})
    written = left(kind, json.dumps(value, indent=indent).encode())
    assert json.loads(written) == value
    assert left(kind, json.dumps(value, ensure_ascii=False).encode()) == written
    assert left(kind, written) == written


KINDS = [
    kind_of("max_rows", format="csv", max_rows=3),
    kind_of("max_rows", format="json-lines", max_rows=3),
    kind_of("json_schema", format="json", schema={"type": "array", "maxItems": 3}),
    kind_of("min_group_size", format="csv", columns=["n"], minimum=3),
    kind_of("rounding", format="json-lines", pointers=["/*/0", "/n"], step="0.5"),
    kind_of("noise", **noise()["parameters"]),
    kind_of("padding", sizes=[64, 128]),
]
PARTS = (b"n", b",", b'"', b"\n", b"\r", b"1", b".5", b"-", b"{", b"}", b"[", b"]", b":", b"e9")
NEARLY = st.binary(max_size=60) | st.lists(st.sampled_from(PARTS)).map(b"".join)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
@given(output=NEARLY)
def test_any_bytes_pass_or_are_refused(kind: Any, output: bytes) -> None:
    """Whatever an output is, a filter leaves something or refuses, and ends in no other way."""
    if not code(kind, output):
        assert isinstance(left(kind, output, piece_bytes=5), bytes)
