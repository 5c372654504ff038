"""The vectors of audit logs: made as they lie there, judged as they say, the chain recomputed with hashlib alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from joserfc.jwk import KeySet
from tests.support.vectorfiles import Vector, folder
from tools import make_vectors_audit

from twocvm_verifier.service.audit.examine import Examination, examine
from twocvm_verifier.service.audit.record import Position

SPEC = Path(__file__).parents[3] / "docs" / "spec" / "audit.md"
VECTORS = folder(make_vectors_audit.FOLDER)


def judged(vector: Vector, at: Path) -> Examination:
    """Return what an auditor says of a vector."""
    file = at / "audit.jsonl"
    file.write_bytes(vector.payload)
    seq, _, head = vector.values.get("head", "").partition(":")
    kept = (Position(seq=int(seq), head=bytes.fromhex(head)),) if seq else ()
    return examine([file], keys=KeySet.import_key_set({"keys": [json.loads(vector.values["jwk"])]}), kept=kept)


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector.name) for vector in VECTORS])
def test_every_vector_is_judged_as_it_says(vector, tmp_path):
    """An accepted log has no finding, and a refused one has its own among them."""
    found = {finding.code for finding in judged(vector, tmp_path).findings}
    assert found == set() if vector.expect == "accept" else vector.expect in found


def test_the_files_are_what_the_tool_makes():
    """`python -m tools.make_vectors_audit` writes the same bytes again."""
    assert {vector.name: vector for vector in make_vectors_audit.made_up()} == {v.name: v for v in VECTORS}


def test_the_chain_is_what_the_specification_says():
    """Digest by digest, with nothing of the product; and the specification shows this very log."""
    (whole,) = (vector for vector in VECTORS if vector.expect == "accept")
    previous, text = "00" * 32, SPEC.read_text(encoding="utf-8")
    for line in whole.payload.splitlines():
        if not line.endswith(b"}"):
            continue
        assert json.loads(line)["previous"] == previous
        previous = hashlib.sha256(b"2cvm.audit.v1\x00" + line).hexdigest()
        assert previous in text
