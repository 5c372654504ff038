"""What a manifest says as a whole: references, imports, ports, nodes, flow on all paths, limits."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import pytest
from tests.support.filtered import problems_of
from tests.support.manifests import Document, World, set_at, use_everything

from twocvm_verifier.errors import UnsupportedError
from twocvm_verifier.manifest import ManifestError, parse_manifest
from twocvm_verifier.manifest.author import compose
from twocvm_verifier.manifest.problems import MAX_PROBLEMS, Problem, Problems, Rule

Edit = Callable[[Document], None]
ROWS = "example:tables/rows@1.2.3"


def puts(**values: object) -> Edit:
    """Return an edit that puts each value at its pointer, written with dashes: `data_0_owner`."""

    def edit(document: Document) -> None:
        for place, value in values.items():
            set_at(document, "/" + place.replace("__", "/"), value)

    return edit


def file(source: str, target: str, max_bytes: int = 1_000_000) -> Document:
    """Return a channel of files."""
    return {"from": source, "to": target, "kind": "file", "max_bytes": max_bytes}


def call(source: str, target: str, interface: str = ROWS) -> Document:
    """Return a call channel: `source` exports what `target` imports."""
    return {"from": f"component:{source}.{interface}", "to": f"component:{target}.{interface}", "kind": "call"}


def library(document: Document, name: str, **changes: object) -> None:
    """Add a component without an entry that exports ROWS, with the limits of the first one."""
    document["components"].append(
        {
            "name": name,
            "owner": "analytics",
            "sha256": "07" * 32,
            "profile": "pure",
            "exports": [ROWS],
            "limits": copy.deepcopy(document["components"][0]["limits"]),
        }
        | changes
    )


# Index 0 and 1 of data are records-a and records-b, of components step-0 and step-1, of channels the items', then
# step-0.next to step-1.previous; output 0 is model (to analytics), 1 is evaluation (to the hospitals).


def _call_cycle(document: Document) -> None:
    library(document, "first", imports=["example:b/b@1.0.0"])
    library(document, "second", exports=["example:b/b@1.0.0"], imports=[ROWS])
    document["components"][0]["imports"].append(ROWS)
    document["channels"] += [
        call("first", "step-0"),
        call("first", "second"),
        call("second", "first", "example:b/b@1.0.0"),
    ]


def _two_entries(document: Document) -> None:
    run = "wasi:cli/run@0.2.3"
    library(document, "tables", exports=[ROWS, run], entry=run)
    document["components"][0]["imports"].append(ROWS)
    document["channels"].append(call("tables", "step-0"))


def _two_files(document: Document) -> None:
    library(document, "tables", profile="files")
    document["components"][0]["imports"].append(ROWS)
    document["channels"].append(call("tables", "step-0"))


def _other_limits(document: Document) -> None:
    library(document, "tables")
    document["components"][0]["imports"].append(ROWS)
    document["channels"].append(call("tables", "step-0"))
    document["components"][-1]["limits"]["memory_bytes"] += 1


def _wired_twice(document: Document) -> None:
    library(document, "tables")
    library(document, "others")
    document["components"][0]["imports"].append(ROWS)
    document["channels"] += [call("tables", "step-0"), call("others", "step-0")]


def _wired_though_served(document: Document) -> None:
    served = "wasi:filesystem/types@0.2.3"
    library(document, "fake", exports=[served])
    document["channels"].append(call("fake", "step-0", served))


def _unexported(document: Document) -> None:
    library(document, "tables")
    document["components"][0]["imports"].append("example:other/x@1.0.0")
    document["channels"].append(call("tables", "step-0", "example:other/x@1.0.0"))


def _unimported(document: Document) -> None:
    library(document, "tables")
    document["channels"].append(call("tables", "step-0"))


def _pure_with_files(document: Document) -> None:
    library(document, "tables")
    document["components"][0]["imports"].append(ROWS)
    document["channels"] += [call("tables", "step-0"), file("data:records-a", "component:tables.in")]


def _output_of_pure(document: Document) -> None:
    library(document, "tables")
    document["components"][0]["imports"].append(ROWS)
    document["channels"].append(call("tables", "step-0"))
    document["outputs"][0]["from"] = "component:tables.out"


def _must_pass(document: Document) -> None:
    document["filters"] = [
        {"name": "small", "owner": "hospital-a", "builtin": "max_bytes", "parameters": {"max_bytes": 10}}
    ]
    document["data"][0]["must_pass"] = ["small"]
    document["outputs"][0]["filters"] = ["small"]


def _window_too_large(document: Document) -> None:
    document["channels"][0] |= {"kind": "window", "max_bytes": 2**40}


BROKEN: dict[str, tuple[Edit, set[tuple[str, str]]]] = {
    "an owner of a component": (puts(components__0__owner="nobody"), {("reference", "/components/0/owner")}),
    "an owner of an item": (puts(data__0__owner="nobody"), {("reference", "/data/0/owner")}),
    "a recipient": (puts(outputs__0__recipients=["nobody"]), {("reference", "/outputs/0/recipients/0")}),
    "an operator": (puts(platform__operator="nobody"), {("reference", "/platform/operator")}),
    "a participant not to reach": (
        puts(data__0__must_not_reach=["nobody"]),
        {("reference", "/data/0/must_not_reach/0")},
    ),
    "a filter to pass": (puts(data__0__must_pass=["nothing"]), {("reference", "/data/0/must_pass/0")}),
    "a filter of an output": (puts(outputs__0__filters=["nothing"]), {("reference", "/outputs/0/filters/0")}),
    "an item of a channel": (
        puts(**{"channels__-": file("data:nothing", "component:step-0.x")}),
        {("reference", "/channels/3/from")},
    ),
    "a component of a channel": (
        puts(**{"channels__-": file("component:nothing.x", "component:step-0.x")}),
        {("reference", "/channels/3/from")},
    ),
    "a target of a channel": (
        puts(**{"channels__-": file("data:records-a", "component:nothing.x")}),
        {("reference", "/channels/3/to")},
    ),
    "a source of an output": (puts(outputs__0__from="component:nothing.x"), {("reference", "/outputs/0/from")}),
    "an entry": (puts(components__0__entry="wasi:cli/run@0.2.9"), {("reference", "/components/0/entry")}),
    "two participants of one name": (
        puts(participants__1__name="hospital-a"),
        {("unique", "/participants/1/name"), ("reference", "/data/1/owner"), ("reference", "/outputs/1/recipients/1")},
    ),
    "an item named as a component": (
        puts(components__1__name="records-a"),
        {
            ("unique", "/data/0/name"),
            ("reference", "/channels/1/to"),
            ("reference", "/channels/2/to"),
            ("reference", "/outputs/0/from"),
            ("reference", "/outputs/1/from"),
        },
    ),
    "two outputs of one name": (puts(outputs__1__name="model"), {("unique", "/outputs/#/name")}),
    "an undeclared import": (
        puts(components__0__imports=["wasi:sockets/tcp@0.2.3"]),
        {("import", "/components/0/imports/0")},
    ),
    "an import of HTTP": (
        puts(components__0__imports=["wasi:http/outgoing-handler@0.2.3"]),
        {("import", "/components/0/imports/0")},
    ),
    "an import of a WASI to come": (
        puts(components__0__imports=["wasi:io/streams@0.3.0"]),
        {("import", "/components/0/imports/0")},
    ),
    "an import wired twice": (_wired_twice, {("import", "/channels/#/to")}),
    "an import that the profile serves": (_wired_though_served, {("import", "/components/0/imports/1")}),
    "a call of no export": (_unexported, {("import", "/channels/3/from")}),
    "a call of no import": (_unimported, {("import", "/channels/3/to")}),
    "a port with two sources": (
        puts(**{"channels__-": file("data:records-b", "component:step-0.records-a")}),
        {("port", "/channels/#/to")},
    ),
    "an item that nobody reads": (
        puts(channels__0__from="data:records-b"),
        {("port", "/data/0/name")},
    ),
    "files for a pure component": (_pure_with_files, {("port", "/channels/4/to")}),
    "an output of a pure component": (_output_of_pure, {("port", "/outputs/0/from")}),
    "no entry": (lambda document: document["components"][0].pop("entry"), {("node", "/components/0/entry")}),
    "two entries in a node": (_two_entries, {("node", "/components/#/entry")}),
    "two members with files": (_two_files, {("node", "/components/#/profile")}),
    "other limits in a node": (_other_limits, {("node", "/components/#/limits")}),
    "a cycle": (
        puts(**{"channels__-": file("component:step-1.back", "component:step-0.back")}),
        {("cycle", "/channels")},
    ),
    "a channel to itself": (
        puts(**{"channels__-": file("component:step-1.back", "component:step-1.again")}),
        {("cycle", "/channels")},
    ),
    "a cycle of calls": (_call_cycle, {("cycle", "/channels")}),
    "an item that reaches whom it must not": (
        puts(data__0__must_not_reach=["analytics", "hospital-b"]),
        {("must-not-reach", "/data/0/must_not_reach/0"), ("must-not-reach", "/data/0/must_not_reach/1")},
    ),
    "an output without the filter": (_must_pass, {("must-pass", "/data/0/must_pass/0")}),
    "a channel smaller than its item": (puts(channels__0__max_bytes=999_999), {("limit", "/channels/0/max_bytes")}),
    "two sizes of one port": (
        puts(outputs__1__from="component:step-1.model", outputs__1__max_bytes=1),
        {("limit", "/outputs/#/max_bytes")},
    ),
    "ports larger than the output": (
        puts(components__0__limits__output_bytes=999_999),
        {("limit", "/components/0/limits/output_bytes")},
    ),
    "a window larger than memory": (_window_too_large, {("limit", "/channels/0/max_bytes")}),
    "a deadline before the end": (puts(rules__deadline_seconds=19), {("limit", "/rules/deadline_seconds")}),
    "a deadline before the longest path": (
        puts(rules={"deadline_seconds": 19, "parallel": True}),
        {("limit", "/rules/deadline_seconds")},
    ),
}


@pytest.mark.parametrize(("edit", "wanted"), BROKEN.values(), ids=BROKEN.keys())
def test_refuses(edit: Edit, wanted: set[tuple[str, str]]) -> None:
    """One rule that is broken is reported at its place, and nothing else is."""
    found = problems_of(World(edit=edit).document)
    if any("#" in pointer for _, pointer in wanted):
        # Which of two equals is the second one depends on how they sort.
        found = {(rule, re.sub(r"\d+", "#", pointer)) for rule, pointer in found}
    assert found == wanted


@pytest.mark.parametrize("same", ["tls", "other participant"])
def test_no_key_twice(same: str) -> None:
    """A key serves one purpose of one participant."""

    def edit(document: Document) -> None:
        first, second = document["participants"][:2]
        second["consent"] = first["tls"][0] if same == "other participant" else second["tls"][0]

    assert {rule for rule, _ in problems_of(World(edit=edit).document)} == {"unique"}


def test_nodes_in_parallel_have_the_deadline_of_the_longest_path() -> None:
    """Where nodes run at the same time, only those that wait for each other add up."""

    def edit(document: Document) -> None:
        document["channels"] = document["channels"][:2]
        document["channels"][1]["to"] = "component:step-1.records-b"
        document["rules"] = {"deadline_seconds": 10, "parallel": True}

    assert problems_of(World(edit=edit).document) == set()


def test_must_rules_hold_on_every_path() -> None:
    """One path among many that breaks the rule is enough to be refused, however long it is."""

    def edit(document: Document) -> None:
        document["outputs"].append(
            {"name": "detour", "from": "component:step-9.detour", "recipients": ["hospital-b"], "max_bytes": 1}
        )
        for output in document["outputs"][:2]:
            output["recipients"] = ["hospital-a"]
        document["data"][0]["must_not_reach"] = ["hospital-b"]

    found = problems_of(World(components=10, edit=edit).document)
    assert found == {("must-not-reach", "/data/0/must_not_reach/0")}


def test_must_rules_follow_calls() -> None:
    """A call carries data both ways, so a library is reached by everything that its caller is."""

    def edit(document: Document) -> None:
        run = "wasi:cli/run@0.2.3"
        library(document, "tables", profile="files", exports=[ROWS, run], entry=run)
        document["components"][0] |= {"profile": "pure", "imports": [ROWS]}
        del document["components"][0]["entry"]
        document["components"][0]["exports"] = ["run"]
        document["channels"] = [call("tables", "step-0"), file("data:records-a", "component:tables.in")]
        document["channels"].append(file("data:records-b", "component:step-1.in"))
        document["outputs"][0] |= {"from": "component:tables.out", "recipients": ["hospital-b"]}
        document["data"][0]["must_not_reach"] = ["hospital-b"]

    assert problems_of(World(edit=edit).document) == {("must-not-reach", "/data/0/must_not_reach/0")}


def test_must_pass_accepts_where_every_output_has_the_filter() -> None:
    """The rule is met when no output that the item reaches is without the filter."""

    def edit(document: Document) -> None:
        _must_pass(document)
        document["outputs"][1]["filters"] = ["small"]

    assert problems_of(World(edit=edit).document) == set()


def test_broken_parts_bring_no_second_problem() -> None:
    """A channel that cannot be read is one problem: what it would have wired is not reported missing."""

    def edit(document: Document) -> None:
        use_everything(document)
        for channel in document["channels"]:
            channel["kind"] = "pipe"

    wanted = {("form", f"/channels/{index}/kind") for index in range(5)}
    assert problems_of(World(edit=edit).document) == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"builtin": "laplace", "parameters": {"epsilon": 1}},
        {"builtin": "k-anonymity"},
    ],
)
def test_unsupported_filters(change: Document) -> None:
    """A filter that this version has not got is refused as unsupported, never passed over."""

    def edit(document: Document) -> None:
        document["filters"] = [{"name": "noise", "owner": "hospital-a"} | change]

    with pytest.raises(UnsupportedError) as refusal:
        parse_manifest(World(edit=edit).raw)
    assert (refusal.value.code, refusal.value.exit_status) == ("UNSUPPORTED_FILTER", 20)


def test_problems_are_bounded() -> None:
    """A document that is wrong in many places gives a bounded error, with a text of bounded length."""
    with pytest.raises(ManifestError) as refusal:
        compose({f"x{index}": 1 for index in range(5000)}, randomness=bytes)
    assert len(refusal.value.problems) == MAX_PROBLEMS
    assert len(str(refusal.value)) < 2000


def test_a_refusal_needs_a_problem() -> None:
    """An error without a reason is a mistake of the caller; no problems are no error."""
    Problems().refuse()
    with pytest.raises(ValueError, match="problem"):
        ManifestError(())


def test_problem_of_the_whole_document() -> None:
    """The empty pointer is shown as the root."""
    assert str(Problem(rule=Rule.TYPE, pointer="", detail="not an object")) == "/: not an object"
