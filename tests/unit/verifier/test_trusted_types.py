"""Types that carry trust are made in one place each, where what they promise has been verified."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = [path for top in ("certs", "verifier", "sdk", "guest") for path in (ROOT / top).rglob("*.py")]
VERIFIER = "verifier/twocvm_verifier"
MADE_IN = {
    "Appraisal": {
        f"{VERIFIER}/appraisal/conclusion.py",
        f"{VERIFIER}/appraisal/delegated.py",
        f"{VERIFIER}/appraisal/rest.py",
    },
    "CertificateProof": {f"{VERIFIER}/ratls/proof.py"},
    "ChannelProof": {f"{VERIFIER}/ratls/proof.py"},
    "Consents": {f"{VERIFIER}/manifest/roster.py"},
    "DelegatedReport": {f"{VERIFIER}/appraisal/delegated.py"},
    "Judgement": {f"{VERIFIER}/appraisal/delegated.py", f"{VERIFIER}/verifier.py"},
    "Manifest": {f"{VERIFIER}/manifest/parse.py"},
    "Roots": {f"{VERIFIER}/snp/roots.py"},
    "Roster": {f"{VERIFIER}/manifest/roster.py"},
    "VerifiedAzureReport": {f"{VERIFIER}/azure/verify.py"},
    "VerifiedCrl": {f"{VERIFIER}/snp/crl.py"},
    "VerifiedLog": {f"{VERIFIER}/eventlog.py"},
    "VerifiedReceipt": {f"{VERIFIER}/receipt_file.py"},
    "VerifiedReport": {f"{VERIFIER}/snp/verify.py"},
    "VerifiedVek": {f"{VERIFIER}/snp/chain.py"},
    "Word": {"sdk/twocvm_sdk/ear.py"},
}


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@pytest.fixture(scope="module")
def makers() -> dict[str, set[str]]:
    """Return, for each trusted type, the files of the product in which it is made."""
    found: dict[str, set[str]] = {name: set() for name in MADE_IN}
    for path in PACKAGES:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and (name := _called(node)) in found:
                found[name].add(path.relative_to(ROOT).as_posix())
    return found


@pytest.mark.parametrize("name", MADE_IN)
def test_a_trusted_type_is_made_where_it_is_verified(name: str, makers: dict[str, set[str]]) -> None:
    """No file of the product makes the type but the one that verifies what it stands for."""
    assert makers[name] == MADE_IN[name]
