"""Identity blocks are what the chip reads: by offset, by signature, and as another tool makes them."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from twocvm_guest.launch.id_block import (
    DEFAULT_POLICY,
    ID_AUTH_BYTES,
    ID_BLOCK_BYTES,
    IdBlock,
    id_auth,
    key_digest,
    parse_id_block,
    public_key,
)
from twocvm_guest.launch.keys import read_key, write_new_key

MEASUREMENT = bytes(range(48))
FAMILY, IMAGE = b"f" * 16, b"i" * 16


@pytest.fixture(scope="module")
def id_key() -> ec.EllipticCurvePrivateKey:
    """The key that signs blocks."""
    return ec.generate_private_key(ec.SECP384R1())


@pytest.fixture(scope="module")
def author_key() -> ec.EllipticCurvePrivateKey:
    """The key that vouches for the other one."""
    return ec.generate_private_key(ec.SECP384R1())


def block(**changes: object) -> IdBlock:
    """A block with everything in it."""
    given = {"measurement": MEASUREMENT, "guest_svn": 7, "family_id": FAMILY, "image_id": IMAGE} | changes
    return IdBlock(**given)  # type: ignore[arg-type]


def verify(key: bytes, signature: bytes, signed: bytes) -> None:
    """Verify as the chip does: with the key and the signature at their offsets, little endian."""
    assert int.from_bytes(key[:4], "little") == 2
    assert not any(key[148:])
    assert not any(signature[144:])
    x, y = (int.from_bytes(key[at : at + 72], "little") for at in (4, 76))
    r, s = (int.from_bytes(signature[at : at + 72], "little") for at in (0, 72))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
    public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))


def test_block_has_each_field_in_its_place() -> None:
    """96 bytes: measurement, family, image, version 1, GUEST_SVN and GUEST_POLICY."""
    raw = block().to_bytes()
    assert len(raw) == ID_BLOCK_BYTES == 96
    assert raw == MEASUREMENT + FAMILY + IMAGE + bytes((1, 0, 0, 0, 7, 0, 0, 0)) + (0x30000).to_bytes(8, "little")


def test_block_is_read_back() -> None:
    """What was written is read; another length, another version, or a policy that allows debugging is not."""
    raw = block().to_bytes()
    assert parse_id_block(raw) == block()
    for other in (raw[:-1], raw + bytes(1), raw[:80] + b"\x02" + raw[81:], raw[:90] + b"\x0b" + raw[91:]):
        with pytest.raises(ValueError, match="got"):
            parse_id_block(other)


def test_authentication_is_two_signatures(
    id_key: ec.EllipticCurvePrivateKey, author_key: ec.EllipticCurvePrivateKey
) -> None:
    """4096 bytes: the id key signs the block, the author's key signs the id key, everything else is zero."""
    raw = id_auth(block(), id_key=id_key, author_key=author_key)
    assert len(raw) == ID_AUTH_BYTES == 4096
    assert raw[:8] == bytes((1, 0, 0, 0, 1, 0, 0, 0))
    verify(raw[0x240:0x644], raw[0x40:0x240], block().to_bytes())
    verify(raw[0x880:0xC84], raw[0x680:0x880], raw[0x240:0x644])
    assert not any(raw[0x008:0x040] + raw[0x644:0x680] + raw[0xC84:])
    assert raw[0x240:0x644] == public_key(id_key.public_key())


def test_as_another_tool_makes_it(tmp_path: Path) -> None:
    """Block, keys and digests are those of the tool that also computes measurements."""
    theirs = pytest.importorskip("sevsnpmeasure.id_block", reason="needs the extra `measure`")
    keys = []
    for name in ("id", "author"):
        write_new_key(tmp_path / name)
        keys.append(read_key(tmp_path / name))
    said = theirs.snp_calc_id_block(MEASUREMENT, str(tmp_path / "id"), str(tmp_path / "author"))
    # In the order in which it says them: block, authentication, digest of the id key, of the author's.
    found = [base64.b64decode(each) for each in re.findall(r"[=:] ?([A-Za-z0-9+/]{64,}=*)", said)]
    ours = IdBlock(measurement=MEASUREMENT, guest_svn=0)
    assert found[0] == ours.to_bytes()
    mine = id_auth(ours, id_key=keys[0], author_key=keys[1])
    assert [(found[1][a:b]) for a, b in ((0, 0x40), (0x240, 0x680), (0x880, 0x1000))] == [
        mine[a:b] for a, b in ((0, 0x40), (0x240, 0x680), (0x880, 0x1000))
    ]
    assert found[2:] == [key_digest(key.public_key()) for key in keys]


@pytest.mark.parametrize(
    "change",
    [
        {"measurement": bytes(47)},
        {"family_id": bytes(17)},
        {"image_id": b""},
        {"guest_svn": -1},
        {"guest_svn": 1 << 32},
        {"policy": 0},
        {"policy": DEFAULT_POLICY | 1 << 19},
        {"policy": DEFAULT_POLICY | 1 << 18},
        {"policy": DEFAULT_POLICY | 1 << 26},
        {"policy": -1},
    ],
    ids=lambda change: "-".join(map(str, change)),
)
def test_block_that_no_chip_should_take_is_refused(change: dict[str, object]) -> None:
    """Fields of another size, numbers out of range, and policies that allow debugging or migration."""
    with pytest.raises(ValueError, match=next(iter(change))):
        block(**change)


def test_keys_are_two_and_on_p384(id_key: ec.EllipticCurvePrivateKey) -> None:
    """An author who is the signer vouches for nothing, and the chip knows no other curve."""
    with pytest.raises(ValueError, match="same"):
        id_auth(block(), id_key=id_key, author_key=id_key)
    with pytest.raises(ValueError, match="P-384"):
        id_auth(block(), id_key=id_key, author_key=ec.generate_private_key(ec.SECP256R1()))


def test_key_file_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new key is in a new file of mode 0600; one that others can read, or that is none, is not used."""
    path = tmp_path / "key"
    public = write_new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path).public_key() == public
    with pytest.raises(FileExistsError):
        write_new_key(path)
    path.chmod(0o640)
    with pytest.raises(ValueError, match="0600"):
        read_key(path)
    path.chmod(0o600)
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        with pytest.raises(ValueError, match="own"):
            read_key(path)
    other_curve = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(other_curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ValueError, match="P-384"):
        read_key(path)
    path.write_text("nothing")
    with pytest.raises(ValueError, match="PEM"):
        read_key(path)
