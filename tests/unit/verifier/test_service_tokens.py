"""Tokens: what they say and never say, who signs them, and that strangers' software reads them."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from tests.support.amd import AT, borrowed_names
from tests.support.crls import crl_of
from tests.support.manifests import MEASUREMENT
from tests.support.verifier_service import (
    FEDERATION,
    ISSUER,
    MILAN,
    NONCE,
    asked,
    by_parts,
    for_release,
    naming_policy,
    parts,
    report,
    service,
    token_claims,
    world,
)

from twocvm_verifier import Policy, Unchecked
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.result import Verdict
from twocvm_verifier.service.appraisals import Outcome
from twocvm_verifier.service.ear import DEFAULT_AUDIENCE, ear_claims, token_allowed
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.service.requests import MEDIA_TYPE, parse_request
from twocvm_verifier.service.tokens import KeyRing, PrivateKeySigner, load_key, new_key
from twocvm_verifier.snp.product import Product

SPEC = Path(__file__).parents[3] / "docs/spec/ear.md"
RSA = rsa.generate_private_key(65537, 2048)
# draft-ietf-rats-ar4si, 2.3.2: where each tier ends.
TIERS = ((1, "none"), (31, "affirming"), (95, "warning"), (127, "contraindicated"))


def outcome_of(request: dict[str, Any], **changes: Any) -> Outcome:
    """Return what a request comes to; the changes are those of `parts`."""
    made = parts(**{"default": naming_policy()} | changes)
    return made.appraiser.appraise(parse_request(json.dumps(request).encode(), media_type=MEDIA_TYPE))


def said(outcome: Outcome, **changes: Any) -> dict[str, Any]:
    """Return the claims for an outcome."""
    given = {"issuer": ISSUER, "audience": DEFAULT_AUDIENCE, "nonce": None, "token_id": bytes(16), "now": AT}
    return ear_claims(outcome, **given | changes)


def vector(request: dict[str, Any], submodule: str = "cpu0", **changes: Any) -> dict[str, int]:
    """Return the trustworthiness vector of a submodule."""
    return said(outcome_of(request, **changes))["submods"][submodule]["ear.trustworthiness-vector"]


def tier(value: int) -> str:
    """Return the tier of a value."""
    return next(name for most, name in TIERS if value <= most)


def pem(key: Any) -> bytes:
    """Return a key as a file has it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


AFFIRMED = {"hardware": 2, "instance-identity": 2, "configuration": 2, "executables": 3, "runtime-opaque": 2}


@pytest.mark.parametrize(
    ("fields", "facets"),
    [
        ({}, {}),
        ({"policy": 0xB0000}, {"configuration": 96, "runtime-opaque": None}),
        ({"vmpl": 1}, {"configuration": 96}),
        ({"measurement": bytes(48)}, {"executables": 96}),
        ({"committed_version": (6, 55, 1)}, {"hardware": 96}),
    ],
)
def test_a_vector_says_where_the_verdict_comes_from(fields, facets):
    """Each refusal is of the facet that it is about, and of no other."""
    expected = {name: value for name, value in (AFFIRMED | facets).items() if value is not None}
    assert vector(asked(evidence=by_parts(report=report(**fields)))) == expected


def test_what_is_bound_to_something_else_is_somebody_else():
    """A wrong REPORT_DATA is about the instance; in the workload's vector too."""
    request = for_release(expected_report_data="00" * 64)
    assert vector(request) == AFFIRMED | {"instance-identity": 96}
    assert vector(request, "workload") == {"instance-identity": 96, "configuration": 2, "executables": 3}


def test_what_the_manifest_demands_is_the_workloads():
    """A platform that the manifest refuses is no configuration for its workload."""
    request = for_release(evidence=by_parts(report=report(vmpl=1)))
    assert vector(request, "workload")["configuration"] == 96
    assert vector(for_release(), "workload") == {"instance-identity": 2, "configuration": 2, "executables": 3}


def test_no_reference_value_is_a_warning():
    """Where nobody said which guest is meant, its executables are not recognised."""
    outcome = outcome_of(asked(), default=Policy.builtin())
    assert outcome.appraisal.verdict is Verdict.WARNING
    assert vector(asked(), default=Policy.builtin()) == AFFIRMED | {"executables": 33}


def test_an_open_debug_bit_is_never_called_opaque():
    """A policy may give a reason for debugging; the memory is not called encrypted then."""
    policy = naming_policy(open_guest_policy={"debug": Unchecked("our own machines")})
    policy = replace(policy, guest_policy=replace(policy.guest_policy, forbidden=0))
    assert "runtime-opaque" not in vector(asked(), default=policy)


def test_what_is_not_authentic_says_so_everywhere():
    """No facet of a forgery is better than another, and nothing that it claims is repeated."""
    forged = for_release(evidence=by_parts(report=report(borrowed_names(Product.MILAN))))
    for name, submod in said(outcome_of(forged))["submods"].items():
        assert set(submod["ear.trustworthiness-vector"].values()) == {99}, name
        assert not {"2cvm.report_data", "2cvm.measurement"} & submod.keys()


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("fields", [{}, {"policy": 0xF0000}, {"measurement": bytes(48)}, {"chip_id": bytes(64)}])
def test_no_status_is_better_than_its_vector(fields, manifest):
    """EAR's rule, for whatever is judged; and every status is the verdict."""
    evidence = by_parts(report=report(**fields))
    claims = said(outcome_of(for_release(evidence=evidence) if manifest else asked(evidence=evidence)))
    order = [name for _, name in TIERS]
    for submod in claims["submods"].values():
        worst = tier(max(submod["ear.trustworthiness-vector"].values()))
        assert order.index(submod["ear.status"]) >= order.index(worst)
        assert submod["ear.status"] == claims["2cvm.verdict"]


def test_the_facts_are_the_evidences_own():
    """Claims outside the vectors are those that the appraisal has."""
    claims = said(outcome_of(for_release()), nonce=NONCE)
    chip = claims["submods"]["cpu0"]
    assert (chip["2cvm.measurement"], chip["2cvm.platform"]) == (MEASUREMENT.hex(), "snp")
    assert claims["2cvm.levels"] == ["AL1", "AL2", "AL3", "AL4"]
    assert "2cvm.code" not in claims


def test_a_token_lives_no_longer_than_what_it_rests_on():
    """Fifteen minutes, or until the first certificate or list ends."""
    assert said(outcome_of(asked()))["exp"] - said(outcome_of(asked()))["iat"] == 900
    ending = crl_of(MILAN, number=9, next_update=AT + timedelta(seconds=60))
    short = said(outcome_of(asked(evidence=by_parts(crl=ending))))
    assert short["exp"] - short["iat"] == 60


def test_only_what_is_affirmed_names_a_manifest():
    """The subject is all that some audiences look at."""
    whole = replace(outcome_of(for_release()), drawn=True)
    assert said(whole)["sub"] == f"2cvm:manifest:{world().manifest.hash.hex()}"
    assert len(said(whole)["sub"]) < 127
    for less in (
        replace(whole, owners_policy=False),
        replace(whole, manifest=None),
        replace(outcome_of(for_release(), default=Policy.builtin()), drawn=True),
    ):
        affirming = less.appraisal.verdict is Verdict.AFFIRMING
        named = said(less)["sub"].startswith("2cvm:manifest:")
        assert named == (affirming and less.owners_policy and less.manifest is not None)
        assert token_allowed(less, audience=FEDERATION) == named
        assert token_allowed(less, audience=DEFAULT_AUDIENCE)
    assert token_allowed(whole, audience=FEDERATION)
    assert not token_allowed(replace(whole, drawn=False), audience=FEDERATION)


def documented() -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the vector of the specification: key, claims and token."""
    key, claims = re.findall(r"```json\n(.*?)```", SPEC.read_text(), re.DOTALL)
    (token,) = re.findall(r"```\n(eyJ.*?)\n```", SPEC.read_text(), re.DOTALL)
    return json.loads(key), json.loads(claims), token.replace("\n", "")


def test_the_specifications_vector():
    """The claims there are those of this outcome, and the token there says them by the key there."""
    key, claims, token = documented()
    assert said(outcome_of(for_release()), nonce=NONCE) == claims
    verified = jwt.decode(token, ECKey.import_key(key), algorithms=["ES256"])
    assert (verified.claims, verified.header) == (claims, {"alg": "ES256", "kid": key["kid"], "typ": "JWT"})


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), RSA], ids=["ES256", "RS256"])
def test_strangers_verify_tokens_by_discovery(key):
    """A stock library takes a token through discovery and JWKS, whichever of the two algorithms it is."""
    with service(default=naming_policy(), keys=KeyRing(current=PrivateKeySigner(key), following=None)) as client:
        token = client.post("/v1/appraise", json=asked()).json()["token"]
        assert token_claims(client, token)["iss"] == ISSUER
        published = client.get("/.well-known/jwks.json")
    assert "max-age=300" in published.headers["cache-control"]
    (jwk,) = published.json()["keys"]
    assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k"} & jwk.keys()


def test_keys_change_without_refusing_anybody():
    """The next key is published before it signs, and the last one while its tokens live."""
    old, new = new_key(), PrivateKeySigner(RSA)
    before, after = KeyRing(current=old, following=new), KeyRing(current=new, following=old)
    keys = KeySet.import_key_set(json.loads(json.dumps(before.jwks())))
    for ring in (before, after):
        assert jwt.decode(ring.token({"sub": "x"}), keys, algorithms=["ES256", "RS256"]).claims == {"sub": "x"}
    assert before.algorithms == ("ES256", "RS256")


def test_a_key_from_its_owners_file(tmp_path):
    """PEM of either kind, with mode 0600."""
    for key, algorithm in ((ec.generate_private_key(ec.SECP256R1()), "ES256"), (RSA, "RS256")):
        file = tmp_path / algorithm
        file.write_bytes(pem(key))
        file.chmod(0o600)
        assert load_key(file).public_jwk["alg"] == algorithm


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_reach(tmp_path, mode):
    """A key that somebody else can read or write signs nothing."""
    file = tmp_path / "key"
    file.write_bytes(pem(RSA))
    file.chmod(mode)
    with pytest.raises(ServiceError) as exposed:
        load_key(file)
    assert exposed.value.code == "SIGNING_KEY_EXPOSED"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no key",
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - that is the point
    ],
)
def test_files_that_hold_no_key(tmp_path, content):
    """Neither other bytes nor other kinds of keys sign tokens."""
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(MalformedError) as refused:
        load_key(file)
    assert refused.value.code == "MALFORMED_SIGNING_KEY"


def test_a_link_is_not_followed_to_a_key(tmp_path):
    """Whoever can change a link would choose the key."""
    (tmp_path / "key").write_bytes(pem(RSA))
    os.symlink(tmp_path / "key", tmp_path / "link")
    with pytest.raises(OSError, match="symbolic"):
        load_key(tmp_path / "link")
