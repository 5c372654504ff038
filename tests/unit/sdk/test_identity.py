"""A participant's keys: made whole or not at all, and usable only while nobody else can reach them."""

import json
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from twocvm_sdk.identity import CERTIFICATE, PUBLIC, TLS_KEY, Identity
from twocvm_sdk.keyfiles import CONSENT_KEY
from twocvm_verifier.errors import MalformedError, ReleaseError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a fresh identity in it."""
    Identity.new(tmp_path / "me", "hospital-a")
    return tmp_path / "me"


def _refusal(folder: Path) -> str:
    with pytest.raises((ReleaseError, MalformedError)) as refused:
        Identity.load(folder)
    return refused.value.code


def test_what_is_written_is_what_is_loaded(folder: Path) -> None:
    """Loading gives the keys that were made, under the same hashes."""
    loaded = Identity.load(folder)
    assert loaded.name == "hospital-a"
    assert json.loads((folder / PUBLIC).read_text()) == loaded.entry()
    assert loaded.certificate.public_key() == loaded.tls_key.public_key()
    assert loaded.ledger_folder == folder / "ledger"


def test_only_the_owner_can_read_the_keys(folder: Path) -> None:
    """The folder has mode 0700 and the key files 0600, whatever the umask."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE((folder / name).stat().st_mode) for name in (TLS_KEY, CONSENT_KEY)] == [0o600, 0o600]


def test_the_certificate_is_no_authority_and_names_nobody(folder: Path) -> None:
    """The TLS certificate has CA:FALSE and does not carry the participant's name."""
    certificate = Identity.load(folder).certificate
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert "hospital" not in certificate.subject.rfc4514_string()


@pytest.mark.parametrize(("kind", "curve"), [("p256", SECP256R1), ("p384", SECP384R1)])
def test_consent_keys_of_other_kinds(tmp_path: Path, kind: str, curve: type) -> None:
    """A consent key may be on P-256 or P-384 instead of Ed25519."""
    Identity.new(tmp_path / "me", "a", consent=kind)  # type: ignore[arg-type]
    key = Identity.load(tmp_path / "me").consent_key
    assert isinstance(key, EllipticCurvePrivateKey)
    assert isinstance(key.curve, curve)


def test_ed25519_is_what_one_gets(folder: Path) -> None:
    """Without a word the consent key is Ed25519, and it is not the TLS key."""
    identity = Identity.load(folder)
    assert isinstance(identity.consent_key, Ed25519PrivateKey)
    assert identity.consent_spki_sha256 != identity.tls_spki_sha256


def test_secrets_do_not_show_in_a_repr(folder: Path) -> None:
    """A printed identity holds no key object."""
    assert "key" not in repr(Identity.load(folder))


@pytest.mark.parametrize("name", ["", "A", "../up", "a b", "a" * 64, "-a", "a\n", "external"])
def test_a_name_is_a_name_of_manifests(tmp_path: Path, name: str) -> None:
    """Nothing is made for a name that no manifest could have."""
    with pytest.raises(MalformedError) as refused:
        Identity.new(tmp_path / "me", name)
    assert refused.value.code == "MALFORMED_IDENTITY"
    assert list(tmp_path.iterdir()) == []


def test_keys_are_never_overwritten(folder: Path) -> None:
    """A second identity in the same place is refused and the first one stays."""
    before = Identity.load(folder).entry()
    with pytest.raises(ReleaseError) as refused:
        Identity.new(folder, "other")
    assert refused.value.code == "IDENTITY_EXISTS"
    assert Identity.load(folder).entry() == before
    assert [path.name for path in folder.parent.iterdir()] == ["me"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
@pytest.mark.parametrize("name", [TLS_KEY, CONSENT_KEY])
def test_a_key_file_that_others_reach_is_refused(folder: Path, name: str, mode: int) -> None:
    """One bit for group or world on a key file is enough to refuse the identity."""
    (folder / name).chmod(mode)
    assert _refusal(folder) == "IDENTITY_EXPOSED"


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_folder_that_others_enter_is_refused(folder: Path, mode: int) -> None:
    """One bit for group or world on the folder is enough to refuse the identity."""
    folder.chmod(mode)
    assert _refusal(folder) == "IDENTITY_EXPOSED"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_another_user_is_refused(folder: Path) -> None:
    """A key file that somebody else owns is refused even with mode 0600."""
    os.chown(folder / TLS_KEY, 12345, 12345)
    assert _refusal(folder) == "IDENTITY_EXPOSED"


@pytest.mark.parametrize("name", [TLS_KEY, CONSENT_KEY, CERTIFICATE, PUBLIC])
def test_a_link_in_the_place_of_a_file_is_refused(folder: Path, name: str) -> None:
    """No file of the identity may be a symbolic link, wherever it leads."""
    moved = folder / "elsewhere"
    (folder / name).rename(moved)
    (folder / name).symlink_to(moved)
    assert _refusal(folder) == "IDENTITY_UNREADABLE"


def test_a_link_in_the_place_of_the_folder_is_refused(folder: Path) -> None:
    """The folder itself may not be a symbolic link."""
    (folder.parent / "link").symlink_to(folder)
    assert _refusal(folder.parent / "link") == "IDENTITY_UNREADABLE"


def test_a_pipe_in_the_place_of_a_key_does_not_hang(folder: Path) -> None:
    """A named pipe instead of a key file is refused at once."""
    (folder / TLS_KEY).unlink()
    os.mkfifo(folder / TLS_KEY, 0o600)
    assert _refusal(folder) == "IDENTITY_UNREADABLE"


@pytest.mark.parametrize("name", [TLS_KEY, CONSENT_KEY, CERTIFICATE, PUBLIC])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    """An identity without one of its files is refused."""
    (folder / name).unlink()
    assert _refusal(folder) == "IDENTITY_UNREADABLE"


@pytest.mark.parametrize("name", [TLS_KEY, CONSENT_KEY, CERTIFICATE, PUBLIC])
@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_file_is_malformed(folder: Path, name: str, content: bytes) -> None:
    """Whatever stands in a file, the answer is a refusal and no other exception."""
    (folder / name).write_bytes(content)
    assert _refusal(folder) == "MALFORMED_IDENTITY"


def test_an_endless_file_is_not_read(folder: Path) -> None:
    """A key file larger than any key is refused."""
    (folder / TLS_KEY).write_bytes(bytes(20_000))
    assert _refusal(folder) == "IDENTITY_UNREADABLE"


def test_files_of_two_identities_do_not_mix(folder: Path) -> None:
    """Each file taken from another identity is noticed."""
    other = folder.parent / "other"
    Identity.new(other, "hospital-a")
    for name in (TLS_KEY, CONSENT_KEY, CERTIFICATE, PUBLIC):
        own = (folder / name).read_bytes()
        (folder / name).write_bytes((other / name).read_bytes())
        assert _refusal(folder) == "MALFORMED_IDENTITY"
        (folder / name).write_bytes(own)
    assert Identity.load(folder).name == "hospital-a"


def test_a_tls_key_is_on_p256(folder: Path) -> None:
    """An Ed25519 key in the place of the TLS key is refused."""
    (folder / TLS_KEY).write_bytes((folder / CONSENT_KEY).read_bytes())
    assert _refusal(folder) == "MALFORMED_IDENTITY"


def test_an_rsa_key_signs_nothing(folder: Path) -> None:
    """A consent key of a kind that no manifest knows is refused."""
    pem = generate_rsa(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / CONSENT_KEY).write_bytes(pem)
    assert _refusal(folder) == "MALFORMED_IDENTITY"


@pytest.mark.parametrize("public", ["[]", "{}", '{"name": 1}', '{"name": "B"}', '{"name": "hospital-a", "tls": []}'])
def test_the_public_file_is_an_entry_and_nothing_else(folder: Path, public: str) -> None:
    """`identity.json` must be exactly the manifest entry of the keys beside it."""
    (folder / PUBLIC).write_text(public)
    assert _refusal(folder) == "MALFORMED_IDENTITY"
