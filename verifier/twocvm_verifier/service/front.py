"""The document of `/`: what this service is, what it trusts, what it judges by, and how to use it with curl."""

from __future__ import annotations

from collections.abc import Mapping

from twocvm_verifier.clock import format_time
from twocvm_verifier.pages.anchors import trusted
from twocvm_verifier.policy import Policy, open_fields
from twocvm_verifier.strictjson import Json

from .ear import DEFAULT_AUDIENCE, MAX_LIFETIME_SECONDS
from .parts import Parts
from .requests import EVIDENCE_TYPES, MAX_REQUEST_BYTES


def front_document(parts: Parts) -> dict[str, Json]:
    """Return the document of the first page.

    Args:
        parts: What the service is put together from.

    Raises:
        ServiceError: The default policy is stored, and cannot be read.
    """
    roots, now = parts.appraiser.verifier.roots, parts.clock.now()
    return {
        "issuer": parts.issuer,
        "simulated": roots.simulated,
        "at": format_time(now),
        "roots": trusted(roots, at=now),
        "revoked": sorted(digest.hex() for digest in roots.revoked),
        "default_policy": _policy(parts.appraiser.default_policy()),
        "signers": [_key(jwk, current=not place) for place, jwk in enumerate(_keys(parts))],
        "media_types": list(EVIDENCE_TYPES),
        "audiences": [DEFAULT_AUDIENCE, *sorted(parts.federations)],
        "lifetime_minutes": MAX_LIFETIME_SECONDS // 60,
        "max_bytes": MAX_REQUEST_BYTES,
    }


def _keys(parts: Parts) -> list[Mapping[str, Json]]:
    keys = parts.keys.jwks()["keys"]
    return [key for key in keys if isinstance(key, Mapping)] if isinstance(keys, list) else []


def _key(jwk: Mapping[str, Json], *, current: bool) -> dict[str, Json]:
    return {"kid": str(jwk["kid"]), "algorithm": str(jwk["alg"]), "current": current}


def _policy(policy: Policy) -> dict[str, Json]:
    found = open_fields(policy)
    return {
        "name": policy.name,
        "sha256": policy.sha256.hex(),
        "builtin": policy == Policy.builtin(),
        "open": [[each.field, each.reason] for each in found],
    }
