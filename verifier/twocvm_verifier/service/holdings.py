"""What the settings make of keys, documents and the mirror: opened once, when the service starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from redis import Redis

from twocvm_verifier.clock import Clock
from twocvm_verifier.collateral import Collateral
from twocvm_verifier.corim import trust_of
from twocvm_verifier.errors import MalformedError

from .admin import Admins, read_token
from .keepers import KeptSigner, require_algorithm
from .library import Library
from .mirror import Mirror, amd_chains
from .secretfiles import read_password
from .settings import CollateralPlaces, Policies, Tokens
from .shelf import Shelf
from .state.documents import Documents
from .state.documents_folder import FolderDocuments
from .state.documents_memory import MemoryDocuments
from .state.documents_redis import RedisDocuments
from .tokens import KeyRing, Signer, load_key, new_key

_FINGERPRINT: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def open_keys(tokens: Tokens) -> KeyRing:
    """Return the keys that sign tokens; a new one, which ends with the process, where none is set.

    Raises:
        MalformedError: A file holds no key, or settings do not go together.
        ServiceError: SIGNING_KEY_EXPOSED, SECRET_EXPOSED, SIGNING_KEY_WRONG.
        UnsupportedError: EXTRA_MISSING.
        OSError: A file cannot be read.
    """
    current = _signer(tokens.key, tokens.keeper, tokens.keeper_public, tokens.pin)
    following = _signer(tokens.next_key, tokens.next_keeper, tokens.next_keeper_public, tokens.pin)
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
        OSError: A file cannot be read.
    """
    mirror = Mirror(collateral, chains=amd_chains(), clock=clock, fetching=places.mirror_fetches and not places.offline)
    return Shelf(
        library=Library(
            _documents(policies, redis),
            trust=trust_of([path.read_bytes() for path in policies.corim_keys]),
            clock=clock,
        ),
        admins=_admins(policies),
        mirror=mirror if places.mirror else None,
    )


def _signer(key: Path | None, keeper: str, public: Path | None, pin: Path | None) -> Signer | None:
    if keeper:
        if key is not None or public is None:
            raise MalformedError(
                "settings", "tokens", "a keeper wants the public half of its key, and no key beside it"
            )
        return KeptSigner(keeper, public=public.read_bytes(), pin=lambda: "" if pin is None else read_password(pin))
    return None if key is None else load_key(key)


def _documents(policies: Policies, redis: Callable[[], Redis]) -> Documents:
    if policies.documents == "redis":
        return RedisDocuments(redis())
    if policies.documents == "memory":
        return MemoryDocuments()
    if policies.folder is None:
        raise MalformedError("settings", "policies.folder", "want the folder of the documents")
    return FolderDocuments(policies.folder)


def _admins(policies: Policies) -> Admins:
    fingerprints = [each.replace(":", "") for each in policies.admin_certificates]
    if not all(map(_FINGERPRINT.fullmatch, fingerprints)):
        raise MalformedError("settings", "policies.admin_certificates", "want SHA-256 in hex")
    return Admins(
        tokens=() if policies.admin_token is None else (read_token(policies.admin_token),),
        certificates=tuple(map(bytes.fromhex, fingerprints)),
    )
