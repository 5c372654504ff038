"""Which settings go together: what would be unsafe, or could not work, is refused before anything is opened."""

from __future__ import annotations

from collections.abc import Iterator

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import NAME

from .addresses import parse_address
from .settings import Settings, Tokens


def require_sound(settings: Settings) -> None:
    """Refuse settings that do not go together.

    Raises:
        MalformedError: Everything that does not is named.
    """
    problems = (*_of_listening(settings), *_of_keys(settings), *_of_sharing(settings))
    if problems:
        raise MalformedError("settings", "", "; ".join(problems))


def _of_listening(settings: Settings) -> Iterator[str]:
    listen = settings.listen
    tls = listen.certificate is not None
    if tls != (listen.key is not None):
        yield "listen.certificate and listen.key: want both, or neither"
    if listen.client_ca is not None and not tls:
        yield "listen.client_ca: clients show certificates only over TLS: want listen.certificate"
    if tls and listen.tls_before:
        yield "listen.tls_before: TLS ends here, or before: want one of listen.certificate and this"
    if listen.proxies and not (tls or listen.tls_before or parse_address(listen.address).loopback):
        yield "listen.proxies: want listen.tls_before, or listen.certificate"
    if parse_address(listen.address).loopback:
        return
    if not (tls or listen.tls_before):
        # Tokens and evidence would travel in clear.
        yield (
            "listen.address: is not loopback: want listen.certificate and listen.key, or listen.tls_before = true "
            "where something that you trust, over a network that you trust, speaks TLS before this process"
        )
    if not listen.issuer.startswith("https://"):
        yield "listen.issuer: want the https URL by which others know this service"


def _of_keys(settings: Settings) -> Iterator[str]:
    tokens = settings.tokens
    if _keeps_its_key(tokens):
        return
    if tokens.next_key is not None or tokens.next_keeper:
        yield "tokens.next_key: comes after a key that is kept: want tokens.key or tokens.keeper beside it"
    if settings.audit.folder is not None:
        # Its checkpoints are for who comes later.
        yield "audit.folder: nobody could verify it once this process has ended: want tokens.key or tokens.keeper"


def _of_sharing(settings: Settings) -> Iterator[str]:
    state = settings.state
    if settings.listen.workers > 1 and state.store == "memory":
        yield 'listen.workers: more than one share no memory: want state.store = "redis" or "sealed"'
    if settings.listen.workers > 1 and not _keeps_its_key(settings.tokens):
        yield "listen.workers: more than one would each sign with a key of its own: want tokens.key"
    if settings.pages.reports and settings.listen.workers > 1 and state.store != "redis":
        yield 'pages.reports: more than one worker show the same pages only from state.store = "redis"'
    policies = settings.policies
    if settings.listen.workers > 1 and policies.documents == "memory" and _has_admins(settings):
        yield 'policies.documents: more than one worker share no memory: want "folder" or "redis"'
    if (policies.documents == "folder") != (policies.folder is not None):
        yield 'policies.folder: goes with policies.documents = "folder", and with nothing else'
    if policies.default_name and not NAME.fullmatch(policies.default_name):
        yield "policies.default_name: want a name that a policy can be put under: a letter, then a-z, 0-9 and -"
    if policies.admin_certificates and settings.listen.client_ca is None:
        yield "policies.admin_certificates: nobody shows one: want listen.client_ca"
    if state.store == "sealed" and state.seal_key is None:
        yield 'state.store: "sealed" wants state.seal_key'
    if state.store != "sealed" and state.seal_key is not None:
        yield 'state.seal_key: is for state.store = "sealed" alone'
    if state.redis_user and state.redis_password is None:
        yield "state.redis_user: wants state.redis_password"


def _keeps_its_key(tokens: Tokens) -> bool:
    return tokens.key is not None or bool(tokens.keeper)


def _has_admins(settings: Settings) -> bool:
    return settings.policies.admin_token is not None or bool(settings.policies.admin_certificates)
