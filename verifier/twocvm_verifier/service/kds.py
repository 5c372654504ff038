"""The mirror's routes: paths and queries of AMD's KDS, and answers that say how long they count.

Spec: docs/collateral.md.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from twocvm_verifier.collateral import CrlName
from twocvm_verifier.snp.names import VekKind

from .clients import client_in
from .mirror import Held, Mirror, parse_product, parse_vcek_request
from .problems import ServiceError
from .route import Routes
from .shelf import shelf_of

routes: Final = Routes()


def _add_routes(kind: VekKind) -> None:
    async def chain(request: Request) -> Response:
        mirror, product = _mirror(request), parse_product(request.path_params["product"])
        return _told(request, mirror, mirror.chain(product, kind))

    async def crl(request: Request) -> Response:
        mirror, product = _mirror(request), parse_product(request.path_params["product"])
        name = CrlName(product=product, kind=kind)
        refresh = mirror.refreshes(name)
        look = shelf_of(request).fetch if refresh else shelf_of(request).run
        return _told(request, mirror, await look(lambda: mirror.crl(name, refresh=refresh)))

    base = f"/{kind.lower()}/v1/{{product}}"
    routes.add("GET", f"{base}/cert_chain", chain)
    routes.add("GET", f"{base}/crl", crl)


for _kind in VekKind:
    _add_routes(_kind)


@routes.get("/vcek/v1/{product}/{hwid}")
async def vcek(request: Request) -> Response:
    """Hand out the VCEK of a chip at a TCB."""
    mirror = _mirror(request)
    query = request.query_params.multi_items()
    name = parse_vcek_request(parse_product(request.path_params["product"]), request.path_params["hwid"], query)
    held = await shelf_of(request).run(lambda: mirror.stored(name))
    if held is None:
        mirror.admit(client_in(request.scope))
        held = await shelf_of(request).fetch(lambda: mirror.fetched(name))
    return _told(request, mirror, held)


def _mirror(request: Request) -> Mirror:
    mirror = shelf_of(request).mirror
    if mirror is None:
        raise ServiceError("SERVICE_ROUTE", "request: this service mirrors nothing")
    return mirror


def _told(request: Request, mirror: Mirror, held: Held) -> Response:
    headers = held.headers(mirror.clock.now())
    tags = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if held.tag in tags:
        return Response(status_code=304, headers=headers)
    return Response(held.content, media_type=held.media_type, headers=headers)
