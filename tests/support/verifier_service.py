"""The verifier service in this process, with an AMD of our own, a standing clock and evidence of every form.

with service() as client:                                # a client of the whole application
answer = client.post("/v1/appraise", json=asked(evidence=by_parts()))
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import KeySet
from starlette.testclient import TestClient
from tests.support.amd import AT, FakeAmd, fake_amd
from tests.support.crls import crl_of
from tests.support.manifests import MEASUREMENT, Document, World
from tests.support.sdk import StandingClock

from twocvm_verifier import Policy, SnpVerifier, strictjson
from twocvm_verifier.binding import Claims, LogPosition, channel_claims
from twocvm_verifier.collateral import Collateral, Source, Store
from twocvm_verifier.evidence import Evidence, to_json
from twocvm_verifier.service.app import create_app
from twocvm_verifier.service.appraisals import Appraiser
from twocvm_verifier.service.parts import Parts
from twocvm_verifier.service.requests import MEDIA_TYPE
from twocvm_verifier.service.state.memory import MemoryAnswers
from twocvm_verifier.service.state.protocol import Answers
from twocvm_verifier.service.state.sealed import SESSION_SECONDS, Sessions
from twocvm_verifier.service.tokens import KeyRing, new_key
from twocvm_verifier.snp.product import Product

MILAN: Final = fake_amd(Product.MILAN)
ISSUER: Final = "https://verifier.example"
FEDERATION: Final = "sts.amazonaws.com"
NOWHERE: Final = Path("/nonexistent/store")
SPKI: Final = b"k" * 32
NONCE: Final = b"n" * 32


def _on_hardware(document: Document) -> None:
    document["platform"] |= {"simulated": False, "products": ["Milan"]}


@cache
def world() -> World:
    """Return participants whose manifest accepts `MILAN` and no simulated platform."""
    return World(edit=_on_hardware)


@cache
def crl() -> bytes:
    """Return a revocation list of `MILAN` that is in force."""
    return crl_of(MILAN)


def naming_policy(**changes: Any) -> Policy:
    """Return a policy that names the measurement of all evidence here."""
    return replace(Policy.builtin(), name="names a guest", measurements=(MEASUREMENT,), **changes)


def claims(*, nonce: bytes = NONCE, manifest: bytes | None = None) -> Claims:
    """Return what a guest's report is made for."""
    return channel_claims(
        spki_sha256=SPKI,
        manifest=world().manifest.hash if manifest is None else manifest,
        log=LogPosition(head=bytes(32), events=2),
        nonce=nonce,
        binder=b"b" * 32,
    )


def report(amd: FakeAmd = MILAN, **fields: Any) -> bytes:
    """Return a report that is bound to `claims()` unless told otherwise."""
    return amd.report(**{"report_data": claims().report_data(), "measurement": MEASUREMENT} | fields)


def cmw(*, bound: Claims | None = None, **changes: Any) -> Evidence:
    """Return a guest's evidence, whole."""
    bound = bound or claims()
    given = {"report": report(report_data=bound.report_data()), "claims": bound.encode(), "vek": MILAN.vcek()}
    return Evidence(**given | {"chain": MILAN.chain(), "crl": crl()} | changes)


def by_parts(**changes: bytes | None) -> dict[str, str]:
    """Return the form of a report with its certificates."""
    given = {"report": report(), "vek": MILAN.vcek(), "crl": crl()} | changes
    return {name: strictjson.base64url(value) for name, value in given.items() if value is not None}


def asked(**members: Any) -> dict[str, Any]:
    """Return a request for whole evidence, with these members."""
    return {"evidence": {"cmw": to_json(cmw())}} | members


def for_release(**members: Any) -> dict[str, Any]:
    """Return a request as before a release."""
    bound = {"manifest": json.loads(world().raw), "expected_report_data": claims().report_data().hex()}
    return asked(**bound | members)


def in_session(client: TestClient, *, query: dict[str, str] | None = None, **members: Any) -> str:
    """Ask as before a release, with fresh evidence that answers a session's challenge; return the token, or nothing."""
    opened = client.post("/challenge-response/v1/newSession", params=query)
    bound = claims(nonce=base64.b64decode(opened.json()["nonce"]))
    fresh = {"evidence": {"cmw": to_json(cmw(bound=bound))}, "expected_report_data": bound.report_data().hex()}
    answer = client.post(
        opened.url.join(opened.headers["location"]),
        content=json.dumps(for_release(**fresh | members)),
        headers={"content-type": MEDIA_TYPE},
    )
    assert answer.json()["status"] == "complete", answer.text
    return str(answer.json().get("result", ""))


def sessions(answers: Answers) -> Sessions:
    """Return sessions whose answers are kept so."""
    return Sessions(answers=answers, random_bytes=secrets.token_bytes)


def parts(**changes: Any) -> Parts:
    """Return what a service is put together from; `roots`, `default`, `policies`, `sources` and `store` go inside."""
    clock = changes.setdefault("clock", StandingClock(at=AT))
    roots = changes.pop("roots", None) or MILAN.roots()
    sources: tuple[Source, ...] = changes.pop("sources", ())
    appraiser = Appraiser(
        verifier=SnpVerifier(roots=roots),
        collateral=Collateral(
            store=Store(changes.pop("store", NOWHERE), roots=roots), sources=sources, clock=clock, patience_seconds=1
        ),
        default=changes.pop("default", Policy.builtin()),
        policies=changes.pop("policies", ()),
        clock=clock,
    )
    given = {
        "appraiser": appraiser,
        "keys": KeyRing(current=new_key(), following=None),
        "sessions": sessions(MemoryAnswers(clock=clock, epoch=bytes(32), session_seconds=SESSION_SECONDS)),
        "issuer": ISSUER,
        "federations": frozenset({FEDERATION}),
        "random_bytes": secrets.token_bytes,
    }
    return Parts(**given | changes)


@contextmanager
def service(**changes: Any) -> Iterator[TestClient]:
    """Return a client of a service; the arguments are those of `parts`."""
    with TestClient(create_app(parts(**changes)), base_url=ISSUER) as client:
        yield client


def token_claims(client: TestClient, token: str) -> dict[str, Any]:
    """Return what a token says, after verifying it as a stranger does: by the issuer's published keys."""
    where = client.get("/.well-known/openid-configuration").json()
    keys = KeySet.import_key_set(client.get(where["jwks_uri"]).json())
    verified = jwt.decode(token, keys, algorithms=where["id_token_signing_alg_values_supported"])
    registry = jwt.JWTClaimsRegistry(
        now=int(AT.timestamp()),
        iss={"essential": True, "value": where["issuer"]},
        exp={"essential": True},
        nbf={"essential": True},
    )
    registry.validate(verified.claims)
    return dict(verified.claims)
