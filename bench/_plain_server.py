"""The other side of `release_gib`: pyOpenSSL over a blocking socket, and nothing else.

`python -m bench._plain_server bare|hashed BYTES` writes one JSON line with its port, and takes uploads of that many
bytes, one connection each, into a memory file, until it is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL

CHUNK_BYTES = 256 << 10


def serve(size_bytes: int, *, hashed: bool) -> None:
    """Serve."""
    context = _context()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        while True:
            accepted, _ = listener.accept()
            with accepted:
                _take(SSL.Connection(context, accepted), size_bytes, hashed=hashed)


def _take(tls: SSL.Connection, size_bytes: int, *, hashed: bool) -> None:
    tls.set_accept_state()
    digest, item, left = hashlib.sha256(), os.memfd_create("item"), size_bytes
    while left:
        piece = tls.recv(CHUNK_BYTES)
        if hashed:
            digest.update(piece)
        os.write(item, piece)
        left -= len(piece)
    os.close(item)
    tls.sendall(digest.digest())
    tls.shutdown()


def _context() -> SSL.Context:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
    ).sign(key, SHA256())
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    return context


if __name__ == "__main__":
    serve(int(sys.argv[2]), hashed=sys.argv[1] == "hashed")
