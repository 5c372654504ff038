"""`/v1/policies` and `/v1/reference-values`: the owner's documents, by name for admins and by digest for everybody.

Who knows a digest has it from a token or from somebody who has the document; names, lists and histories say what the
owner thinks of, and are the admins' alone.

Spec: docs/spec/policies.md.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import NAME
from twocvm_verifier.strictjson import Json

from .bodies import media_type_of, read_body, require_acceptable
from .library import JSON, MEDIA_TYPES, Offer
from .problems import ServiceError
from .route import Routes, json_answer
from .shelf import shelf_of
from .state.documents import MAX_DOCUMENT_BYTES, Kind, revision_json

DOCUMENT: Final = "document-request"
# A document never changes under its digest.
IMMUTABLE: Final = "public, max-age=31536000, immutable"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TAG: Final = re.compile(r'"([0-9a-f]{64})"', re.ASCII)

routes: Final = Routes()


def _add_routes(kind: Kind) -> None:
    async def put(request: Request) -> Response:
        return await _put(request, kind)

    async def get(request: Request) -> Response:
        return await _get(request, kind)

    async def history(request: Request) -> Response:
        return await _history(request, kind)

    async def names(request: Request) -> Response:
        return await _names(request, kind)

    routes.add("GET", f"/v1/{kind}", names)
    routes.add("PUT", f"/v1/{kind}/{{ref}}", put)
    routes.add("GET", f"/v1/{kind}/{{ref}}", get)
    routes.add("GET", f"/v1/{kind}/{{ref}}/history", history)


for _kind in Kind:
    _add_routes(_kind)


async def _put(request: Request, kind: Kind) -> Response:
    shelf = shelf_of(request)
    # Before anything of the body is read.
    by = shelf.admins.name_of(request)
    name, expected = _name(request), _expected(request)
    require_acceptable(request, JSON)
    media_type = media_type_of(request, MEDIA_TYPES[kind])
    body = await read_body(request, max_bytes=MAX_DOCUMENT_BYTES)
    offer = Offer(kind=kind, name=name, body=body, media_type=media_type, expected=expected, by=by)
    sha256 = await shelf.run(lambda: shelf.library.put(offer))
    answer = json_answer({"sha256": sha256.hex()}, status=200 if expected else 201)
    answer.headers["ETag"] = f'"{sha256.hex()}"'
    answer.headers["Location"] = f"/v1/{kind}/{sha256.hex()}"
    return answer


async def _get(request: Request, kind: Kind) -> Response:
    shelf, ref = shelf_of(request), str(request.path_params["ref"])
    library = shelf.library
    if _DIGEST.fullmatch(ref):
        sha256, kept = bytes.fromhex(ref), IMMUTABLE
    else:
        shelf.admins.name_of(request)
        name, kept = _name(request), "no-store"
        sha256 = await shelf.run(lambda: library.pointer(kind, name))
        if not sha256:
            raise ServiceError("DOCUMENT_UNKNOWN", f"{kind}: no such name")
    require_acceptable(request, JSON)
    content = await shelf.run(lambda: library.content(kind, sha256))
    headers = {"Cache-Control": kept, "ETag": f'"{sha256.hex()}"', "X-Content-Type-Options": "nosniff"}
    if request.headers.get("if-none-match", "") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=JSON, headers=headers)


async def _history(request: Request, kind: Kind) -> Response:
    shelf = shelf_of(request)
    shelf.admins.name_of(request)
    name = _name(request)
    revisions = await shelf.run(lambda: shelf.library.store.history(kind, name))
    if not revisions:
        raise ServiceError("DOCUMENT_UNKNOWN", f"{kind}: no such name")
    told: Json = [revision_json(each) for each in revisions]
    return json_answer({"name": name, "revisions": told})


async def _names(request: Request, kind: Kind) -> Response:
    shelf = shelf_of(request)
    shelf.admins.name_of(request)
    found = await shelf.run(lambda: shelf.library.store.names(kind))
    return json_answer({"names": {name: sha256.hex() for name, sha256 in found.items()}})


def _name(request: Request) -> str:
    name = str(request.path_params["ref"])
    if not NAME.fullmatch(name):
        raise MalformedError(DOCUMENT, "name", "not a name")
    return name


def _expected(request: Request) -> bytes:
    """Return what the writer knows the name to point to: nothing yet, unless an entity tag says otherwise."""
    match, none_match = request.headers.getlist("if-match"), request.headers.getlist("if-none-match")
    if none_match not in ([], ["*"]) or (match and none_match) or len(match) > 1:
        raise MalformedError(DOCUMENT, "condition", "want one entity tag in If-Match, or If-None-Match: *")
    if not match:
        return b""
    tag = _TAG.fullmatch(match[0].strip())
    # `*` is whatever there is, and would lose the update of somebody else.
    if tag is None:
        raise MalformedError(DOCUMENT, "condition", "want one entity tag in If-Match, as an answer had it")
    return bytes.fromhex(tag[1])
