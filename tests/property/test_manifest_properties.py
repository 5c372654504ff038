"""Properties of the manifest's parser: total on everything, and the same after a round."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support.manifests import Document, World, remove_at, set_at, use_everything

from twocvm_verifier.errors import UnsupportedError
from twocvm_verifier.manifest import ManifestError, parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes
from twocvm_verifier.manifest.drawing import picture, svg
from twocvm_verifier.manifest.explain import explain, lines
from twocvm_verifier.manifest.filters import ByComponent
from twocvm_verifier.manifest.graph import Flow
from twocvm_verifier.manifest.summary import summary
from twocvm_verifier.strictjson import MAX_INTEGER, canonical, text_problem

FULL = World(edit=use_everything).document
TEXTS = st.text(max_size=6).filter(lambda text: text_problem(text) is None)
# Strings that stand somewhere in the document, so that references resolve to the wrong things too.
WORDS = sorted({value for value in str(FULL).replace("'", " ").split() if value.isascii()})
JSON = st.recursive(
    st.one_of(TEXTS, st.sampled_from(WORDS), st.integers(-MAX_INTEGER, MAX_INTEGER), st.integers(0, 3), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(TEXTS | st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=6,
)


def _pointers(value: Any = FULL, pointer: str = "") -> Iterator[str]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield f"{pointer}/{key}"
        yield from _pointers(member, f"{pointer}/{key}")


POINTERS = list(_pointers())


def _parses_or_refuses(raw: bytes) -> None:
    try:
        manifest = parse_manifest(raw)
    except (ManifestError, UnsupportedError):
        return
    assert manifest.raw == raw
    assert summary(manifest)
    assert lines(explain(manifest, me=manifest.participants[0].name, companions=(), host=True))
    assert svg(picture(manifest))
    filtering = {found.kind.component for found in manifest.filters if isinstance(found.kind, ByComponent)}
    assert sum(len(node.members) for node in Flow(manifest).nodes) == len(manifest.components) - len(filtering)


@given(st.binary(max_size=200))
def test_total_on_bytes(raw: bytes) -> None:
    """Any bytes give a manifest or a refusal."""
    _parses_or_refuses(raw)


@given(JSON)
def test_total_on_json(value: Any) -> None:
    """Any JSON gives a manifest or a refusal."""
    _parses_or_refuses(canonical(value))


@given(st.data())
def test_total_on_documents_with_wrong_parts(data: st.DataObject) -> None:
    """A manifest in which any parts are other JSON, or missing, gives a manifest or a refusal."""
    document: Document = copy.deepcopy(FULL)
    for pointer in data.draw(st.lists(st.sampled_from(POINTERS), min_size=1, max_size=4)):
        try:
            if data.draw(st.booleans()):
                set_at(document, pointer, data.draw(JSON))
            else:
                remove_at(document, pointer)
        except (KeyError, IndexError, TypeError, ValueError):
            # An earlier change took this place away.
            continue
    _parses_or_refuses(canonical_bytes(document))


@given(st.data())
def test_total_on_exchanged_parts(data: st.DataObject) -> None:
    """A manifest in which one part stands in another's place gives a manifest or a refusal."""
    document: Document = copy.deepcopy(FULL)
    source, target = (data.draw(st.sampled_from(POINTERS)) for _ in range(2))
    part: Any = FULL
    for token in source.split("/")[1:]:
        part = part[int(token)] if isinstance(part, list) else part[token]
    set_at(document, target, copy.deepcopy(part))
    _parses_or_refuses(canonical_bytes(document))


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_total_on_changed_bytes(position: int, change: int) -> None:
    """A valid manifest with one byte changed is another manifest, with another hash, or refused."""
    raw = bytearray(World().raw)
    raw[position % len(raw)] ^= change
    try:
        manifest = parse_manifest(bytes(raw))
    except (ManifestError, UnsupportedError):
        return
    assert manifest.hash != World().manifest.hash
