"""TLS 1.3 at the service's own listener, and clients' certificates where an authority for them is set.

The files are read once: a new certificate is used after the service is started again, which replicas do one by one.
"""

from __future__ import annotations

import ssl

from .handshake import Spoken
from .secretfiles import file_of, read_secret
from .settings import Listen


def tls_of(listen: Listen) -> ssl.SSLContext | None:
    """Return how the listener speaks TLS; None where it does not.

    Raises:
        MalformedError: A file holds no certificate or key, or they do not belong together.
        ServiceError: SECRET_EXPOSED.
    """
    if listen.certificate is None or listen.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    context.sslobject_class = Spoken
    with file_of("listen.key", listen.key):
        read_secret(listen.key)
    # What OpenSSL refuses is an OSError too.
    with file_of("listen.certificate", listen.certificate):
        context.load_cert_chain(listen.certificate, listen.key, password=_no_password)
    if listen.client_ca is not None:
        with file_of("listen.client_ca", listen.client_ca):
            context.load_verify_locations(listen.client_ca)
        # Most clients have none; who shows one of another authority is refused.
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _no_password() -> str:
    # Else OpenSSL would ask for one at the terminal.
    return ""
