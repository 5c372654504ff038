"""The form of a manifest: each member broken in turn, each problem at its place."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.manifests import Document, World, get_at, remove_at, set_at, use_everything, without

from twocvm_verifier.manifest import ManifestError, Profile, parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes, compose
from twocvm_verifier.manifest.filters import MaxBytes
from twocvm_verifier.manifest.model import ChannelKind, ClockRule, DataRef, PortRef, RandomRule
from twocvm_verifier.strictjson import canonical

FULL = World(edit=use_everything).document
SPEC = Path(__file__).parents[3] / "docs" / "spec" / "manifest.md"


def _no_randomness(_: int) -> bytes:
    raise AssertionError("the document has a salt")


def problems_of(document: Document) -> set[tuple[str, str]]:
    """Return rule and place of everything that is wrong, at the places of the unsorted document."""
    try:
        compose(document, randomness=_no_randomness)
    except ManifestError as error:
        return {(str(problem.rule), problem.pointer) for problem in error.problems}
    return set()


def changed(pointer: str, value: object) -> Document:
    """Return the full document with another value at `pointer`."""
    document = copy.deepcopy(FULL)
    set_at(document, pointer, value)
    return document


def every_place(value: Any = FULL, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the pointer and value of every member of the full document."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        place = f"{pointer}/{key}"
        yield place, member
        yield from every_place(member, place)


PLACES = dict(every_place())
OBJECTS = [pointer for pointer, value in PLACES.items() if isinstance(value, dict)]
# The author's tool draws the salt; a filter has builtin or component, and parameters accordingly.
ELSEWHERE = {
    "/salt",
    *(f"/filters/{index}/{key}" for index in range(10) for key in ("builtin", "parameters", "component")),
}


def test_the_full_document_is_valid() -> None:
    """The document that the other tests break is itself accepted."""
    assert problems_of(FULL) == set()


@pytest.mark.parametrize("pointer", PLACES)
def test_another_type_is_refused(pointer: str) -> None:
    """Whatever a member is, a value of another JSON type in its place is refused there."""
    wrong: object = 7 if isinstance(PLACES[pointer], str | bool | dict | list) else "7"
    assert pointer in {place for _, place in problems_of(changed(pointer, wrong))}


@pytest.mark.parametrize("pointer", [pointer for pointer, value in PLACES.items() if isinstance(value, int)])
def test_booleans_are_not_integers(pointer: str) -> None:
    """True is not 1, and 1 is not true."""
    wrong: object = 1 if isinstance(PLACES[pointer], bool) else True
    assert ("type", pointer) in problems_of(changed(pointer, wrong))


@pytest.mark.parametrize("pointer", ["", *OBJECTS])
def test_unknown_members_are_refused(pointer: str) -> None:
    """No object takes a member that the format does not list."""
    assert ("unknown", f"{pointer}/surprise") in problems_of(changed(f"{pointer}/surprise", 1))


@pytest.mark.parametrize("pointer", [pointer for pointer, value in PLACES.items() if isinstance(value, str)])
def test_empty_strings_are_refused(pointer: str) -> None:
    """No string of the format may be empty."""
    assert pointer in {place for _, place in problems_of(changed(pointer, ""))}


@pytest.mark.parametrize("pointer", [pointer for pointer, value in PLACES.items() if isinstance(value, list | dict)])
def test_empty_arrays_and_objects_are_refused(pointer: str) -> None:
    """What would be empty is left out, so that nothing can be said in two ways."""
    empty: object = [] if isinstance(PLACES[pointer], list) else {}
    found = problems_of(changed(pointer, empty))
    assert any(place == pointer or place.startswith(f"{pointer}/") for _, place in found)


@pytest.mark.parametrize("pointer", [pointer for pointer, value in PLACES.items() if isinstance(value, int)])
@pytest.mark.parametrize("wrong", [-1, 2**53 - 1])
def test_integers_have_bounds(pointer: str, wrong: int) -> None:
    """Every integer but fuel has an upper bound, and none is negative."""
    if isinstance(PLACES[pointer], bool) or (pointer.endswith("/fuel") and wrong > 0):
        return
    assert ("range", pointer) in problems_of(changed(pointer, wrong))


HEX = [pointer for pointer, value in PLACES.items() if isinstance(value, str) and re.fullmatch("[0-9a-f]{32,}", value)]


@pytest.mark.parametrize("pointer", HEX)
def test_hex_has_one_spelling(pointer: str) -> None:
    """Upper case, another length and other characters are refused."""
    value = PLACES[pointer]
    assert len(HEX) > 15
    for wrong in ("F" + value[1:], value[:-1], value + "00", "g" + value[1:], "0x" + value[2:], " " + value[1:]):
        assert ("form", pointer) in problems_of(changed(pointer, wrong))


NAMES = [pointer for pointer in PLACES if pointer.endswith(("/name", "/owner")) or pointer == "/platform/operator"]


@pytest.mark.parametrize("pointer", NAMES)
@pytest.mark.parametrize(
    "name", ["..", "a/b", "A", "1a", "-a", "a_b", "a.b", "a" * 64, "a\u00e4", "a ", "/etc/passwd", "a\n"]
)
def test_names_are_plain(pointer: str, name: str) -> None:
    """No name can climb out of a folder, hide a character, or be longer than 63 characters."""
    try:
        found = problems_of(changed(pointer, name))
    except ValueError as error:
        raise AssertionError(name) from error
    assert pointer in {place for _, place in found} or ("json", pointer) in found


_FILTERS = re.compile(r"/outputs/\d+/filters")
SETS = [pointer for pointer, value in PLACES.items() if isinstance(value, list) and not _FILTERS.fullmatch(pointer)]


@pytest.mark.parametrize("pointer", SETS)
def test_sets_have_no_duplicates(pointer: str) -> None:
    """A member that stands twice in a set is refused, and the author's tool does not drop it."""
    document = copy.deepcopy(FULL)
    members = get_at(document, pointer)
    members.append(copy.deepcopy(members[0]))
    assert any(rule == "set" and place.startswith(f"{pointer}/") for rule, place in problems_of(document))


SORTED: Document = json.loads(canonical_bytes(FULL))


@pytest.mark.parametrize(
    "pointer",
    [
        pointer
        for pointer, value in every_place(SORTED)
        if isinstance(value, list) and len(value) > 1 and not _FILTERS.fullmatch(pointer)
    ],
)
def test_sets_are_sorted(pointer: str) -> None:
    """The author's tool sorts; what travels unsorted is refused."""
    document = copy.deepcopy(SORTED)
    get_at(document, pointer).reverse()
    with pytest.raises(ManifestError) as refusal:
        parse_manifest(canonical(document))
    assert ("set", f"{pointer}/1") in {(str(found.rule), found.pointer) for found in refusal.value.problems}


def test_filters_of_an_output_keep_their_order() -> None:
    """The one array that is no set keeps the order in which its filters are applied, and has none twice."""
    swapped = changed("/outputs/0/filters", ["smaller", "small", "blur"])
    manifest = compose(swapped, randomness=_no_randomness)
    assert manifest.output("model").filters == ("smaller", "small", "blur")
    twice = changed("/outputs/0/filters", ["small", "blur", "small"])
    assert problems_of(twice) == {("unique", "/outputs/0/filters/2")}


def _required() -> list[str]:
    """Return every member whose absence is a problem, as the spec's tables have it: without a question mark."""
    optional = set(re.findall(r"`([a-z_0-9]+)`\??\?", SPEC.read_text(encoding="utf-8")))
    optional |= set(re.findall(r'"([a-z_]+)"\?', SPEC.read_text(encoding="utf-8")))
    return [
        pointer
        for pointer in PLACES
        if not pointer.rpartition("/")[2].isdigit()
        and pointer.rpartition("/")[2] not in optional
        and "/minimum_tcb/" not in pointer
        and pointer not in ELSEWHERE
        and not pointer.endswith("/max_bytes")
        and "/schema/" not in pointer
    ]


@pytest.mark.parametrize("pointer", _required())
def test_required_members(pointer: str) -> None:
    """A member that the spec does not mark with a question mark is required."""
    document = copy.deepcopy(FULL)
    remove_at(document, pointer)
    assert ("missing", pointer) in problems_of(document)


def test_optional_members_have_their_defaults() -> None:
    """What is left out means what the spec says."""
    manifest = World().manifest
    platform = manifest.platform
    assert (platform.vmpl, platform.id_key_digests, platform.chip_ids, platform.ledgers) == (0, (), (), ())
    assert (platform.guest_policy.required, platform.guest_policy.forbidden, platform.mitigations.launch) == (0, 0, 0)
    assert (manifest.rules.parallel, manifest.rules.clock, manifest.rules.random, manifest.rules.seed) == (
        False,
        ClockRule.FROZEN,
        RandomRule.SEEDED,
        b"",
    )
    assert manifest.components[0].limits.fuel is None
    assert (manifest.filters, manifest.references) == ((), ())


def test_every_member_arrives() -> None:
    """Each member of the full document is in the model, with its value."""
    manifest = World(edit=use_everything).manifest
    platform = manifest.platform
    assert manifest.participant("hospital-a").display == "Hospital A"
    assert bytes.fromhex("aa" * 32) in manifest.participant("hospital-a").tls
    assert platform.products == ("Genoa", "Simulated", "Turin")
    assert platform.minimum_tcb["Turin"] == {"fmc": 0, "tee": 255}
    assert (platform.guest_policy.required, platform.guest_policy.forbidden) == (1 << 16, 1 << 18 | 1 << 19)
    assert platform.platform_info.required == 1 << 2 | 1 << 5
    assert (platform.mitigations.launch, platform.mitigations.current) == (1 << 2 | 1 << 10, 1 << 63)
    assert (platform.vmpl, platform.operator, platform.simulated) == (1, "analytics", True)
    assert (platform.ledgers[0].witnesses, platform.ledgers[0].quorum) == (("w1", "w2"), 2)
    assert manifest.component("tables").profile is Profile.PURE
    assert manifest.component("step-0").limits.fuel == 10**9
    kinds = {(channel.source, channel.kind) for channel in manifest.channels}
    assert (DataRef(name="records-b"), ChannelKind.WINDOW) in kinds
    assert (PortRef(component="tables", port="example:tables/rows@1.2.3"), ChannelKind.CALL) in kinds
    assert manifest.item("records-a").commitment == bytes.fromhex("05" * 32)
    assert manifest.item("records-b").must_not_reach == ("outsider",)
    assert manifest.filter("smaller").kind == MaxBytes(max_bytes=1024)
    assert (manifest.rules.parallel, manifest.rules.clock, manifest.rules.seed) == (
        True,
        ClockRule.COARSE,
        bytes([6]) * 32,
    )
    assert manifest.references == ("urn:contract:1", "urn:transfer:2")


SINGLE = {
    "a version to come": ("/version", 2, {("range", "/version")}),
    "dates the wrong way round": ("/not_after", "2025-01-01T00:00:00Z", {("range", "/not_after")}),
    "a day that never was": ("/not_before", "2026-02-30T00:00:00Z", {("form", "/not_before")}),
    "a reserved name": ("/participants/1/name", "external", None),
    "a purpose of a book": ("/purpose", "x" * 4097, {("form", "/purpose")}),
    "an unknown product": ("/platform/products/0", "Naples", {("form", "/platform/products/0")}),
    "simulated without its product": ("/platform/products", ["Genoa", "Turin"], {("form", "/platform/products")}),
    "a floor for no product": (
        "/platform/minimum_tcb/Milan",
        {"snp": 1},
        {("reference", "/platform/minimum_tcb/Milan")},
    ),
    "fmc but on Turin": ("/platform/minimum_tcb/Genoa/fmc", 1, {("unknown", "/platform/minimum_tcb/Genoa/fmc")}),
    "an unknown bit": ("/platform/guest_policy/required/0", "sev", {("form", "/platform/guest_policy/required/0")}),
    "a bit asked for and forbidden": (
        "/platform/guest_policy/forbidden/0",
        "smt",
        {("form", "/platform/guest_policy")},
    ),
    "a bit beyond 63": ("/platform/mitigations/launch/1", 64, {("range", "/platform/mitigations/launch/1")}),
    "a masked chip": ("/platform/chip_ids/0", "00" * 64, {("form", "/platform/chip_ids/0")}),
    "a quorum nobody can reach": ("/platform/ledgers/0/quorum", 3, {("range", "/platform/ledgers/0/quorum")}),
    "an unknown profile": ("/components/0/profile", "network", {("form", "/components/0/profile")}),
    "an import without a version": (
        "/components/0/imports/0",
        "wasi:io/streams",
        {("form", "/components/0/imports/0")},
    ),
    "a media type of one word": ("/data/0/media_type", "csv", {("form", "/data/0/media_type")}),
    "a kind of channel to come": ("/channels/0/kind", "socket", {("form", "/channels/0/kind")}),
    "a call that is counted": ("/channels/3/max_bytes", 1, {("unknown", "/channels/3/max_bytes")}),
    "a channel from a file": ("/channels/0/from", "file:/etc/passwd", {("form", "/channels/0/from")}),
    "a channel into an item": ("/channels/0/to", "data:records-b", {("form", "/channels/0/to")}),
    "a port that climbs": ("/channels/0/to", "component:step-0.../x", {("form", "/channels/0/to")}),
    "an output that is an item": ("/outputs/0/from", "data:records-a", {("form", "/outputs/0/from")}),
    "a filter of no kind": ("/filters/0", {"name": "small", "owner": "analytics"}, {("form", "/filters/0")}),
    "parameters of a component": (
        "/filters/0",
        {"name": "small", "owner": "analytics", "component": "cleaner", "parameters": {}},
        {("unknown", "/filters/0/parameters")},
    ),
    "a filter with a word for a number": (
        "/filters/0/parameters/max_bytes",
        "many",
        {("type", "/filters/0/parameters/max_bytes")},
    ),
    "a filter of two kinds": ("/filters/0/component", "step-0", {("form", "/filters/0")}),
    "an entry that no command has": (
        "/components/1",
        FULL["components"][1] | {"exports": ["run"], "entry": "run"},
        {("form", "/components/1/entry")},
    ),
    "a call between two interfaces": (
        "/channels/3/to",
        "component:step-0.wasi:filesystem/types@0.2.3",
        None,
    ),
    "a quorum of nobody": (
        "/platform/ledgers/0",
        {"origin": "o", "key": "k", "quorum": 1},
        {("form", "/platform/ledgers/0")},
    ),
    "a seed beside system random": ("/rules/random", "system", {("form", "/rules/seed")}),
    "a clock of its own": ("/rules/clock", "wall", {("form", "/rules/clock")}),
}


@pytest.mark.parametrize(("pointer", "value", "wanted"), SINGLE.values(), ids=SINGLE.keys())
def test_one_break_one_problem(pointer: str, value: object, wanted: set[tuple[str, str]] | None) -> None:
    """One thing that is wrong is one problem, at its place."""
    found = problems_of(changed(pointer, value))
    assert ("form", pointer) in found if wanted is None else found == wanted


def test_things_are_found_by_name_owner_and_key() -> None:
    """A manifest answers for a name, an owner, a recipient and a TLS key, and says when there is none."""
    manifest = World().manifest
    entry = manifest.participant("hospital-a")
    assert manifest.participant_of_tls_key(entry.tls[0]) is entry
    assert [item.name for item in manifest.items_of("hospital-a")] == ["records-a"]
    assert {component.name for component in manifest.components_of("analytics")} == {"step-0", "step-1"}
    assert [output.name for output in manifest.outputs_of("hospital-b")] == ["evaluation"]
    for missing in (manifest.participant, manifest.component, manifest.item, manifest.output, manifest.filter):
        with pytest.raises(KeyError):
            missing("nothing")
    with pytest.raises(KeyError):
        manifest.participant_of_tls_key(entry.consent)


def test_missing_parameters() -> None:
    """The built-in filter needs its parameter, and a channel of files its size."""
    document = copy.deepcopy(FULL)
    remove_at(document, "/filters/0/parameters")
    remove_at(document, "/channels/0/max_bytes")
    assert problems_of(document) == {("missing", "/filters/0/parameters"), ("missing", "/channels/0/max_bytes")}


def test_all_problems_are_reported_at_once() -> None:
    """Faults of form, reference and flow in different places are told together."""
    document = copy.deepcopy(FULL)
    set_at(document, "/surprise", 1)
    set_at(document, "/components/1/owner", "nobody")
    set_at(document, "/data/1/must_not_reach", ["hospital-a"])
    set_at(document, "/rules/deadline_seconds", 1)
    remove_at(document, "/purpose")
    assert problems_of(document) == {
        ("unknown", "/surprise"),
        ("reference", "/components/1/owner"),
        ("must-not-reach", "/data/1/must_not_reach/0"),
        ("limit", "/rules/deadline_seconds"),
        ("missing", "/purpose"),
    }


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b'"a"', b"{}", b"null", b"{", b"[{}]"])
def test_documents_of_another_kind(raw: bytes) -> None:
    """What is no object at all, or an empty one, is refused as a manifest."""
    with pytest.raises(ManifestError) as refusal:
        parse_manifest(raw)
    assert refusal.value.code == "MALFORMED_MANIFEST"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"version":1', b'"version":1.0'),
        (b'"version":1', b'"version": 1'),
        (b'"version":1', b'"version":1,"version":1'),
    ],
)
def test_bytes_that_are_not_canonical(before: bytes, after: bytes) -> None:
    """A float, a space or a duplicate key is refused before anything is looked at."""
    raw = World().raw
    assert before in raw
    with pytest.raises(ManifestError) as refusal:
        parse_manifest(raw.replace(before, after))
    assert [str(problem.rule) for problem in refusal.value.problems] == ["json"]


def test_size_limit() -> None:
    """More than a mebibyte is not looked at."""
    with pytest.raises(ManifestError) as refusal:
        parse_manifest(b'"' + b"a" * 2**20 + b'"')
    assert [str(problem.rule) for problem in refusal.value.problems] == ["json"]


def test_the_salt_is_required() -> None:
    """What travels has a salt, whatever the author's tool does."""
    with pytest.raises(ManifestError) as refusal:
        parse_manifest(without(World(), "/salt"))
    assert [(str(problem.rule), problem.pointer) for problem in refusal.value.problems] == [("missing", "/salt")]
