"""What the settings make of keys, documents and the mirror: opened once, when the service starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twocvm_verifier.clock import Clock
from twocvm_verifier.collateral import Collateral
from twocvm_verifier.corim import Trust, trust_of
from twocvm_verifier.errors import MalformedError

from .admin import Admins, read_token
from .library import Library
from .mirror import Mirror, amd_chains
from .secretfiles import file_of, read_password
from .settings import CollateralPlaces, Policies, Tokens
from .shelf import Shelf
from .state.documents import Documents
from .state.documents_folder import FolderDocuments
from .state.documents_memory import MemoryDocuments
from .tokens import KeyRing, Signer, load_key, new_key, require_algorithm

if TYPE_CHECKING:
    from redis import Redis

_FINGERPRINT: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def open_keys(tokens: Tokens) -> KeyRing:
    """Return the keys that sign tokens; a new one, which ends with the process, where none is set.

    Raises:
        MalformedError: A file holds no key, or settings do not go together.
        ServiceError: SIGNING_KEY_EXPOSED, SECRET_EXPOSED, SIGNING_KEY_WRONG.
        UnsupportedError: EXTRA_MISSING.
    """
    current = _signer("", tokens.key, tokens.keeper, tokens.keeper_public, tokens.pin)
    following = _signer("next_", tokens.next_key, tokens.next_keeper, tokens.next_keeper_public, tokens.pin)
    ring = KeyRing(current=current or new_key(), following=following)
    if tokens.algorithm != "any":
        require_algorithm(ring.current, tokens.algorithm)
    return ring


def open_shelf(
    policies: Policies,
    places: CollateralPlaces,
    *,
    collateral: Collateral,
    clock: Clock,
    redis: Callable[[], Redis],
) -> Shelf:
    """Return the documents and the mirror.

    Args:
        policies: Where documents are, and who puts them.
        places: Whether there is a mirror.
        collateral: That of the appraiser.
        clock: Says what time it is.
        redis: Connects to the Redis of the state; asked only where documents are there.

    Raises:
        MalformedError: A file or a setting is not what it should be.
        ServiceError: SECRET_EXPOSED.
    """
    mirror = Mirror(collateral, chains=amd_chains(), clock=clock, fetching=places.mirror_fetches and not places.offline)
    return Shelf(
        library=Library(_documents(policies, redis), trust=_trust(policies), clock=clock),
        admins=_admins(policies),
        mirror=mirror if places.mirror else None,
    )


def _signer(prefix: str, key: Path | None, keeper: str, public: Path | None, pin: Path | None) -> Signer | None:
    if not keeper:
        with file_of(f"tokens.{prefix}key", key):
            return None if key is None else load_key(key)
    if key is not None or public is None:
        name = f"tokens.{prefix}keeper"
        raise MalformedError("settings", name, f"wants {prefix}keeper_public beside it, and no {prefix}key")
    from .keepers import KeptSigner

    with file_of(f"tokens.{prefix}keeper_public", public):
        pem = public.read_bytes()
    return KeptSigner(keeper, public=pem, pin=lambda: "" if pin is None else read_password(pin))


def _documents(policies: Policies, redis: Callable[[], Redis]) -> Documents:
    if policies.documents == "redis":
        from .state.documents_redis import RedisDocuments

        return RedisDocuments(redis())
    # Which of the two is set stands in `rules`: a folder goes with documents in one, and with nothing else.
    if policies.folder is None:
        return MemoryDocuments()
    with file_of("policies.folder", policies.folder):
        policies.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return FolderDocuments(policies.folder)


def _admins(policies: Policies) -> Admins:
    fingerprints = [each.replace(":", "") for each in policies.admin_certificates]
    if not all(map(_FINGERPRINT.fullmatch, fingerprints)):
        raise MalformedError("settings", "policies.admin_certificates", "want SHA-256 in hex")
    with file_of("policies.admin_token", policies.admin_token):
        tokens = () if policies.admin_token is None else (read_token(policies.admin_token),)
    return Admins(tokens=tokens, certificates=tuple(map(bytes.fromhex, fingerprints)))


def _trust(policies: Policies) -> Trust:
    pems: list[bytes] = []
    for path in policies.corim_keys:
        with file_of("policies.corim_keys", path):
            pems.append(path.read_bytes())
    return trust_of(pems)
