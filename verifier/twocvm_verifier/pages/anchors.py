"""Certificates as pages show them: the chain of one report, and everything that a verifier trusts.

A chain is shown from the root down, each certificate with when it begins and ends. Of a root and its intermediate the
begin is the later of both, which is what counts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from twocvm_verifier.bundle import Case
from twocvm_verifier.clock import format_time
from twocvm_verifier.result import Appraisal
from twocvm_verifier.snp.crl import parse_crl
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.roots import Issuer, Roots
from twocvm_verifier.snp.vek import parse_vek
from twocvm_verifier.strictjson import Json

_PERMILLE: Final = 1000


def chain_of(case: Case, appraisal: Appraisal, *, roots: Roots) -> list[Json]:
    """Return the certificates above a report, root first, and the revocation list that was asked.

    Args:
        case: What was judged.
        appraisal: What came out; says where each piece is from, where the evidence is authentic.
        roots: The trust anchors.
    """
    vek, at = parse_vek(case.vek).vek, appraisal.judged_at
    sources = {piece.sha256: piece.source for piece in appraisal.collateral}
    issuer = roots.issuers.get(vek.issuer)
    above = [_unknown()] if issuer is None else _above(issuer, at=at)
    kind = "SIMULATED-VCEK" if vek.simulated else f"SEV-{vek.kind}"
    leaf = _link("leaf", kind, vek.sha256, vek.not_before, vek.not_after, at=at)
    links = [*above, leaf]
    used = next((piece for piece in appraisal.collateral if piece.kind == "crl"), None)
    if used is not None and case.crl is not None:
        # The newest that was ever seen counts, which may be another than the one at hand.
        crl = parse_crl(case.crl)
        if crl.sha256 == used.sha256:
            name = f"Revocation list {crl.number}"
            links.append(_link("crl", name, crl.sha256, crl.this_update, crl.next_update, at=at))
    return [{**link, "source": sources.get(bytes.fromhex(str(link["sha256"])), "")} for link in links]


def trusted(roots: Roots, *, at: datetime) -> list[Json]:
    """Return everything that a verifier trusts: each product's root, with the intermediates that hang from it.

    Args:
        roots: The trust anchors.
        at: Now, for what has ended.
    """
    found: dict[bytes, list[Issuer]] = {}
    for issuer in roots.issuers.values():
        found.setdefault(issuer.ark_sha256, []).append(issuer)
    return [
        {
            "product": str(issuers[0].product),
            "name": _root_name(issuers[0].product),
            "sha256": ark.hex(),
            "until": format_time(issuers[0].ark_not_after),
            "ended": at > issuers[0].ark_not_after,
            "intermediates": [
                {
                    "name": _issuer_name(issuer),
                    "kind": str(issuer.kind),
                    "sha256": issuer.sha256.hex(),
                    "until": format_time(issuer.not_after),
                }
                for issuer in sorted(issuers, key=lambda each: each.kind)
            ],
        }
        for ark, issuers in sorted(found.items(), key=lambda each: list(Product).index(each[1][0].product))
    ]


def _above(issuer: Issuer, *, at: datetime) -> list[dict[str, Json]]:
    root = _link("root", _root_name(issuer.product), issuer.ark_sha256, issuer.not_before, issuer.ark_not_after, at=at)
    return [root, _link("issuer", _issuer_name(issuer), issuer.sha256, issuer.not_before, issuer.not_after, at=at)]


def _unknown() -> dict[str, Json]:
    return {
        "role": "unknown",
        "name": "An issuer that is not trusted here",
        "sha256": "",
        "begin": "",
        "end": "",
        "state": "unknown",
        "permille": 0,
    }


def _link(role: str, name: str, sha256: bytes, begin: datetime, end: datetime, *, at: datetime) -> dict[str, Json]:
    state = "future" if at < begin else "ended" if at > end else "valid"
    whole = max((end - begin).total_seconds(), 1.0)
    gone = (at - begin).total_seconds() / whole
    return {
        "role": role,
        "name": name,
        "sha256": sha256.hex(),
        "begin": format_time(begin),
        "end": format_time(end),
        "state": state,
        # How much of its time is over, for the eye.
        "permille": round(min(max(gone, 0.0), 1.0) * _PERMILLE),
    }


def _root_name(product: Product) -> str:
    return "SIMULATED-ARK" if product is Product.SIMULATED else f"ARK-{product}"


def _issuer_name(issuer: Issuer) -> str:
    if issuer.product is Product.SIMULATED:
        return "SIMULATED-ASK"
    return f"SEV-{issuer.product}" if issuer.kind is VekKind.VCEK else f"SEV-VLEK-{issuer.product}"
