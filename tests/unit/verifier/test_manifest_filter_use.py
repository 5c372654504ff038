"""Filters in a manifest: which may stand where, and the budget of an item."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.filtered import problems_of, with_filters
from tests.support.manifests import Document, World, builtin, noise, use_everything

from twocvm_verifier.manifest import parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes
from twocvm_verifier.manifest.graph import Flow

Edit = Callable[[Document], None]
SPEC = Path(__file__).parents[3] / "docs" / "spec" / "filters.md"
CLEANER = {"name": "cleaned", "owner": "hospital-a", "component": "cleaner"}
ROWS = builtin("rows", "max_rows", format="csv", max_rows=9)
LINES = builtin("lines", "max_rows", format="json-lines", max_rows=9)
PADDED = builtin("padded", "padding", sizes=[16, 4096])
SMALL = builtin("small", "max_bytes", max_bytes=9)

ORDERS: dict[str, tuple[tuple[Document, ...], tuple[str, ...], set[tuple[str, str]]]] = {
    "padding last": ((SMALL, ROWS, PADDED), ("small", "rows", "padded"), set()),
    "padding first": ((ROWS, PADDED), ("padded", "rows"), {("filter", "/outputs/0/filters/1")}),
    "a length after padding": ((SMALL, PADDED), ("padded", "small"), {("filter", "/outputs/0/filters/1")}),
    "a component after padding": ((CLEANER, PADDED), ("padded", "cleaned"), {("filter", "/outputs/0/filters/1")}),
    "padding twice": (
        (PADDED, PADDED | {"name": "again"}),
        ("padded", "again"),
        {("filter", "/outputs/0/filters/1")},
    ),
    "two formats": ((ROWS, LINES), ("rows", "lines"), {("filter", "/outputs/0/filters/1")}),
    "two formats around a length": (
        (ROWS, SMALL, LINES),
        ("rows", "small", "lines"),
        {("filter", "/outputs/0/filters/2")},
    ),
    "two formats around a component": ((ROWS, CLEANER, LINES), ("rows", "cleaned", "lines"), set()),
    "noise twice": ((noise("a"), noise("b")), ("a", "b"), {("filter", "/outputs/0/filters/1")}),
    "noise twice around a component": (
        (noise("a"), CLEANER, noise("b")),
        ("a", "cleaned", "b"),
        {("filter", "/outputs/0/filters/2")},
    ),
    "noise on two columns": ((noise("a"), noise("b", columns=["m"])), ("a", "b"), set()),
    "rounding after noise": (
        (noise("a"), builtin("r", "rounding", format="csv", columns=["n"], step="5")),
        ("a", "r"),
        set(),
    ),
    "padding beyond the output": (
        (builtin("far", "padding", sizes=[16, 4097]),),
        ("far",),
        {("limit", "/outputs/0/filters/0")},
    ),
    "a filter that is none": ((SMALL | {"builtin": "Small"},), ("small",), {("form", "/filters/0/builtin")}),
}


@pytest.mark.parametrize(("filters", "use", "wanted"), ORDERS.values(), ids=ORDERS.keys())
def test_orders_of_filters(filters: tuple[Document, ...], use: tuple[str, ...], wanted: set[tuple[str, str]]) -> None:
    """Filters stand in an order that makes sense, and leave what fits in the output."""
    assert problems_of(with_filters(*filters, use=use)) == wanted


def _component(document: Document) -> Document:
    return next(each for each in document["components"] if each["name"] == "cleaner")


def _edited(edit: Edit) -> Document:
    document = with_filters(CLEANER, use=("cleaned",))
    edit(document)
    return document


def _channel(document: Document) -> None:
    document["channels"].append(
        {"from": "data:records-a", "to": "component:cleaner.more", "kind": "file", "max_bytes": 1_000_000}
    )


def _channel_out(document: Document) -> None:
    document["channels"].append(
        {"from": "component:cleaner.more", "to": "component:step-1.more", "kind": "file", "max_bytes": 1_000_000}
    )


def _output(document: Document) -> None:
    document["outputs"].append(document["outputs"][0] | {"name": "more", "from": "component:cleaner.more"})


def _pure(document: Document) -> None:
    component = _component(document)
    component |= {"profile": "pure", "entry": "run", "exports": ["run"]}
    del component["imports"]


COMPONENTS: dict[str, tuple[Edit, set[tuple[str, str]]]] = {
    "one that fits": (lambda document: None, set()),
    "nobody": (lambda document: document["filters"][0].update(component="x"), {("reference", "/filters/0/component")}),
    "an item": (
        lambda document: document["filters"][0].update(component="records-a"),
        {("reference", "/filters/0/component")},
    ),
    "one that reads an item": (_channel, {("filter", "/filters/0/component")}),
    "one that feeds another": (_channel_out, {("filter", "/filters/0/component")}),
    "one with an output": (_output, {("filter", "/filters/0/component")}),
    "one of the graph": (
        lambda document: document["filters"][0].update(component="step-0"),
        {("filter", "/filters/0/component")},
    ),
    "one without files": (_pure, {("filter", "/filters/0/component")}),
    "one without an entry": (
        lambda document: _component(document).pop("entry"),
        {("filter", "/filters/0/component")},
    ),
    "one that imports what nobody serves": (
        lambda document: _component(document).update(imports=["example:tables/rows@1.2.3"]),
        {("import", "/components/2/imports/0")},
    ),
    "one with no room": (
        lambda document: _component(document)["limits"].update(output_bytes=4095),
        {("limit", "/outputs/0/filters/0")},
    ),
    "one that takes all the time": (
        lambda document: _component(document)["limits"].update(wall_seconds=3581),
        {("limit", "/rules/deadline_seconds")},
    ),
    "one that takes the time that there is": (
        lambda document: _component(document)["limits"].update(wall_seconds=3580),
        set(),
    ),
    "one whose profile nobody knows": (
        lambda document: _component(document).update(profile="net"),
        {("form", "/components/2/profile")},
    ),
    "one whose name nobody can read": (
        lambda document: _component(document).update(name="Cleaner"),
        {("form", "/components/2/name")},
    ),
    "no name": (lambda document: document["filters"][0].update(component="."), {("form", "/filters/0/component")}),
}


@pytest.mark.parametrize(("edit", "wanted"), COMPONENTS.values(), ids=COMPONENTS.keys())
def test_components_that_filter(edit: Edit, wanted: set[tuple[str, str]]) -> None:
    """A component filters where it has files, an entry, room and time, and no part in the graph."""
    assert problems_of(_edited(edit)) == wanted


def test_a_filter_runs_once_for_each_output() -> None:
    """Two outputs with one component have a node each, with the labels of their own source and one way in and out."""

    def edit(document: Document) -> None:
        use_everything(document)
        document["outputs"].append(document["outputs"][0] | {"name": "early", "from": "component:step-0.early"})
        document["outputs"][-1]["filters"] = ["cleaned", "blur"]
        del document["data"][0]["budget"]
        del document["data"][0]["must_pass"]

    flow = Flow(World(edit=edit).manifest)
    assert [node.name for node in flow.nodes] == ["step-0", "step-1"]
    assert {name: [node.name for node in chain] for name, chain in flow.filter_nodes.items()} == {
        "early": ["early/cleaned"],
        "evaluation": ["evaluation/cleaned"],
        "model": ["model/cleaned"],
    }
    (node,) = flow.filter_nodes["model"]
    assert (node.entry.name, node.limits.wall_seconds) == ("cleaner", 10)
    assert [(str(each.source), str(each.target)) for each in node.inputs] == [
        ("component:step-1.model", "component:cleaner.unfiltered")
    ]
    assert {str(port): most for port, most in node.output_ports.items()} == {"component:cleaner.filtered": 4096}
    assert {item.name for item in flow.items_reaching("model/cleaned")} == {"records-a", "records-b"}
    assert not flow.is_entitled("hospital-a", node="model/cleaned")


def test_components_filter_one_after_another() -> None:
    """The second component of an output reads what the first one left."""
    again = CLEANER | {"name": "again"}
    manifest = parse_manifest(canonical_bytes(with_filters(CLEANER, SMALL, again, use=("cleaned", "small", "again"))))
    chain = Flow(manifest).filter_nodes["model"]
    assert [str(node.inputs[0].source) for node in chain] == ["component:step-1.model", "component:cleaner.filtered"]


def _noised(epsilon: str, *, delta: str | None = None, outputs: tuple[int, ...] = (0, 1)) -> Document:
    """Return a manifest whose first item has this budget, and noise of 0.5 on some of its two outputs."""

    def edit(document: Document) -> None:
        document["filters"] = [noise(), noise("more", columns=["m"], mechanism="gaussian", delta="0.01")]
        for index in outputs:
            document["outputs"][index]["filters"] = ["blur"]
        document["data"][0]["budget"] = {"epsilon": epsilon} | ({} if delta is None else {"delta": delta})

    return World(edit=edit).document


def _more_noise(document: Document) -> Document:
    document["outputs"][0]["filters"] = ["blur", "more"]
    return document


BUDGETS: dict[str, tuple[Document, set[tuple[str, str]]]] = {
    "enough": (_noised("1"), set()),
    "a trifle too little": (_noised("0.999999999999"), {("budget", "/data/0/budget")}),
    "one output without noise": (_noised("100", outputs=(0,)), {("budget", "/data/0/budget")}),
    "no noise at all": (_noised("100", outputs=()), {("budget", "/data/0/budget")}),
    "both noises of an output": (_more_noise(_noised("1.5", delta="0.01")), set()),
    "no delta": (_more_noise(_noised("1.5")), {("budget", "/data/0/budget")}),
    "too little delta": (_more_noise(_noised("1.5", delta="0.0099")), {("budget", "/data/0/budget")}),
    "a budget of nothing": (_noised("0"), {("range", "/data/0/budget/epsilon")}),
}


@pytest.mark.parametrize(("document", "wanted"), BUDGETS.values(), ids=BUDGETS.keys())
def test_budgets(document: Document, wanted: set[tuple[str, str]]) -> None:
    """All noise on all outputs that an item reaches adds up to no more than its budget; no noise costs everything."""
    assert problems_of(document) == wanted


def test_a_budget_is_of_the_outputs_that_are_reached() -> None:
    """An output that the item cannot reach takes nothing of its budget, with noise or without."""

    def edit(document: Document) -> None:
        document["filters"] = [noise()]
        document["channels"] = [each for each in document["channels"] if each["from"] != "component:step-0.next"]
        document["outputs"].append(document["outputs"][0] | {"name": "early", "from": "component:step-0.early"})
        document["outputs"][-1]["filters"] = ["blur"]
        document["data"][0]["budget"] = {"epsilon": "0.5"}

    assert problems_of(World(edit=edit).document) == set()


def test_a_budget_waits_for_filters_that_can_be_read() -> None:
    """Where a filter cannot be read, that is the problem, and not that its noise is missing."""
    document = _noised("1")
    document["filters"][0]["parameters"]["epsilon"] = "1.0"
    assert problems_of(document) == {("form", "/filters/0/parameters/epsilon")}
    document = _noised("1")
    document["outputs"][0]["filters"] = ["Blur"]
    assert problems_of(document) == {("form", "/outputs/0/filters/0")}


def test_the_specifications_example() -> None:
    """What the specification shows an author, in TOML, is what a manifest takes."""
    (text,) = re.findall(r"```toml\n(.*?)```", SPEC.read_text(encoding="utf-8"), re.DOTALL)
    shown = tomllib.loads(text)

    def edit(document: Document) -> None:
        document["filters"] = shown["filters"]
        document["outputs"] = [shown["outputs"][0] | {"from": "component:step-1.table"}]
        document["data"][0] |= {"must_pass": ["blurred", "counts-of-ten"], "budget": {"epsilon": "0.5"}}

    assert problems_of(World(edit=edit).document) == set()
