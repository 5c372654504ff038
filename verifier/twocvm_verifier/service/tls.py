"""TLS 1.3 at the service's own listener, and clients' certificates where an authority for them is set.

The files are read once: a new certificate is used after the service is started again, which replicas do one by one.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from twocvm_verifier.errors import MalformedError

from .secretfiles import read_secret
from .settings import Listen


def tls_of(listen: Listen) -> ssl.SSLContext | None:
    """Return how the listener speaks TLS; None where it does not.

    Raises:
        MalformedError: A file holds no certificate or key, or they do not belong together.
        ServiceError: SECRET_EXPOSED.
        OSError: A file cannot be read.
    """
    if listen.certificate is None or listen.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    read_secret(listen.key)
    try:
        context.load_cert_chain(listen.certificate, listen.key, password=_no_password)
        if listen.client_ca is not None:
            _take_clients(context, listen.client_ca)
    except ssl.SSLError as error:
        raise MalformedError("settings", "listen", f"not a certificate in PEM with its key: {error.reason}") from error
    return context


def _take_clients(context: ssl.SSLContext, authority: Path) -> None:
    context.load_verify_locations(authority)
    # Most clients have none; who shows one of another authority is refused.
    context.verify_mode = ssl.CERT_OPTIONAL


def _no_password() -> str:
    # Else OpenSSL would ask for one at the terminal.
    return ""
