"""From what people write to canonical bytes: nothing added but the salt, problems at the author's own places."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.manifests import Document, World, use_everything

from twocvm_verifier.manifest import ManifestError, parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes, compose, from_json, from_toml
from twocvm_verifier.manifest.difference import differences
from twocvm_verifier.manifest.summary import summary
from twocvm_verifier.strictjson import canonical

FULL = World(edit=use_everything)
DEMO = Path(__file__).parents[3] / "examples" / "demo" / "manifest.toml"


def _salt(size: int) -> bytes:
    return bytes([0xA5]) * size


def _toml(value: object) -> str:
    """Write JSON as a TOML inline value."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _toml_document(document: Document) -> str:
    return "\n".join(f"{key} = {_toml(member)}" for key, member in document.items())


@given(st.randoms())
def test_order_means_nothing(shuffle: random.Random) -> None:
    """However sets and members are ordered, the canonical bytes are the same."""

    def shuffled(value: object, path: tuple[str, ...]) -> object:
        if isinstance(value, dict):
            keys = list(value)
            shuffle.shuffle(keys)
            return {key: shuffled(value[key], (*path, key)) for key in keys}
        if not isinstance(value, list):
            return value
        members = [shuffled(member, (*path, "*")) for member in value]
        if path != ("outputs", "*", "filters"):
            shuffle.shuffle(members)
        return members

    document = shuffled(FULL.document, ())
    assert from_json(json.dumps(document).encode(), randomness=_salt).raw == FULL.raw


def test_toml_and_json_are_the_same() -> None:
    """A TOML document gives the bytes that the same document in JSON gives."""
    assert from_toml(_toml_document(FULL.document), randomness=_salt).raw == FULL.raw


def test_toml_times_may_be_bare() -> None:
    """A TOML time without quotes is the time that it writes, in UTC."""
    text = _toml_document(World().document).replace('"2026-01-01T00:00:00Z"', "2026-01-01T01:00:00+01:00")
    assert from_toml(text, randomness=_salt).raw == World().raw


def test_the_salt_is_drawn_once() -> None:
    """Where the document has no salt, 16 bytes are drawn; where it has one, it stays."""
    document = copy.deepcopy(World().document)
    assert compose(document, randomness=_salt).salt == bytes(range(16))
    del document["salt"]
    assert compose(document, randomness=_salt).salt == _salt(16)
    assert "salt" not in document


@pytest.mark.parametrize(
    "text",
    [
        "version = 1.0",
        "version = nan",
        "version = 9007199254740992",
        "not_before = 2026-01-01",
        "not_before = 2026-01-01T00:00:00",
        "not_before = 2026-01-01T00:00:00.5Z",
        "not_before = 00:00:00",
        'purpose = "\\u202e"',
        'purpose = "e\\u0301"',
        '"\\u202e" = 1',
        pytest.param('data = [{"\udcc5" = 1}, {}]', id="lone surrogate in a name"),
        "version = 1\nversion = 1",
        "version =",
        "x = " + "[" * 20 + "]" * 20,
        "x = " + "[" * 100_000,
        "x" * (2**20 + 1),
    ],
    ids=lambda text: text[:40],
)
def test_toml_that_no_manifest_can_hold(text: str) -> None:
    """Floats, dates, fractions, duplicate keys, hidden characters and deep nesting are refused as a manifest."""
    with pytest.raises(ManifestError) as refusal:
        from_toml(text, randomness=_salt)
    assert [str(problem.rule) for problem in refusal.value.problems] == ["json"]


@given(st.text(max_size=40))
def test_toml_is_total(text: str) -> None:
    """No short text is a manifest, and each is refused as one."""
    with pytest.raises(ManifestError):
        from_toml(text, randomness=_salt)


@pytest.mark.parametrize("raw", [b"", b"[1.5]", b"null", b'{"a":1,"a":1}', b"[]", b"7"])
def test_json_is_strict_for_authors_too(raw: bytes) -> None:
    """An author's JSON may be in any order, and is strict all the same."""
    with pytest.raises(ManifestError):
        from_json(raw, randomness=_salt)


def test_problems_are_told_where_the_author_wrote_them() -> None:
    """Places are those of the author's document, in its order, whatever the sets were sorted to."""
    document = copy.deepcopy(FULL.document)
    document["participants"][1]["name"] = "Hospital B"
    document["components"][2]["imports"] = ["nothing"]
    document["components"][0]["imports"].append("nothing at all")
    with pytest.raises(ManifestError) as refusal:
        compose(document, randomness=_salt)
    form = [problem.pointer for problem in refusal.value.problems if problem.rule == "form"]
    assert form == ["/components/0/imports/3", "/participants/1/name"]


def test_canonical_bytes_of_anything() -> None:
    """Sets are sorted in what is no manifest too; tests of refusals stand on it."""
    assert canonical_bytes({"a": [2, 10, 1], "outputs": [{"filters": [2, 1]}]}) == canonical(
        {"a": [1, 10, 2], "outputs": [{"filters": [2, 1]}]}
    )
    assert canonical_bytes([1]) == b"[1]"


def test_the_demo_is_a_manifest_but_for_its_blanks() -> None:
    """The demo's template is refused for nothing but the places that are filled in when it runs."""
    with pytest.raises(ManifestError) as refusal:
        from_toml(DEMO.read_text(encoding="utf-8"), randomness=_salt)
    assert all("got '$" in problem.detail for problem in refusal.value.problems)


def test_differences_are_told_by_name() -> None:
    """What was added, taken and changed is told by the names of what it belongs to."""
    after = copy.deepcopy(World().document)
    after["components"][0]["limits"]["wall_seconds"] = 11
    after["outputs"][0]["recipients"] = ["hospital-a"]
    after["channels"].pop(0)
    found = [str(one) for one in differences(World().document, after)]
    assert "components[step-0].limits.wall_seconds: 10 -> 11" in found
    assert 'outputs[model].recipients[analytics]: removed "analytics"' in found
    assert 'outputs[model].recipients[hospital-a]: added "hospital-a"' in found
    assert 'channels[data:records-a -> component:step-0.records-a].kind: removed "file"' in found
    assert len(found) == 3 + 4
    assert differences(after, after) == ()


def test_order_of_filters_is_a_difference() -> None:
    """Filters swapped on an output are a difference; sets written in another order are none."""
    before, after = copy.deepcopy(FULL.document), copy.deepcopy(FULL.document)
    after["outputs"][0]["filters"][:2] = ["smaller", "small"]
    after["participants"].reverse()
    after["references"].reverse()
    assert {one.place for one in differences(before, after)} == {
        "outputs[model].filters[0]",
        "outputs[model].filters[1]",
    }


def test_summary_says_what_flows_where() -> None:
    """The summary names who can learn of an item, what a node sees, and what is simulated."""
    lines = summary(FULL.manifest)
    text = "\n".join(lines)
    assert FULL.manifest.hash.hex() in text
    assert "SIMULATED platforms are accepted: they protect nothing" in text
    position = next(index for index, line in enumerate(lines) if line.startswith("  records-b, of hospital-b"))
    assert lines[position + 2].strip() == "can reach analytics, hospital-a, hospital-b"
    assert "    and never outsider" in lines
    assert "  step-0, one node with tables" in lines


def test_summary_of_the_plainest_manifest() -> None:
    """Without data, filters and labels there are no lines about them."""
    text = "\n".join(summary(World(participants=1, items=0, components=1).manifest))
    assert "Data" not in text
    assert "filter" not in text
    assert "sees nothing" in text


def test_strangers_cannot_end_their_quotes() -> None:
    """A label that has quotes of its own stays within those that the summary puts around it."""

    def edit(document: Document) -> None:
        document["participants"][0]["display"] = 'x" which is proven'
        document["participants"][1]["external_id"] = "did:example:b"

    text = "\n".join(summary(World(edit=edit).manifest))
    assert 'goes by "did:example:b", which proves nothing' in text
    assert 'calls itself "x\\" which is proven", which proves nothing' in text


def test_written_manifests_are_read_again() -> None:
    """What the author's tool writes is what every participant parses."""
    assert parse_manifest(FULL.raw) == compose(FULL.document, randomness=_salt)
