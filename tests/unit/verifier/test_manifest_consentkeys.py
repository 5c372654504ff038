"""Consent keys: three kinds, one encoding each, none under which anyone can sign."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.support.manifests import CONSENT_KINDS, party

from twocvm_verifier.manifest.consentkeys import (
    MAX_SPKI_BYTES,
    ConsentPrivateKey,
    parse_spki,
    sign,
    spki_der,
    verify,
)

ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


@pytest.fixture(params=CONSENT_KINDS)
def key(request: pytest.FixtureRequest) -> ConsentPrivateKey:
    """One key of each kind."""
    return party("hospital-a", request.param).consent_key


def test_sign_and_verify(key: ConsentPrivateKey) -> None:
    """What a key signs verifies under it, and nothing else does."""
    der = spki_der(key)
    assert len(der) <= MAX_SPKI_BYTES
    signature = sign(key, b"data")
    verify(parse_spki(der), signature, b"data")
    with pytest.raises(InvalidSignature):
        verify(parse_spki(der), signature, b"other")
    assert len(signature) == {44: 64, 91: 64, 120: 96}[len(der)]


def test_public_and_private_keys_have_one_name(key: ConsentPrivateKey) -> None:
    """The SPKI of a key is that of its public half."""
    assert spki_der(key) == spki_der(key.public_key())


def test_one_encoding(key: ConsentPrivateKey) -> None:
    """Bytes after the key, and every single changed byte, are another key or none."""
    der = spki_der(key)
    with pytest.raises(ValueError, match=r".+"):
        parse_spki(der + b"\x00")
    for index in range(len(der)):
        changed = bytearray(der)
        changed[index] ^= 1
        try:
            assert spki_der(parse_spki(bytes(changed))) == bytes(changed)
        except ValueError:
            continue


def test_compressed_points_are_refused() -> None:
    """A compressed point is a second encoding of the same key, and so a second name."""
    public = ec.derive_private_key(5, ec.SECP256R1()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    der = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    with pytest.raises(ValueError, match="DER"):
        parse_spki(der)


@pytest.mark.parametrize("kind", ["rsa", "p521", "x25519", "ed448", "k256"])
def test_other_kinds_are_refused(kind: str) -> None:
    """Only Ed25519, P-256 and P-384 sign statements."""
    made = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048).public_key(),
        "p521": lambda: ec.derive_private_key(5, ec.SECP521R1()).public_key(),
        "x25519": lambda: x25519.X25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
        "ed448": lambda: ed448.Ed448PrivateKey.from_private_bytes(bytes(57)).public_key(),
        "k256": lambda: ec.derive_private_key(5, ec.SECP256K1()).public_key(),
    }[kind]()
    with pytest.raises(ValueError, match=r"want at most|not an Ed25519"):
        parse_spki(made.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def test_a_key_on_another_curve_signs_nothing() -> None:
    """To sign with a key that no manifest can name is a mistake of the caller."""
    with pytest.raises(ValueError, match="curve"):
        sign(ec.derive_private_key(5, ec.SECP521R1()), b"data")


@given(st.binary(max_size=130))
def test_total(der: bytes) -> None:
    """Any bytes give the key that they encode, or ValueError."""
    try:
        assert spki_der(parse_spki(der)) == der
    except ValueError:
        return


def _add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Add two points of edwards25519 (RFC 8032, 5.1.4), slowly and plainly."""
    product = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def _small_order_points() -> set[tuple[int, int]]:
    """Return the eight points whose order divides 8, as multiples of one of order 8."""
    y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x_squared, (P + 3) // 8, P)
    x = x if x * x % P == x_squared else x * pow(2, (P - 1) // 4, P) % P
    points, point = set(), (0, 1)
    for _ in range(8):
        points.add(point)
        point = _add(point, (x, y))
    assert point == (0, 1)
    return points


def test_keys_of_small_order_are_refused() -> None:
    """Under a key of small order some signature fits any message, so none of the eight is a consent key."""
    points = _small_order_points()
    assert len(points) == 8
    encodings = {(y + sign_bit * 2**255).to_bytes(32, "little") for _, y in points for sign_bit in (0, 1)}
    # y that is not reduced: p and p + 1 are 0 and 1 again.
    encodings |= {(P + extra).to_bytes(32, "little") for extra in (0, 1)}
    for encoding in encodings:
        with pytest.raises(ValueError, match="small order"):
            parse_spki(ED25519_PREFIX + encoding)


def test_a_key_elsewhere_signs_like_one_here(key: ConsentPrivateKey) -> None:
    """Whatever has a public key and signs in the one spelling can sign statements."""

    class Elsewhere:
        public_key = staticmethod(key.public_key)
        sign = staticmethod(lambda data: sign(key, data))

    assert spki_der(Elsewhere()) == spki_der(key)
    verify(parse_spki(spki_der(Elsewhere())), sign(Elsewhere(), b"data"), b"data")
