"""The built-in filters, each on what it takes and on everything that is wrong with an output."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from contextlib import closing
from decimal import Decimal
from fractions import Fraction

import pytest
from opendp import combinators, domains, measurements, metrics
from tests.support.actor import item
from tests.support.filters import code, kind_of, left
from tests.support.vectorfiles import ROOT, Vector, folder
from tools.make_vectors_filters import FOLDER, made_up

from twocvm_guest.filters import jsontext, noise, table, work
from twocvm_guest.filters.lengths import lines
from twocvm_guest.filters.orders import make_order
from twocvm_guest.filters.refusal import Refused
from twocvm_guest.runtime.items import memory_file
from twocvm_guest.runtime.messages import Outcome

VECTORS = folder(FOLDER)


def test_script_and_files_agree() -> None:
    """The files are exactly what the script makes, no more and no fewer."""
    wanted = {vector.name: vector.encode() for vector in made_up()}
    assert {f"{FOLDER}/{path.stem}": path.read_bytes() for path in (ROOT / FOLDER).glob("*.txt")} == wanted
    assert len(wanted) == len(list(made_up()))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vectors(vector: Vector) -> None:
    """Each output becomes what its vector says, or is refused with the vector's code."""
    described = json.loads(vector.values["filter"])
    kind = kind_of(described["builtin"], **described["parameters"])
    if vector.expect != "accept":
        assert code(kind, vector.payload) == vector.expect
        return
    for piece_bytes in (1, 7, 1 << 18):
        assert left(kind, vector.payload, piece_bytes=piece_bytes) == bytes.fromhex(vector.values["left"])


def test_every_code_has_a_vector() -> None:
    """Every way in which a built-in refuses is among the vectors."""
    assert {vector.expect for vector in VECTORS} == {
        "accept",
        "FILTER_GROUP",
        "FILTER_MALFORMED",
        "FILTER_ROWS",
        "FILTER_SCHEMA",
        "FILTER_TOO_LARGE",
        "FILTER_VALUE",
    }


ROWS = kind_of("max_rows", format="csv", max_rows=10**6)
ANYTHING = kind_of("json_schema", format="json", schema={"title": "x"})
LINES = kind_of("max_rows", format="json-lines", max_rows=10**6)


def test_lines_and_documents_are_bounded() -> None:
    """A line or a document of exactly the limit is read, and a byte more is refused, however it arrives."""
    most = table.MAX_LINE_BYTES
    assert left(ROWS, b"n\n" + b"a" * most + b"\n").endswith(b"a\n")
    assert code(ROWS, b"n\n" + b"a" * (most + 1) + b"\n") == "FILTER_MALFORMED"
    assert code(ROWS, b"n\n" + b"a" * (most + 1)) == "FILTER_MALFORMED"
    assert code(ROWS, b"n\n" + b"a" * (4 * most)) == "FILTER_MALFORMED"
    text = jsontext.MAX_LINE_BYTES - 2
    assert len(left(LINES, b'"' + b"a" * text + b'"')) == text + 3
    assert code(LINES, b'"' + b"a" * (text + 1) + b'"') == "FILTER_MALFORMED"
    text = jsontext.MAX_DOCUMENT_BYTES - 2
    assert len(left(ANYTHING, b'"' + b"a" * text + b'"')) == text + 2
    assert code(ANYTHING, b'"' + b"a" * (text + 1) + b'"') == "FILTER_MALFORMED"


def test_a_line_may_come_in_pieces() -> None:
    """Where pieces end says nothing about where lines do."""
    for size in range(1, 8):
        content = b"one\r\ntwo\n\nthree"
        pieces = (content[start : start + size] for start in range(0, len(content), size))
        assert list(lines(pieces, max_bytes=5)) == [b"one", b"two", b"", b"three"]
    with pytest.raises(Refused):
        list(lines(iter([b"one\n", b"three"]), max_bytes=4))


def test_columns_are_bounded() -> None:
    """A table has at most 1,024 columns."""
    names = ",".join(f"c{index}" for index in range(table.MAX_COLUMNS)).encode()
    assert left(ROWS, names) == names + b"\n"
    assert code(ROWS, names + b",more") == "FILTER_MALFORMED"


def test_what_is_left_is_bounded() -> None:
    """A filter leaves no more than the output may have, even where it makes it longer."""
    kind = kind_of("rounding", format="csv", columns=["n"], step="0.001")
    assert left(kind, b"n\n1\n", max_bytes=8) == b"n\n1.000\n"
    assert code(kind, b"n\n1\n", max_bytes=7) == "FILTER_TOO_LARGE"


def test_work_goes_from_one_descriptor_to_another() -> None:
    """What a worker does: the order and the output are read from their descriptors, and what is left is written."""
    rows = b"".join(b"%d.5\n" % index for index in range(60_000))
    kind = kind_of("rounding", format="csv", columns=["n"], step="0.5")
    order = json.dumps(make_order(kind, max_bytes=1 << 20)).encode()
    for output, outcome in ((b"n\n" + rows, Outcome.DONE), (b"m\n1\n", Outcome.VALUE)):
        with closing(item("order", order)) as told, closing(item("output", output)) as source:
            result = memory_file("result")
            try:
                assert work.apply(told.fd, source.fd, result) is outcome
                written = os.pread(result, 1 << 20, 0)
            finally:
                os.close(result)
        assert written == (output if outcome is Outcome.DONE else b"")


def test_batches_keep_the_order() -> None:
    """More records than are taken at once come out in their order, each with its own number."""
    rows = b"".join(b"%d,%d\n" % (index, index) for index in range(1000))
    kind = kind_of("rounding", format="csv", columns=["n"], step="1")
    assert left(kind, b"k,n\n" + rows) == b"k,n\n" + rows


@pytest.mark.parametrize(
    "pattern", ["^" + "[A-Za-z0-9]{999}" * 15 + "$", "^[a-z0-9]{1,3}" + "[a-z]*" * 40 + "$", "^[a-zA-Z0-9 _-]*$"]
)
def test_patterns_take_linear_time(pattern: str) -> None:
    """Every pattern of the subset is decided, also one that a backtracking engine would never end with."""
    kind = kind_of("json_schema", format="json", schema={"pattern": pattern})
    assert code(kind, b'"' + b"a" * 100_000 + b'!"') == "FILTER_SCHEMA"


def test_patterns_mean_the_whole_text() -> None:
    """`^` and `$` are the ends of the text and not of a line."""
    kind = kind_of("json_schema", format="json", schema={"pattern": "^[a-z]+$"})
    assert code(kind, b'"abc"') == ""
    assert {code(kind, text) for text in (b'"abc\\n"', b'"\\nabc"', b'"abc\\nabc"', b'""')} == {"FILTER_SCHEMA"}


KEYWORDS = {
    "type": ({"type": "integer"}, b"1", b"1.5"),
    "several types": ({"type": ["integer", "null"]}, b"null", b"true"),
    "const": ({"const": [1]}, b"[1]", b"[2]"),
    "enum": ({"enum": ["a", 1]}, b'"a"', b'"b"'),
    "minimum": ({"minimum": 1}, b"1", b"0.9"),
    "exclusiveMinimum": ({"exclusiveMinimum": 1}, b"1.1", b"1"),
    "maximum": ({"maximum": 9007199254740990}, b"9007199254740990", b"9007199254740991"),
    "exclusiveMaximum": ({"exclusiveMaximum": 1}, b"0.9", b"1"),
    "multipleOf": ({"multipleOf": 3}, b"9", b"10"),
    "length": ({"minLength": 1, "maxLength": 2}, b'"ab"', b'"abc"'),
    "items": ({"items": {"type": "null"}, "minItems": 1}, b"[null]", b"[1]"),
    "prefixItems": ({"prefixItems": [{"type": "null"}], "items": False}, b"[null]", b"[null,1]"),
    "properties": ({"properties": {"a": {"type": "null"}}}, b'{"a":null}', b'{"a":1}'),
    "propertyNames": ({"propertyNames": {"maxLength": 1}}, b'{"a":1}', b'{"ab":1}'),
    "allOf": ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, b"1", b"3"),
    "anyOf": ({"anyOf": [{"minimum": 3}, {"maximum": 1}]}, b"1", b"2"),
    "oneOf": ({"oneOf": [{"minimum": 1}, {"maximum": 2}]}, b"3", b"2"),
    "not": ({"not": {"type": "null"}}, b"1", b"null"),
    "if": ({"if": {"type": "integer"}, "then": {"minimum": 1}, "else": {"type": "null"}}, b"1", b"0"),
}


@pytest.mark.parametrize(("schema", "good", "bad"), KEYWORDS.values(), ids=KEYWORDS.keys())
def test_keywords_are_judged(schema: dict[str, object], good: bytes, bad: bytes) -> None:
    """Each keyword of the subset means what JSON Schema says."""
    kind = kind_of("json_schema", format="json", schema=schema)
    assert (code(kind, good), code(kind, bad)) == ("", "FILTER_SCHEMA")


def test_every_line_is_judged() -> None:
    """One line that the schema does not allow refuses the whole output."""
    kind = kind_of("json_schema", format="json-lines", schema={"type": "integer"})
    assert left(kind, b"1\n 2\n") == b"1\n2\n"
    assert code(kind, b"1\n2.5\n3\n") == "FILTER_SCHEMA"


def noisy(**changes: object) -> dict[str, object]:
    """Return the parameters of Laplace noise on the column `n`."""
    plain: dict[str, object] = {"format": "csv", "columns": ["n"], "mechanism": "laplace", "epsilon": "0.5"}
    return plain | {"sensitivity": "1", "digits": 0, "lowest": "0", "highest": "1000"} | changes


def numbers_of(output: bytes) -> list[Decimal]:
    """Return the numbers of a table of one column."""
    return [Decimal(line.decode()) for line in output.splitlines()[1:]]


NOISES = {
    "laplace": (noisy(), math.sqrt(2) * 2),
    "laplace of decimals": (noisy(digits=2, sensitivity="0.5", epsilon="2"), math.sqrt(2) * 0.25),
    "gaussian": (noisy(mechanism="gaussian", epsilon="1", delta="0.000001"), 4.53),
}


@pytest.mark.parametrize(("parameters", "deviation"), NOISES.values(), ids=NOISES.keys())
def test_noise_has_its_distribution(parameters: dict[str, object], deviation: float) -> None:
    """Twenty thousand draws have the mean and the deviation of their mechanism, within far more than chance explains.

    The mean of so many strays by a hundred and fortieth of the deviation; ten times that is one chance in 10^22.
    """
    count = 20_000
    drawn = numbers_of(left(kind_of("noise", **parameters), b"n\n" + b"500\n" * count))
    offsets = [float(number - 500) for number in drawn]
    mean = sum(offsets) / count
    assert abs(mean) < 10 * deviation / math.sqrt(count)
    assert math.sqrt(sum(offset * offset for offset in offsets) / count) == pytest.approx(deviation, rel=0.15)
    digits = parameters["digits"]
    assert isinstance(digits, int)
    assert {number.as_tuple().exponent for number in drawn} == {-digits}


def test_noise_is_never_the_same() -> None:
    """Nothing repeats the noise: two applications to one output differ."""
    kind = kind_of("noise", **noisy())
    output = b"n\n" + b"5\n" * 100
    assert len({left(kind, output) for _ in range(5)}) == 5


def test_noise_changes_its_columns_alone() -> None:
    """Other columns, and the number of records, come out as they went in."""
    output = b"k,n,m\n" + b"a,5,6\n" * 300
    drawn = [line.split(b",") for line in left(kind_of("noise", **noisy()), output).splitlines()]
    assert {(key, other) for key, _, other in drawn[1:]} == {(b"a", b"6")}
    assert (len(drawn), drawn[0]) == (301, [b"k", b"n", b"m"])


def test_noise_in_json() -> None:
    """Numbers that pointers name get noise, and are written as JSON writes numbers."""
    parameters = noisy(format="json", pointers=["/n/*"], digits=1, mechanism="gaussian", delta="0.000001")
    del parameters["columns"]
    value = json.loads(left(kind_of("noise", **parameters), b'{"m":7.25,"n":[1,2.5,1e1]}'))
    assert (value["m"], len(value["n"])) == (7.25, 3)
    assert all(Decimal(str(number)) * 10 % 1 == 0 for number in value["n"])


def test_noise_is_added_between_the_bounds() -> None:
    """What lies beyond a bound counts as the bound, so that no number stands out by more."""
    kind = kind_of("noise", **noisy(epsilon="10", lowest="10", highest="20"))
    counts = Counter(numbers_of(left(kind, b"n\n" + b"-100000\n100000\n" * 500)))
    assert (counts.most_common(2)[0][0], counts.most_common(2)[1][0]) in {(10, 20), (20, 10)}
    assert min(counts) > 0
    assert max(counts) < 30


@pytest.mark.parametrize("wrong", ["0.5", "5e-1", "x", "1e15", ""])
def test_noise_takes_numbers_of_its_digits(wrong: str) -> None:
    """A number with more decimals than agreed would give itself away, and is refused; so is what is no number."""
    assert code(kind_of("noise", **noisy()), f'n\n"{wrong}"\n'.encode()) == "FILTER_VALUE"


def test_noise_cannot_overflow() -> None:
    """The largest noise that a manifest can ask for stays a number of fifteen figures."""
    largest = noisy(epsilon="0.0001", sensitivity="999999.999999999", digits=9, highest="999999")
    drawn = numbers_of(left(kind_of("noise", **largest), b"n\n" + b"5\n" * 200))
    assert max(abs(number) for number in drawn) <= Decimal("999999.999999999")
    assert len(set(drawn)) > 1


def laplace_costs(scale: float, distance: int) -> float:
    """Return the epsilon that the library counts for Laplace noise of this scale."""
    integers = domains.vector_domain(domains.atom_domain(T="i64"))
    return float(measurements.make_laplace(integers, metrics.l1_distance(T="i64"), scale=scale).map(distance))


def gaussian_costs(scale: float, distance: int, *, delta: float) -> float:
    """Return the epsilon that the library counts for Gaussian noise of this scale."""
    integers = domains.vector_domain(domains.atom_domain(T="i64"))
    measurement = measurements.make_gaussian(integers, metrics.l2_distance(T=float), scale=scale)
    epsilon, _ = combinators.make_fix_delta(combinators.make_zCDP_to_approxDP(measurement), delta).map(float(distance))
    return float(epsilon)


@pytest.mark.parametrize("distance", [1, 10**15 - 1])
@pytest.mark.parametrize("epsilon", ["0.01", "0.1", "0.3", "10"])
def test_scales_cost_what_was_agreed(distance: int, epsilon: str) -> None:
    """The library itself says that the scale costs no more than agreed, to the last bit, and hardly less."""
    scale = noise.laplace_scale(distance, Decimal(epsilon))
    assert scale == pytest.approx(distance / float(epsilon), rel=1e-9)
    assert Fraction(laplace_costs(scale, distance)) <= Fraction(epsilon)
    # What a double can say of the price is not more than it.
    assert 0 <= Fraction(epsilon) - Fraction(noise._below(Decimal(epsilon))) < Fraction(epsilon) / 2**52
    for delta in ("0.000000000001", "0.01"):
        scale = noise.gaussian_scale(distance, epsilon=Decimal(epsilon), delta=Decimal(delta))
        assert gaussian_costs(scale, distance, delta=float(delta)) <= float(epsilon)
        assert gaussian_costs(scale * 0.99, distance, delta=float(delta)) > float(epsilon)
