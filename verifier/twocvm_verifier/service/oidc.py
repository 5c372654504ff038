"""What an OpenID Connect client needs to believe a token: the issuer's description of itself, and its keys.

Spec: docs/spec/ear.md, 1; OpenID Connect Discovery 1.0, 3 and 4.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from twocvm_verifier.strictjson import Json

from .parts import desk_of
from .route import Routes, json_answer

JWKS: Final = "/.well-known/jwks.json"
# A next key is published for longer than this before it signs.
CACHE_SECONDS: Final = 300

routes: Final = Routes()


@routes.get("/.well-known/openid-configuration")
async def configuration(request: Request) -> Response:
    """Describe the issuer."""
    parts = desk_of(request).parts
    return _public(
        {
            "issuer": parts.issuer,
            "jwks_uri": f"{parts.issuer}{JWKS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(parts.keys.algorithms),
            "claims_supported": ["aud", "cnf", "eat_nonce", "exp", "iat", "iss", "jti", "nbf", "sub", "submods"],
            "scopes_supported": ["openid"],
        }
    )


@routes.get(JWKS)
async def jwks(request: Request) -> Response:
    """Publish the keys."""
    return _public(desk_of(request).parts.keys.jwks())


def _public(value: Json) -> Response:
    answer = json_answer(value)
    answer.headers["Cache-Control"] = f"public, max-age={CACHE_SECONDS}"
    return answer
