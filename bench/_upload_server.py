"""The two servers of `ratls_upload`, each in a process of its own: one FastAPI application, two kinds of TLS.

`python -m bench._upload_server ratls|own FOLDER` writes one JSON line with its port, and serves until it is killed.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI, Request

ATTEST = "/.well-known/2cvm/attest"


def application(attest) -> FastAPI:
    """Both servers' application: a route that takes an upload as it comes, and `attest` where there is one."""
    app = FastAPI()

    @app.put("/upload")
    async def upload(request: Request) -> dict[str, int]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return {"size": size}

    if attest is not None:
        app.add_api_route(ATTEST, attest, methods=["POST"])
    return app


def serve_ratls() -> None:
    """Serve over RA-TLS, on a simulated platform."""
    from fastapi import Response
    from tests.support.attested_guest import RunningGuest, Scene

    from twocvm_guest.tls import Connections, run
    from twocvm_verifier.evidence import JSON_MEDIA_TYPE

    scene = Scene()
    connections = Connections(scene.server_identity(), limits=scene.limits)
    guest = RunningGuest(scene=scene, connections=connections)

    async def attest(request: Request) -> Response:
        peer = request.scope["extensions"]["twocvm"]
        return Response(guest.evidence(peer, await request.body()), media_type=JSON_MEDIA_TYPE)

    root = scene.platform.root_pem.decode()
    run(application(attest), connections, host="127.0.0.1", port=0, on_ready=lambda port: _say(port=port, root=root))


def serve_own(served, folder: Path) -> None:
    """Serve an application over uvicorn's own TLS, with a certificate that its client trusts."""
    import uvicorn

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))

    class Announcing(uvicorn.Server):
        async def startup(self, sockets=None) -> None:
            await super().startup(sockets=sockets)
            _say(port=self.servers[0].sockets[0].getsockname()[1])

    config = uvicorn.Config(
        served,
        port=0,
        loop="asyncio",
        http="h11",
        log_level="error",
        access_log=False,
        timeout_keep_alive=600,
        ssl_keyfile=folder / "key.pem",
        ssl_certfile=folder / "cert.pem",
    )
    Announcing(config).run()


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    serve_ratls() if sys.argv[1] == "ratls" else serve_own(application(None), Path(sys.argv[2]))
