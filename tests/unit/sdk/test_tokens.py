"""Consent keys in tokens, on a real PKCS#11 module."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pkcs11 import ObjectClass
from tests.support.guest import LiveGuest
from tests.support.manifests import World
from tests.support.sides import sides
from tests.support.softhsm import MODULE, PIN, SoftTokens, needs_softhsm, soft_tokens

from twocvm_guest.main import run
from twocvm_sdk import Identity
from twocvm_sdk.keyfiles import CONSENT_ELSEWHERE, CONSENT_KEY
from twocvm_sdk.pkcs11uri import parse_pkcs11_uri
from twocvm_sdk.tokens import TokenKey, decoded_point
from twocvm_verifier.errors import MalformedError, ReleaseError, SignatureError, TwoCvmError, UnsupportedError
from twocvm_verifier.manifest.consentkeys import spki_der, verify
from twocvm_verifier.manifest.statements import Consent, parse_statement_file, verify_consent

pytestmark = needs_softhsm
KINDS = ("p256", "p384", "ed25519")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftTokens]:
    """A token `mine` with a key of each kind, and two that are called `twin`."""
    with soft_tokens(tmp_path_factory.mktemp("softhsm")) as made:
        for label in ("mine", "twin", "twin"):
            made.make_token(label)
        for kind in (*KINDS, "p521", "rsa"):
            made.make_key("mine", kind, kind=kind)
        yield made


def _find(tokens: SoftTokens, path: str) -> TokenKey:
    return TokenKey.find(parse_pkcs11_uri(tokens.uri(path)), pin=None)


def _refused(tokens: SoftTokens, path: str) -> str:
    with pytest.raises(TwoCvmError) as refusal:
        _find(tokens, path)
    assert PIN not in str(refusal.value)
    return refusal.value.code


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_signs_what_statements_demand(tokens: SoftTokens, kind: str) -> None:
    """Each kind signs in its one spelling, every time, and the signature verifies."""
    key = _find(tokens, f"token=mine;object={kind}")
    for number in range(8):
        data = b"data %d" % number
        signature = key.sign(data)
        assert len(signature) == (96 if kind == "p384" else 64)
        verify(key.public_key(), signature, data)
    assert PIN not in repr(key)


def test_threads_that_sign_at_once_take_turns(tokens: SoftTokens) -> None:
    """A session that withdraws from a thread of its own signs while another signs: a token has one login for all."""
    key = _find(tokens, "token=mine;object=p256")
    with ThreadPoolExecutor(8) as threads:
        signatures = list(threads.map(lambda number: (number, key.sign(b"%d" % number)), range(24)))
    for number, signature in signatures:
        verify(key.public_key(), signature, b"%d" % number)


def test_a_key_is_found_by_its_id_and_a_token_by_all_it_has(tokens: SoftTokens) -> None:
    """Any attribute narrows the search; what does not fit finds nothing."""
    described = "token=mine;manufacturer=SoftHSM%20project;model=SoftHSM%20v2"
    key = _find(tokens, f"{described};id=%70%32%35%36;type=private")
    assert key.public == _find(tokens, "token=mine;object=p256").public
    assert _refused(tokens, f"{described};serial=other;object=p256") == "TOKEN_MISSING"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("token=none;object=p256", "TOKEN_MISSING"),
        ("token=twin;object=p256", "TOKEN_MISSING"),
        ("object=p256", "TOKEN_MISSING"),
        ("token=mine;object=none", "TOKEN_KEY"),
        ("token=mine", "TOKEN_KEY"),
        ("token=mine;object=p521", "TOKEN_KEY"),
        ("token=mine;object=rsa", "TOKEN_KEY"),
    ],
)
def test_what_is_not_exactly_one_usable_key_is_refused(tokens: SoftTokens, path: str, code: str) -> None:
    """No token, two tokens, no key, several keys, keys of other kinds: each is said."""
    assert _refused(tokens, path) == code


def test_a_private_key_without_its_public_one_is_refused(tokens: SoftTokens) -> None:
    """Which key signs must be known before it does."""
    tokens.make_key("mine", "alone", kind="p256")
    tokens.remove("mine", "alone", kinds=(ObjectClass.PUBLIC_KEY,))
    assert _refused(tokens, "token=mine;object=alone") == "TOKEN_KEY"


def test_a_module_that_is_none(tokens: SoftTokens, tmp_path: Path) -> None:
    """A library that is missing, or is no PKCS#11 module, is unsupported and named."""
    (tmp_path / "text.so").write_text("no library")
    for path in ("/nonexistent/module.so", str(tmp_path / "text.so")):
        with pytest.raises(UnsupportedError) as refusal:
            TokenKey.find(parse_pkcs11_uri(f"pkcs11:token=mine?module-path={path}"), pin=lambda _: PIN)
        assert (refusal.value.code, refusal.value.exit_status) == ("TOKEN_MODULE", 20)
        assert path in str(refusal.value)


def test_the_extra_that_is_missing_is_named(tokens: SoftTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the refusal says what to install."""
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(UnsupportedError) as refusal:
        _find(tokens, "token=mine;object=p256")
    assert refusal.value.code == "EXTRA_MISSING"
    assert "twocvm[pkcs11]" in str(refusal.value)


@pytest.mark.parametrize("wrong", ["0000", "", "x" * 300])
def test_a_wrong_pin_is_refused_and_not_shown(tokens: SoftTokens, wrong: str) -> None:
    """A wrong PIN has a code of its own, is in no message, and the right one works afterwards."""
    uri = parse_pkcs11_uri(tokens.uri("token=mine;object=p256", pin=False))
    with pytest.raises(ReleaseError) as refusal:
        TokenKey.find(uri, pin=lambda _: wrong)
    assert (refusal.value.code, refusal.value.exit_status) == ("TOKEN_PIN", 41)
    assert not wrong or wrong not in str(refusal.value)
    asked: list[str] = []
    TokenKey.find(uri, pin=lambda name: asked.append(name) or PIN)  # type: ignore[func-returns-value]
    assert asked == ["mine"]


def test_nobody_to_ask_for_the_pin(tokens: SoftTokens) -> None:
    """Without a file and without a person there is no PIN."""
    with pytest.raises(ReleaseError) as refusal:
        TokenKey.find(parse_pkcs11_uri(tokens.uri("token=mine;object=p256", pin=False)), pin=None)
    assert refusal.value.code == "TOKEN_PIN"


def test_a_pin_file_is_this_users_alone(tokens: SoftTokens, tmp_path: Path) -> None:
    """A PIN file that others may read, that is a link, or that is none, is not used."""

    def code(path: Path) -> str:
        uri = tokens.uri("token=mine;object=p256", pin=False) + f"&pin-source=file:{path}"
        with pytest.raises(ReleaseError) as refusal:
            TokenKey.find(parse_pkcs11_uri(uri), pin=None)
        return refusal.value.code

    exposed, link, binary = tmp_path / "exposed", tmp_path / "link", tmp_path / "binary"
    exposed.write_text(PIN)
    exposed.chmod(0o640)
    link.symlink_to(tokens.pin_file)
    binary.write_bytes(b"\xff\xfe")
    binary.chmod(0o600)
    assert code(exposed) == "IDENTITY_EXPOSED"
    assert code(link) == "IDENTITY_UNREADABLE"
    assert code(binary) == "TOKEN_PIN"
    assert code(tmp_path / "none") == "TOKEN_PIN"
    assert code(tmp_path / "nowhere" / "none") == "TOKEN_PIN"


def test_another_key_under_the_same_name_signs_nothing(tokens: SoftTokens, tmp_path: Path) -> None:
    """A token that was exchanged since the identity was made gives an error, and no statement."""
    for kind in KINDS:
        tokens.make_key("mine", f"swapped-{kind}", kind=kind)
        key = _find(tokens, f"token=mine;object=swapped-{kind}")
        tokens.remove("mine", f"swapped-{kind}", kinds=(ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY))
        tokens.make_key("mine", f"swapped-{kind}", kind=kind)
        with pytest.raises(SignatureError) as refusal:
            key.sign(b"data")
        assert (refusal.value.code, refusal.value.exit_status) == ("TOKEN_SIGNATURE", 10)


def test_a_token_that_cannot_sign_says_so(tokens: SoftTokens) -> None:
    """A key of another kind than the identity knows fails with the token's own reason."""
    key = replace(_find(tokens, "token=mine;object=p256"), uri=parse_pkcs11_uri(tokens.uri("token=mine;object=rsa")))
    with pytest.raises(ReleaseError) as refusal:
        key.sign(b"data")
    assert (refusal.value.code, refusal.value.exit_status) == ("TOKEN_FAILED", 40)


def test_a_key_that_wants_the_pin_each_time_gets_it(tokens: SoftTokens) -> None:
    """Smart cards have keys that ask again for each signature (CKA_ALWAYS_AUTHENTICATE)."""
    tokens.make_key("mine", "careful", kind="p256", always_authenticate=True)
    key = _find(tokens, "token=mine;object=careful")
    for _ in range(2):
        verify(key.public_key(), key.sign(b"data"), b"data")


@pytest.mark.parametrize("kind", KINDS)
def test_the_forms_in_which_tokens_write_a_point(tokens: SoftTokens, kind: str) -> None:
    """The point bare, in an OCTET STRING and in a BIT STRING is one key; anything else is none."""
    key = _find(tokens, f"token=mine;object={kind}").public
    der = spki_der(key)
    size = {"p256": 65, "p384": 97, "ed25519": 32}[kind]
    point, parameters = der[-size:], {"p256": der[13:23], "p384": der[13:20], "ed25519": der[4:9]}[kind]
    for written in (point, bytes([4, size]) + point, bytes([3, size + 1, 0]) + point):
        assert spki_der(decoded_point(parameters, written)) == der
    for wrong in (b"", point[1:], point + b"\0", bytes([5, size]) + point, bytes([4, size]) + point + b"\0"):
        with pytest.raises(ValueError, match="point"):
            decoded_point(parameters, wrong)
    with pytest.raises(KeyError):
        decoded_point(b"\x06\x05\x2b\x81\x04\x00\x23", point)
    if kind == "ed25519":
        assert spki_der(decoded_point(b"\x13\x0cedwards25519", point)) == der
        with pytest.raises(ValueError, match="small order"):
            decoded_point(parameters, bytes(32))


# Identities.


@pytest.mark.parametrize("kind", KINDS)
def test_an_identity_is_loaded_without_its_token(tokens: SoftTokens, tmp_path: Path, kind: str) -> None:
    """Who one is can be said without token and PIN; the file says where the key is, and nothing of the PIN."""
    made = Identity.new(tmp_path / "me", "hospital-a", consent=_find(tokens, f"token=mine;object={kind}"))
    assert not (tmp_path / "me" / CONSENT_KEY).exists()
    written = (tmp_path / "me" / CONSENT_ELSEWHERE).read_bytes()
    assert PIN.encode() not in written
    with soft_tokens(tmp_path / "empty"):
        loaded = Identity.load(tmp_path / "me")
        assert loaded.entry() == made.entry()
        with pytest.raises(ReleaseError) as refusal:
            loaded.consent_key.sign(b"data")  # type: ignore[call-arg]
        assert refusal.value.code == "TOKEN_MISSING"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda file: file.with_name(CONSENT_KEY).write_text("another"), "MALFORMED_IDENTITY"),
        (lambda file: file.write_bytes(b'{"uri":"pkcs11:"}'), "MALFORMED_IDENTITY"),
        (lambda file: file.write_bytes(file.read_bytes().replace(b'"key":"', b'"key":"AAAA')), "MALFORMED_IDENTITY"),
        (lambda file: file.write_bytes(file.read_bytes().replace(b"pkcs11:", b"pkcs12:")), "MALFORMED_PKCS11_URI"),
        (lambda file: file.chmod(0o644), "IDENTITY_EXPOSED"),
        (lambda file: file.unlink(), "IDENTITY_UNREADABLE"),
    ],
)
def test_a_damaged_identity_is_refused(tokens: SoftTokens, tmp_path: Path, damage, code: str) -> None:
    """The file that says where the key is counts like a key: it chooses which library is loaded."""
    Identity.new(tmp_path / "me", "hospital-a", consent=_find(tokens, "token=mine;object=p256"))
    damage(tmp_path / "me" / CONSENT_ELSEWHERE)
    with pytest.raises((MalformedError, ReleaseError)) as refusal:
        Identity.load(tmp_path / "me")
    assert refusal.value.code == code


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_session_with_the_key_in_a_token(tokens: SoftTokens, tmp_path: Path, kind: str) -> None:
    """Consent, go and withdrawal come out of the token, and guest and participants accept them."""
    world = World()
    theirs = world.parties["hospital-a"]
    world.parties["hospital-a"] = replace(theirs, consent_key=_find(tokens, f"token=mine;object={kind}"))
    with LiveGuest(world) as guest:
        everybody = sides(guest, tmp_path)
        assert isinstance(everybody["hospital-a"].identity.consent_key, TokenKey)
        everybody["hospital-a"].lock()
        with everybody["hospital-a"].connect() as session:
            session.join(everybody["hospital-a"].files)
            assert sorted(session.log().goes) == ["hospital-a"]
            session.withdraw()
        guest.wait_for("withdrawn", "wiped")


def test_the_commands(tokens: SoftTokens, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`identity new --consent-token`, `identity show` and `manifest sign` do it all from a shell."""
    folder, uri = tmp_path / "me", tokens.uri("token=mine;object=p384")
    assert run(["identity", "new", str(folder), "--name", "hospital-a", "--consent-token", uri, "-o", "json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["consent"]["spki_sha256"] == Identity.load(folder).consent_spki_sha256.hex()
    world = World(edit=lambda document: document["participants"].__setitem__(0, entry))
    (tmp_path / "manifest.json").write_bytes(world.raw)
    words = ["manifest", "sign", str(tmp_path / "manifest.json"), "--identity", str(folder), "--out"]
    assert run([*words, str(tmp_path / "consent.json")]) == 0
    statement = parse_statement_file(Consent, (tmp_path / "consent.json").read_bytes())
    assert verify_consent(statement, world.manifest).participant == "hospital-a"


@pytest.mark.parametrize(
    ("uri", "status", "code"),
    [
        ("pkcs11:token=mine;object=p256?module-path=/nonexistent.so", 20, "TOKEN_MODULE"),
        (f"pkcs11:token=mine;object=p256?module-path={MODULE}", 41, "TOKEN_PIN"),
        (f"pkcs11:token=mine;object=p256?module-path={MODULE}&pin-value={PIN}", 30, "MALFORMED_PKCS11_URI"),
    ],
)
def test_the_commands_refusals(
    tokens: SoftTokens, tmp_path: Path, capsys: pytest.CaptureFixture[str], uri: str, status: int, code: str
) -> None:
    """A refusal is one line with its code; a PIN on the command line is refused and not repeated; nothing is made."""
    assert run(["identity", "new", str(tmp_path / "me"), "--name", "a", "--consent-token", uri]) == status
    shown = capsys.readouterr()
    assert shown.err.startswith(code)
    assert PIN not in shown.err + shown.out
    assert not (tmp_path / "me").exists()


def test_a_person_is_asked_for_the_pin(tokens: SoftTokens, tmp_path: Path) -> None:
    """At a terminal the PIN is asked for, and does not appear on it."""
    master, slave = os.openpty()
    words = ["identity", "new", str(tmp_path / "me"), "--name", "a", "--consent-token"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from twocvm_guest.main import main; main()",
            *words,
            tokens.uri("token=mine;object=p256", pin=False),
        ],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    shown = b""

    def read_until(wanted: bytes) -> None:
        nonlocal shown
        while wanted not in shown and select.select([master], [], [], 20)[0]:
            shown += os.read(master, 1024)

    # The space is written once the terminal shows nothing of what is typed.
    read_until(b"PIN of token 'mine': ")
    os.write(master, PIN.encode() + b"\n")
    read_until(b"consent = ")
    assert process.wait(20) == 0
    os.close(master)
    os.close(slave)
    assert PIN.encode() not in shown
    assert Identity.load(tmp_path / "me").name == "a"
