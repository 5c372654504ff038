"""Keys that are kept elsewhere: they sign what a stranger verifies, or nothing is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt
from joserfc.jwk import KeySet
from redis import Redis
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, HSMSigner, Signature
from tests.support.amd import AT
from tests.support.sdk import StandingClock
from tests.support.softhsm import MODULE, PIN, SoftTokens, needs_softhsm, soft_tokens
from tests.support.verifier_service import MILAN, asked, naming_policy, service, token_claims

from twocvm_verifier.collateral import Collateral, Store
from twocvm_verifier.corim import Trusted, Unsigned
from twocvm_verifier.errors import MalformedError, TwoCvmError, UnsupportedError
from twocvm_verifier.service.holdings import open_keys, open_shelf
from twocvm_verifier.service.keepers import KeptSigner
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.service.settings import CollateralPlaces, Policies, Tokens
from twocvm_verifier.service.state.documents_folder import FolderDocuments
from twocvm_verifier.service.state.documents_memory import MemoryDocuments
from twocvm_verifier.service.state.documents_redis import RedisDocuments
from twocvm_verifier.service.tokens import KeyRing

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
# `softhsm.make_key` gives a key the bytes of its label for an id, and securesystemslib reads that as a number.
KEY_LABEL, KEY_ID = "k", ord("k")
URI = f"hsm:{KEY_ID}?label=signing"


def public(key: Any) -> bytes:
    """Return the public half of a key as a file has it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private(key: Any) -> bytes:
    """Return a key as a file has it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def tokens(tmp_path, monkeypatch) -> Iterator[SoftTokens]:
    """A PKCS#11 token with a key."""
    monkeypatch.setenv("PYKCS11LIB", str(MODULE))
    with soft_tokens(tmp_path) as made:
        made.make_token("signing")
        made.make_key("signing", KEY_LABEL, kind="p256")
        yield made


def public_of_token() -> bytes:
    """Return the public half of the token's key."""
    return HSMSigner.import_(KEY_ID, "signing", lambda _: PIN)[1].keyval["public"].encode()


@needs_softhsm
def test_a_token_of_pkcs11_signs(tokens):
    """Strangers verify what it signed by discovery, also when many are judged at once."""
    signer = KeptSigner(URI, public=public_of_token(), pin=lambda: PIN)
    with service(default=naming_policy(), keys=KeyRing(current=signer, following=None)) as client:
        signed = client.post("/v1/appraise", json=asked()).json()["token"]
        assert token_claims(client, signed)["2cvm.verdict"] == "affirming"
    ring, made = KeyRing(current=signer, following=None), []
    threads = [threading.Thread(target=lambda: made.append(ring.token({"sub": "x"}))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = KeySet.import_key_set(ring.jwks())
    assert [jwt.decode(token, keys, algorithms=["ES256"]).claims for token in made] == [{"sub": "x"}] * 4


@needs_softhsm
def test_a_token_that_cannot_sign(tokens, monkeypatch):
    """A wrong PIN, another key, no such key or module: refused when the service starts, and each is told apart."""
    right = public_of_token()
    for uri, pem, pin, said in (
        (URI, right, "0000", "PinIncorrect"),
        (URI, public(EC), PIN, "InvalidSignature"),
        ("hsm:77?label=signing", right, PIN, "could not find"),
        (f"hsm:{KEY_ID}?label=nowhere", right, PIN, "nowhere"),
        ("hsm:x", right, PIN, "'x'"),
    ):
        with pytest.raises(ServiceError) as refused:
            KeptSigner(uri, public=pem, pin=lambda pin=pin: pin)
        assert refused.value.code == "SIGNING_KEY_WRONG"
        assert said in str(refused.value)
        assert PIN not in str(refused.value)


@needs_softhsm
def test_a_token_that_goes_away(tokens):
    """The verdict is not told, and nothing unsigned or signed by somebody else is."""
    said = [PIN]
    signer = KeptSigner(URI, public=public_of_token(), pin=lambda: said[0])
    with service(default=naming_policy(), keys=KeyRing(current=signer, following=None)) as client:
        said[0] = "wrong"
        answer = client.post("/v1/appraise", json=asked())
        assert (answer.status_code, answer.json()["code"]) == (503, "SIGNING_FAILED")
        assert int(answer.headers["retry-after"]) > 0
        assert "token" not in answer.json()
        said[0] = PIN
        assert client.post("/v1/appraise", json=asked()).status_code == 200


class CloudStandIn:
    """A cloud's key service, which is nowhere near: a key here, that signs as the service's library would."""

    key: Any = RSA
    fails = ""

    def __init__(self, public_key: Any) -> None:
        self.public_key = public_key

    @classmethod
    def from_priv_key_uri(cls, uri: str, public_key: Any, _: Any) -> CloudStandIn:
        """Return it, or fail as it does without its library or credentials."""
        if cls.fails == "library":
            raise UnsupportedLibraryError("boto3 required")
        if cls.fails == "credentials":
            raise ValueError(uri)
        return cls(public_key)

    def sign(self, message: bytes) -> Signature:
        """Sign."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            raw = self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        else:
            raw = self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        return Signature("", raw.hex())


@pytest.fixture
def cloud(monkeypatch) -> type[CloudStandIn]:
    """The stand-in, in the place of one of the library's."""
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "awskms", CloudStandIn)
    monkeypatch.setattr(CloudStandIn, "fails", "")
    monkeypatch.setattr(CloudStandIn, "key", RSA)
    return CloudStandIn


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256")])
def test_a_clouds_key_signs(cloud, monkeypatch, key, algorithm):
    """RS256 as it comes, ES256 as two numbers of fixed width."""
    monkeypatch.setattr(cloud, "key", key)
    ring = KeyRing(current=KeptSigner("awskms:alias/x", public=public(key), pin=str), following=None)
    token = ring.token({"sub": "x"})
    assert jwt.decode(token, KeySet.import_key_set(ring.jwks()), algorithms=[algorithm]).claims == {"sub": "x"}


def test_a_cloud_that_signs_with_another_key(cloud, monkeypatch):
    """What does not verify under the owner's public half is told to nobody."""
    signer = KeptSigner("awskms:alias/x", public=public(RSA), pin=str)
    monkeypatch.setattr(cloud, "key", rsa.generate_private_key(65537, 2048))
    with pytest.raises(ServiceError) as failed:
        signer.sign(b"message")
    assert failed.value.code == "SIGNING_FAILED"


@pytest.mark.parametrize(
    ("fails", "kind", "code"),
    [("library", UnsupportedError, "EXTRA_MISSING"), ("credentials", ServiceError, "SIGNING_KEY_WRONG")],
)
def test_a_cloud_that_is_not_there(cloud, monkeypatch, fails, kind, code):
    """Its library, or the right to use it, is missing."""
    monkeypatch.setattr(cloud, "fails", fails)
    with pytest.raises(kind) as refused:
        KeptSigner("awskms:alias/x", public=public(RSA), pin=str)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("uri", "pem"),
    [
        ("awskms:x", b"no key"),
        ("awskms:x", public(ed25519.Ed25519PrivateKey.generate())),
        ("awskms:x", public(ec.generate_private_key(ec.SECP384R1()))),
        ("awskms:x", public(rsa.generate_private_key(65537, 1024))),  # noqa: S505 - that is the point
        ("file2:/etc/key", public(EC)),
        ("", public(EC)),
    ],
)
def test_keys_and_keepers_that_are_none(cloud, uri, pem):
    """Other kinds of keys sign no tokens, and files are no keepers."""
    with pytest.raises(MalformedError) as refused:
        KeptSigner(uri, public=pem, pin=str)
    assert refused.value.code == "MALFORMED_SIGNING_KEY"


def test_rotation_as_the_settings_say_it(tmp_path):
    """Publish the next, change them, take the last away: at each step every token that lives verifies."""
    old, new = tmp_path / "old", tmp_path / "new"
    for path, key in ((old, EC), (new, RSA)):
        path.write_bytes(private(key))
        path.chmod(0o600)
    steps = [
        Tokens(key=old),
        Tokens(key=old, next_key=new),
        Tokens(key=new, next_key=old),
        Tokens(key=new, algorithm="RS256"),
    ]
    rings = [open_keys(step) for step in steps]
    for before, after in pairwise(rings):
        # Whoever fetched the keys before the step knows the one that signs after it, and the other way round.
        for issuer, known in ((before, after), (after, before)):
            keys = KeySet.import_key_set(known.jwks())
            token = jwt.decode(issuer.token({"sub": "x"}), keys, algorithms=["ES256", "RS256"])
            assert token.claims == {"sub": "x"}


@pytest.mark.parametrize(
    "tokens",
    [
        {"keeper": "awskms:x"},
        {"keeper": "awskms:x", "keeper_public": Path("public"), "key": Path("key")},
        {"next_keeper": "awskms:x"},
        {"keeper": "awskms:x", "keeper_public": Path("/nonexistent")},
        {"key": Path("/nonexistent")},
    ],
)
def test_settings_of_keys_that_do_not_go_together(tokens):
    """A keeper wants its public half, and no file beside it; files want to be there."""
    with pytest.raises(MalformedError) as refused:
        open_keys(Tokens(**tokens))
    assert refused.value.code == "MALFORMED_SETTINGS"


def test_a_keeper_by_the_settings(cloud, tmp_path):
    """Its URI and its public half; the PIN of a file where there is one."""
    (tmp_path / "public").write_bytes(public(RSA))
    ring = open_keys(Tokens(next_keeper="awskms:x", next_keeper_public=tmp_path / "public"))
    assert ring.algorithms == ("ES256", "RS256")
    with pytest.raises(ServiceError) as refused:
        open_keys(Tokens(keeper="awskms:x", keeper_public=tmp_path / "public", algorithm="ES256"))
    assert refused.value.code == "SIGNING_KEY_WRONG"
    assert open_keys(Tokens(algorithm="ES256")).algorithms == ("ES256",)


@needs_softhsm
def test_a_pin_of_a_file(tokens, tmp_path):
    """It is read at each signature, and only from a file that is its owner's alone."""
    (tmp_path / "public").write_bytes(public_of_token())
    made = Tokens(keeper=URI, keeper_public=tmp_path / "public", pin=tokens.pin_file)
    assert open_keys(made).current.sign(b"message")
    with pytest.raises(ServiceError):
        open_keys(Tokens(keeper=URI, keeper_public=tmp_path / "public"))
    os.chmod(tokens.pin_file, 0o644)
    with pytest.raises(TwoCvmError):
        open_keys(made)


def shelf(tmp_path: Path, policies: dict[str, Any], places: dict[str, Any] | None = None) -> Any:
    """Return the shelf that settings make."""
    clock = StandingClock(at=AT)
    collateral = Collateral(store=Store(tmp_path, roots=MILAN.roots()), sources=(), clock=clock, patience_seconds=1)
    return open_shelf(
        Policies(**policies), CollateralPlaces(**places or {}), collateral=collateral, clock=clock, redis=Redis
    )


def test_a_shelf_by_the_settings(tmp_path):
    """Where documents are, who puts them, who signs CoRIMs, and whether there is a mirror."""
    made = shelf(tmp_path, {})
    assert (type(made.library.store), made.library._trust, made.admins.tokens) == (MemoryDocuments, Unsigned(), ())
    assert made.mirror is not None
    token, key = tmp_path / "token", tmp_path / "key"
    token.write_text("t" * 40)
    token.chmod(0o600)
    key.write_bytes(public(EC))
    fingerprint = ":".join(["AB"] * 32)
    settings = {"documents": "folder", "folder": tmp_path / "documents", "admin_token": token}
    made = shelf(tmp_path, settings | {"corim_keys": (key,), "admin_certificates": (fingerprint,)}, {"mirror": False})
    assert (type(made.library.store), made.mirror) == (FolderDocuments, None)
    assert isinstance(made.library._trust, Trusted)
    assert (made.admins.certificates, len(made.admins.tokens)) == ((b"\xab" * 32,), 1)
    assert type(shelf(tmp_path, {"documents": "redis"}).library.store) is RedisDocuments


@pytest.mark.parametrize(
    "policies",
    [
        {"admin_certificates": ("x",)},
        {"admin_token": Path("/nonexistent")},
        {"corim_keys": (Path("/nonexistent"),)},
        {"documents": "folder", "folder": Path("/dev/null")},
    ],
)
def test_settings_of_documents_that_are_none(tmp_path, policies):
    """Each is named by its setting."""
    with pytest.raises(MalformedError) as refused:
        shelf(tmp_path, policies)
    assert refused.value.code == "MALFORMED_SETTINGS"
