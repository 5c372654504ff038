"""Filters in a manifest: the form of each kind."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.support.filtered import problems_of, with_filters
from tests.support.manifests import Document, World, builtin, every_filter, noise, use_everything

from twocvm_verifier.manifest import parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes, compose
from twocvm_verifier.manifest.difference import differences
from twocvm_verifier.manifest.filter_schema import MAX_SCHEMA_BYTES, is_pattern
from twocvm_verifier.manifest.filter_words import describe
from twocvm_verifier.manifest.filters import (
    Budget,
    ByComponent,
    Format,
    JsonSchema,
    MaxBytes,
    MaxRows,
    Mechanism,
    MinGroupSize,
    Noise,
    Padding,
    Rounding,
    Target,
    format_of,
)

CSV_N = Target(format=Format.CSV, places=("n",))
KINDS = {
    "small": MaxBytes(max_bytes=4096),
    "smaller": MaxBytes(max_bytes=1024),
    "cleaned": ByComponent(component="cleaner"),
    "rows": MaxRows(format=Format.CSV, max_rows=100),
    "groups": MinGroupSize(target=CSV_N, minimum=5),
    "steps": Rounding(target=Target(format=Format.CSV, places=("mean",)), step=Decimal("0.5")),
    "blur": Noise(
        target=CSV_N,
        mechanism=Mechanism.GAUSSIAN,
        epsilon=Decimal("0.5"),
        delta=Decimal("0.000001"),
        sensitivity=Decimal(1),
        digits=0,
        lowest=Decimal(0),
        highest=Decimal(1000),
    ),
    "padded": Padding(sizes=(1024, 4096)),
    "shape": JsonSchema(format=Format.JSON, schema=b'{"items":{"type":"string"},"type":"array"}'),
    "totals": Rounding(target=Target(format=Format.JSON_LINES, places=("/total",)), step=Decimal(10)),
}


def test_every_kind_arrives() -> None:
    """Each kind of filter is in the model with its parameters, and so is a budget."""
    manifest = World(edit=use_everything).manifest
    assert {found.name: found.kind for found in manifest.filters} == KINDS
    assert {name: manifest.filter(name).owner for name in ("small", "smaller")} == {
        "small": "hospital-a",
        "smaller": "hospital-b",
    }
    assert manifest.item("records-a").budget == Budget(epsilon=Decimal(1), delta=Decimal("0.000002"))
    assert manifest.item("records-b").budget is None


WORDS = {
    "small": "refuses more than 4,096 bytes",
    "cleaned": "is what the component cleaner makes of it",
    "rows": "refuses more than 100 records of csv",
    "groups": 'refuses counts less than 5 in "n" of csv',
    "steps": 'rounds "mean" of csv to multiples of 0.5',
    "blur": 'adds gaussian noise to "n" of csv: epsilon 0.5 and delta 0.000001 for a sensitivity of 1, '
    "which nothing here can check",
    "padded": "pads to 1,024 or 4,096 bytes",
    "shape": "refuses json that its schema of 42 bytes does not allow",
}


@pytest.mark.parametrize("name", WORDS)
def test_every_kind_has_words(name: str) -> None:
    """People are told what each filter does, in its own words."""
    assert describe(KINDS[name]) == WORDS[name]


def test_words_tell_kinds_apart() -> None:
    """Lines that are each judged, and a mechanism without delta, show as what they are."""
    lines = JsonSchema(format=Format.JSON_LINES, schema=b"true")
    assert describe(lines) == "refuses each line of json-lines that its schema of 4 bytes does not allow"
    manifest = parse_manifest(canonical_bytes(with_filters(noise())))
    assert "laplace noise" in describe(manifest.filter("blur").kind)
    assert "delta" not in describe(manifest.filter("blur").kind)


def test_formats_of_kinds() -> None:
    """A filter reads the format of its parameters, and none where it looks at the length or is a component."""
    assert {name: format_of(kind) for name, kind in KINDS.items()} == {
        "small": None,
        "smaller": None,
        "cleaned": None,
        "padded": None,
        "rows": Format.CSV,
        "groups": Format.CSV,
        "steps": Format.CSV,
        "blur": Format.CSV,
        "shape": Format.JSON,
        "totals": Format.JSON_LINES,
    }


# What the one filter `f` has, the rule it breaks, and the place below `/filters/0`.
WRONG_FORM: dict[str, tuple[Document, str, str]] = {
    "rows of json": (builtin("f", "max_rows", format="json", max_rows=1), "form", "/parameters/format"),
    "no rows": (builtin("f", "max_rows", format="csv", max_rows=0), "range", "/parameters/max_rows"),
    "a schema of csv": (
        builtin("f", "json_schema", format="csv", schema={"type": "null"}),
        "form",
        "/parameters/format",
    ),
    "a format to come": (
        builtin("f", "rounding", format="parquet", columns=["a"], step="1"),
        "form",
        "/parameters/format",
    ),
    "pointers into csv": (
        builtin("f", "rounding", format="csv", columns=["a"], pointers=["/a"], step="1"),
        "unknown",
        "/parameters/pointers",
    ),
    "columns of json": (
        builtin("f", "rounding", format="json", columns=["a"], pointers=["/a"], step="1"),
        "unknown",
        "/parameters/columns",
    ),
    "no columns": (builtin("f", "rounding", format="csv", step="1"), "missing", "/parameters/columns"),
    "no pointers": (builtin("f", "min_group_size", format="json", minimum=5), "missing", "/parameters/pointers"),
    "a pointer without a slash": (
        builtin("f", "rounding", format="json", pointers=["a"], step="1"),
        "form",
        "/parameters/pointers/0",
    ),
    "a pointer to the whole": (
        builtin("f", "rounding", format="json", pointers=[""], step="1"),
        "form",
        "/parameters/pointers/0",
    ),
    "a pointer with a bare tilde": (
        builtin("f", "rounding", format="json", pointers=["/a~b"], step="1"),
        "form",
        "/parameters/pointers/0",
    ),
    "a pointer deeper than anything": (
        builtin("f", "rounding", format="json", pointers=["/a" * 33], step="1"),
        "form",
        "/parameters/pointers/0",
    ),
    "a pointer of a book": (
        builtin("f", "rounding", format="json", pointers=["/" + "a" * 1024], step="1"),
        "form",
        "/parameters/pointers/0",
    ),
    "more columns than a filter takes": (
        builtin("f", "rounding", format="csv", columns=[f"c{index:02}" for index in range(65)], step="1"),
        "range",
        "/parameters/columns",
    ),
    "a group of one": (
        builtin("f", "min_group_size", format="csv", columns=["n"], minimum=1),
        "range",
        "/parameters/minimum",
    ),
    "a step of nothing": (builtin("f", "rounding", format="csv", columns=["n"], step="0"), "range", "/parameters/step"),
    "a step backwards": (builtin("f", "rounding", format="csv", columns=["n"], step="-1"), "range", "/parameters/step"),
    "padding to nothing": (builtin("f", "padding", sizes=[0]), "range", "/parameters/sizes/0"),
    "noise without a mechanism's name": (noise("f", mechanism="uniform"), "form", "/parameters/mechanism"),
    "delta of laplace": (noise("f", delta="0.01"), "unknown", "/parameters/delta"),
    "gaussian without delta": (noise("f", mechanism="gaussian"), "missing", "/parameters/delta"),
    "a delta that protects nobody": (
        noise("f", mechanism="gaussian", delta="0.010000000001"),
        "range",
        "/parameters/delta",
    ),
    "epsilon of nothing": (noise("f", epsilon="0"), "range", "/parameters/epsilon"),
    "an epsilon that protects nobody": (noise("f", epsilon="10.1"), "range", "/parameters/epsilon"),
    "a bound of sixteen figures": (
        noise("f", digits=9, highest="1000000"),
        "range",
        "/parameters/highest",
    ),
    "no sensitivity": (noise("f", sensitivity="0"), "range", "/parameters/sensitivity"),
    "a sensitivity between digits": (noise("f", sensitivity="0.5"), "form", "/parameters/sensitivity"),
    "a bound between digits": (noise("f", lowest="0.5"), "form", "/parameters/lowest"),
    "another bound between digits": (noise("f", highest="9.5"), "form", "/parameters/highest"),
    "bounds the wrong way round": (noise("f", lowest="2", highest="1"), "range", "/parameters/highest"),
    "too many digits": (noise("f", digits=10), "range", "/parameters/digits"),
    "a built-in without parameters": (
        {"name": "f", "owner": "hospital-a", "builtin": "max_rows"},
        "missing",
        "/parameters",
    ),
    "a built-in in capitals": (builtin("f", "MAX_BYTES", max_bytes=1), "form", "/builtin"),
}


@pytest.mark.parametrize(("entry", "rule", "place"), WRONG_FORM.values(), ids=WRONG_FORM.keys())
def test_one_wrong_parameter_one_problem(entry: Document, rule: str, place: str) -> None:
    """One parameter that is wrong is one problem, at its place."""
    assert problems_of(with_filters(entry)) == {(rule, f"/filters/0{place}")}


@pytest.mark.parametrize(
    "text", ["", "1.0", "01", "+1", "1e3", ".5", "5.", "-0", "1,5", " 1", "NaN", "1000000000", "0.0000000000001", "1\n"]
)
def test_decimals_have_one_spelling(text: str) -> None:
    """A decimal number is a string in its one way; anything else is refused, and so is a JSON number."""
    for wrong in (text, 1):
        document = with_filters(builtin("f", "rounding", format="csv", columns=["n"], step=wrong))
        assert {place for _, place in problems_of(document)} <= {"/filters/0/parameters/step", ""}
        assert problems_of(document)


SCHEMA = {
    "type": ["object", "null"],
    "title": "A model",
    "description": "",
    "$comment": "as agreed",
    "properties": {
        "weights": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "items": {"type": "number", "minimum": -1, "maximum": 1, "exclusiveMinimum": -2, "exclusiveMaximum": 2},
            "minItems": 1,
            "maxItems": 10,
        },
        "name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]{1,5}$"},
        "kind": {"enum": ["b", "a", 1]},
        "rest": True,
    },
    "required": ["weights", "name"],
    "additionalProperties": False,
    "propertyNames": {"maxLength": 10},
    "minProperties": 1,
    "maxProperties": 3,
    "allOf": [{"not": {"const": 5}}],
    "anyOf": [{"multipleOf": 2}, True],
    "oneOf": [True],
    "if": {"type": "object"},
    "then": True,
    "else": False,
}


def test_every_keyword_of_the_subset() -> None:
    """A schema may have every keyword that the specification lists; its arrays stay in their order."""
    document = with_filters(builtin("f", "json_schema", format="json", schema=SCHEMA))
    kind = compose(document, randomness=bytes).filter("f").kind
    assert isinstance(kind, JsonSchema)
    assert b'"required":["weights","name"]' in kind.schema
    assert b'"enum":["b","a",1]' in kind.schema


WRONG_SCHEMA: dict[str, tuple[object, str, str]] = {
    "no object": ("string", "type", ""),
    "a schema that is only true": (True, "type", ""),
    "nothing at all": ({}, "form", ""),
    "a reference": ({"$ref": "https://example.org/schema"}, "unknown", "/$ref"),
    "a reference inside": ({"$ref": "#/$defs/a"}, "unknown", "/$ref"),
    "definitions": ({"$defs": {"a": True}}, "unknown", "/$defs"),
    "a dynamic reference": ({"items": {"$dynamicRef": "#a"}}, "unknown", "/items/$dynamicRef"),
    "another dialect": ({"$schema": "http://json-schema.org/draft-07/schema#"}, "unknown", "/$schema"),
    "a format": ({"format": "email"}, "unknown", "/format"),
    "properties by pattern": ({"patternProperties": {"(a+)+": True}}, "unknown", "/patternProperties"),
    "a pattern with a group": ({"pattern": "^(a+)+$"}, "form", "/pattern"),
    "a type to come": ({"type": "date"}, "form", "/type"),
    "a type among others": ({"type": ["string", "date"]}, "form", "/type/1"),
    "a length below nothing": ({"maxLength": -1}, "range", "/maxLength"),
    "a schema that is a word": ({"items": "string"}, "type", "/items"),
    "schemas that are one": ({"anyOf": {"type": "null"}}, "type", "/anyOf"),
    "no schema of several": ({"anyOf": []}, "form", "/anyOf"),
    "properties in a row": ({"properties": [True]}, "type", "/properties"),
    "a property that is a number": ({"properties": {"a": 1}}, "type", "/properties/a"),
    "an empty enumeration": ({"enum": []}, "form", "/enum"),
    "a key that is required and none": ({"required": [1]}, "type", "/required/0"),
    "a multiple of nothing": ({"multipleOf": 0}, "range", "/multipleOf"),
    "longer than schemas are": ({"const": "x" * MAX_SCHEMA_BYTES}, "range", ""),
}


@pytest.mark.parametrize(("schema", "rule", "place"), WRONG_SCHEMA.values(), ids=WRONG_SCHEMA.keys())
def test_schemas_outside_the_subset(schema: object, rule: str, place: str) -> None:
    """A keyword or a value that the subset has not is refused where it stands."""
    document = with_filters(builtin("f", "json_schema", format="json", schema=schema))
    assert problems_of(document) == {(rule, f"/filters/0/parameters/schema{place}")}


PATTERNS = (
    *("^$", "^abc$", "^[A-Z]{2}[0-9]{2,4}$", r"^a\.b\-c$", "^[a-z0-9_-]+$", "^x*y?z+$", "^A 1_:/,;=%#@-$"),
    "^" + "a" * 254 + "$",
)
NO_PATTERNS = (
    *("", "abc", "^abc", "abc$", "^a|b$", "^(a)$", "^.$", r"^\d$", r"^\w+$", "^[^a]$", "^[]$", "^a**$", "^a+?$"),
    *("^a{2,1}$", "^a{1000}$", "^a{,2}$", "^[a-]]$", "^[--a]$", "^[!-~]$", "^\u00e4$", r"^\p{L}$", "^a$b$", "^^$"),
    *("^a$\n", "^" + "a" * 255 + "$"),
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern: str) -> None:
    """A row of characters, classes and counts is a pattern."""
    assert is_pattern(pattern)


@pytest.mark.parametrize("pattern", NO_PATTERNS)
def test_patterns_outside_the_subset(pattern: str) -> None:
    """Alternatives, groups, any character, escapes of classes and nested counts are none of the subset."""
    assert not is_pattern(pattern)


def test_schemas_differ_by_position() -> None:
    """Where two schemas differ in the order of an array, that is a difference of the manifests."""
    first = {"prefixItems": [{"type": "null"}, {"type": "null"}, {"type": "string"}]}
    second = {"prefixItems": [{"type": "null"}, {"type": "string"}, {"type": "null"}]}
    before, after = (
        with_filters(builtin("f", "json_schema", format="json", schema=schema)) for schema in (first, second)
    )
    assert [found.place for found in differences(before, after)] == [
        "filters[f].parameters.schema.prefixItems[1].type",
        "filters[f].parameters.schema.prefixItems[2].type",
    ]


def test_names_of_every_filter_are_told() -> None:
    """The helper of these tests has every kind that the model has."""
    assert {entry["name"] for entry in every_filter()} == set(KINDS)
