"""The service put together from its settings: what each part is made of stands here, and nowhere else.

What is wrong with a file that a setting names is said with the setting's name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp

from twocvm_verifier.clock import Clock, SystemClock
from twocvm_verifier.collateral import Collateral, Fetcher
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.gathering import Places, open_collateral
from twocvm_verifier.policy import Policy, decides_nothing
from twocvm_verifier.shell import BUILTIN, read_policy, roots_of
from twocvm_verifier.verifier import SnpVerifier

from .app import create_app
from .appraisals import Appraiser
from .clients import Forwarded, parse_networks
from .holdings import open_keys, open_shelf
from .library import Library
from .limits import Guard, Rate
from .observe import Observed
from .parts import Parts
from .problems import ServiceError
from .secretfiles import file_of, read_password, read_seal_key
from .settings import CollateralPlaces, Policies, Settings, State
from .state.memory import EPOCH_BYTES, MemoryAnswers
from .state.protocol import Answers
from .state.reports import MemoryReports, NoReports, Reports
from .state.sealed import SESSION_SECONDS, SealedOnly, Sessions
from .tokens import KeyRing
from .watching import Watch, open_watch

if TYPE_CHECKING:
    from redis import Redis

# A client is told to come back rather than kept waiting for a turn at KDS.
PATIENCE_SECONDS: Final = 5.0
_PROBE: Final = b"2cvm.probe"


def application(settings: Settings, *, issuer: str) -> ASGIApp:
    """Return everything that answers requests.

    Args:
        settings: What its owner set.
        issuer: The service's own URL, as it stands in tokens.

    Raises:
        TwoCvmError: A file that a setting names does not hold what it should, or others can read it.
    """
    clock = SystemClock()
    keys = open_keys(settings.tokens)
    watch = open_watch(settings, signer=lambda: keys.current, clock=clock, random_bytes=secrets.token_bytes)
    app: ASGIApp = create_app(parts_of(settings, issuer=issuer, keys=keys, watch=watch, clock=clock))
    rate = Rate(per_second=settings.limits.requests_per_second, burst=settings.limits.burst, clock=clock)
    limits = settings.limits
    app = Guard(app, rate=rate, concurrent=limits.concurrent, per_client=limits.concurrent_per_client)
    app = Observed(app, watchers=watch.watchers, clock=clock, random_bytes=secrets.token_bytes)
    return Forwarded(app, proxies=parse_networks(settings.listen.proxies))


def parts_of(settings: Settings, *, issuer: str, keys: KeyRing, watch: Watch, clock: Clock) -> Parts:
    """Return what the routes share.

    Raises:
        TwoCvmError: As `application`.
    """
    collateral = _collateral(settings.collateral, around=watch.around)
    answers = _answers(settings.state, clock=clock)
    shelf = open_shelf(
        settings.policies,
        settings.collateral,
        collateral=collateral,
        clock=clock,
        redis=lambda: _redis(settings.state),
    )
    return Parts(
        appraiser=_appraiser(settings.policies, collateral, library=shelf.library, clock=clock),
        keys=keys,
        sessions=Sessions(answers=answers, random_bytes=secrets.token_bytes),
        issuer=issuer,
        federations=frozenset(settings.tokens.federations),
        clock=clock,
        random_bytes=secrets.token_bytes,
        probes={**_probes(collateral=collateral, keys=keys, answers=answers), **watch.probes},
        ledger=watch.ledger,
        closing=watch.closing,
        reports=_reports(settings, clock=clock),
        report_seconds=settings.pages.report_seconds,
        shelf=shelf,
    )


def _probes(*, collateral: Collateral, keys: KeyRing, answers: Answers) -> Mapping[str, Callable[[], None]]:
    def folder() -> None:
        # One that is not there yet is made with the first piece.
        place = next(each for each in (collateral.store.folder, *collateral.store.folder.parents) if each.exists())
        if not os.access(place, os.R_OK | os.X_OK):
            raise ServiceError("STORE_UNREADABLE", "collateral: its folder cannot be read")

    return {
        "state": lambda: (answers.moment(), None)[1],
        "keys": lambda: (keys.current.sign(_PROBE), None)[1],
        "collateral": folder,
    }


def _collateral(places: CollateralPlaces, *, around: Callable[[Fetcher], Fetcher]) -> Collateral:
    with file_of("collateral.simulated_root", places.simulated_root):
        roots = roots_of(places.simulated_root)
    return open_collateral(
        Places(store=places.store, mirrors=places.mirrors, kds=places.kds, offline=places.offline),
        roots=roots,
        fetching=not places.offline,
        patience_seconds=PATIENCE_SECONDS,
        around=around,
    )


def _appraiser(policies: Policies, collateral: Collateral, *, library: Library, clock: Clock) -> Appraiser:
    return Appraiser(
        verifier=SnpVerifier(roots=collateral.store.roots),
        collateral=collateral,
        default=_owned(policies.default, option="policies.default"),
        policies=tuple(_owned(each, option="policies.also") for each in policies.also),
        clock=clock,
        library=library,
        default_name=policies.default_name,
    )


def _owned(name: str, *, option: str) -> Policy:
    """Return a policy of the owner's, held to what is asked of one that an admin puts."""
    policy = read_policy(name, option=option)
    if name != BUILTIN and decides_nothing(policy):
        text = f"{option}: {name!r}: got no reference value, want one, or a reason for having none"
        raise TwoCvmError("POLICY_EMPTY", text)
    return policy


def _answers(state: State, *, clock: Clock) -> Answers:
    if state.store == "redis":
        from .state.redis import RedisAnswers

        return RedisAnswers(
            client=_redis(state), clock=clock, session_seconds=SESSION_SECONDS, random_bytes=secrets.token_bytes
        )
    if state.store == "sealed" and state.seal_key is not None:
        with file_of("state.seal_key", state.seal_key):
            return SealedOnly(key=read_seal_key(state.seal_key), clock=clock)
    return MemoryAnswers(clock=clock, epoch=secrets.token_bytes(EPOCH_BYTES), session_seconds=SESSION_SECONDS)


def _reports(settings: Settings, *, clock: Clock) -> Reports:
    if not settings.pages.reports:
        return NoReports()
    if settings.state.store == "redis":
        from .state.reports_redis import RedisReports

        return RedisReports(client=_redis(settings.state))
    return MemoryReports(clock=clock)


def _redis(state: State) -> Redis:
    from .state.redis import RedisPlace, connect

    password = ""
    if state.redis_password is not None:
        with file_of("state.redis_password", state.redis_password):
            password = read_password(state.redis_password)
    return connect(RedisPlace(url=state.redis, user=state.redis_user, password=password, authority=state.redis_ca))
