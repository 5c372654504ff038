"""The vectors of framing, manifests and statements: made by the script, and judged as they say."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.vectorfiles import ROOT, Vector, folder, read
from tools.make_vectors_manifest import FOLDERS, made_up

from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.manifest import Manifest, ManifestError, parse_manifest
from twocvm_verifier.manifest.statements import (
    Consent,
    Go,
    Statement,
    Withdraw,
    parse_statement_file,
    signed_bytes,
    verify_consent,
    verify_go,
    verify_withdraw,
)

KINDS: dict[str, type[Consent | Go | Withdraw]] = {"consent": Consent, "go": Go, "withdraw": Withdraw}


def test_script_and_files_agree() -> None:
    """The files are exactly what the script makes, no more and no fewer."""
    wanted = {vector.name: vector.encode() for vector in made_up()}
    lying = {f"{name}/{path.stem}": path.read_bytes() for name in FOLDERS for path in (ROOT / name).glob("*.txt")}
    assert lying == wanted


@pytest.mark.parametrize("vector", folder("framing"), ids=lambda vector: vector.name)
def test_framing(vector: Vector) -> None:
    """Each preimage has the digest that its vector says, by SHA-256 alone."""
    assert hashlib.sha256(vector.payload).hexdigest() == vector.values["sha256"]


@pytest.mark.parametrize("vector", folder("manifest"), ids=lambda vector: vector.name)
def test_manifest(vector: Vector) -> None:
    """A valid manifest has its hash; any other has the one problem that its vector names."""
    if vector.expect == "accept":
        assert parse_manifest(vector.payload).hash.hex() == vector.values["manifest_hash"]
        assert hashlib.sha256(b"2cvm.manifest.v1\x00" + vector.payload).hexdigest() == vector.values["manifest_hash"]
        return
    with pytest.raises(ManifestError) as refusal:
        parse_manifest(vector.payload)
    found = [f"{problem.rule} {problem.pointer or '(document)'}" for problem in refusal.value.problems]
    assert (refusal.value.code, found) == (vector.expect, [vector.values["problem"]])


def _verify(vector: Vector, manifest: Manifest) -> Statement:
    statement = parse_statement_file(KINDS[vector.values["kind"]], vector.payload)
    report_id = bytes.fromhex(vector.values["report_id"])
    leaf = bytes.fromhex(vector.values["guest_spki_sha256"])
    if vector.values["kind"] == "consent":
        verify_consent(statement, manifest)
    elif vector.values["kind"] == "go":
        verify_go(statement, manifest=manifest, report_id=report_id, guest_spki_sha256=leaf)
    else:
        verify_withdraw(statement, manifest=manifest, report_id=report_id)
    return statement


@pytest.mark.parametrize("vector", folder("statements"), ids=lambda vector: vector.name)
def test_statement(vector: Vector) -> None:
    """A good statement verifies and signs the bytes it says; any other is refused with its code."""
    manifest = parse_manifest(read(ROOT / f"{vector.values['manifest']}.txt").payload)
    if vector.expect == "accept":
        statement = _verify(vector, manifest)
        assert signed_bytes(statement.body).hex() == vector.values["signed"]
        return
    with pytest.raises(TwoCvmError) as refusal:
        _verify(vector, manifest)
    assert refusal.value.code == vector.expect


def _spec_vector(name: str) -> list[str]:
    """Return the lines of the vector that a specification shows, up to the end of its section."""
    text = (ROOT.parents[1] / "docs" / "spec" / f"{name}.md").read_text(encoding="utf-8")
    return text[text.index("## Vector") :].split("```\n")[1].splitlines()


def test_vector_of_the_manifest_spec() -> None:
    """The manifest in the specification is the vector, and the hash beside it is its hash."""
    raw = "".join(_spec_vector("manifest")).encode()
    vector = read(ROOT / "manifest" / "valid-small.txt")
    assert raw == vector.payload
    spec = (ROOT.parents[1] / "docs" / "spec" / "manifest.md").read_text(encoding="utf-8")
    assert vector.values["manifest_hash"] in spec


def _fields(lines: list[str]) -> dict[str, str]:
    """Return what stands beside each word at the beginning of a line, and on the indented lines after it."""
    fields: dict[str, str] = {}
    word = ""
    for line in lines:
        if not line.startswith(" "):
            word = line.split()[0]
            fields[word] = ""
        fields[word] += line.removeprefix(word).strip()
    return fields


def test_vector_of_the_framing_spec() -> None:
    """The commitment in the specification is the hash of the preimage in it."""
    fields = _fields(_spec_vector("framing"))
    assert hashlib.sha256(bytes.fromhex(fields["preimage"].replace(" ", ""))).hexdigest() == fields["commitment"]
    assert fields["digest"].startswith(hashlib.sha256(b"hello").hexdigest())


def test_vector_of_the_statements_spec() -> None:
    """The consent in the specification signs what it says, with the key it says, and travels as it says."""
    fields = _fields(_spec_vector("statements"))
    statement = parse_statement_file(Consent, fields["travels"].encode())
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    assert signed_bytes(statement.body).hex() == fields["signed"]
    assert statement.key_spki_der.hex() == fields["key"]
    assert hashlib.sha256(statement.key_spki_der).hexdigest() == fields["sha256"]
    assert key.sign(bytes.fromhex(fields["signed"])) == statement.signature == bytes.fromhex(fields["signature"])
