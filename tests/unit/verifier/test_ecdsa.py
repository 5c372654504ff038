"""ECDSA signatures with one spelling."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from twocvm_verifier import ecdsa

KEYS = {"P-256": ec.generate_private_key(ec.SECP256R1()), "P-384": ec.generate_private_key(ec.SECP384R1())}
ORDERS = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-384": 2**384 - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D,
}


@pytest.mark.parametrize("curve", KEYS)
def test_a_signature_is_verified_by_us_and_by_the_library(curve: str) -> None:
    """A signature has the curve's fixed width and the low s, and is one of the same data for the library too."""
    key = KEYS[curve]
    width = key.key_size // 8
    for _ in range(8):
        signature = ecdsa.sign(key, b"data")
        ecdsa.verify(key.public_key(), signature, b"data")
        r, s = int.from_bytes(signature[:width], "big"), int.from_bytes(signature[width:], "big")
        assert len(signature) == 2 * width
        assert s <= ORDERS[curve] // 2
        digest = hashes.SHA256() if curve == "P-256" else hashes.SHA384()
        key.public_key().verify(encode_dss_signature(r, s), b"data", ec.ECDSA(digest))


@pytest.mark.parametrize("curve", KEYS)
def test_the_high_s_is_refused(curve: str) -> None:
    """The other signature of the same data, which mathematics accepts, is refused."""
    key = KEYS[curve]
    width = key.key_size // 8
    signature = ecdsa.sign(key, b"data")
    high = ORDERS[curve] - int.from_bytes(signature[width:], "big")
    with pytest.raises(InvalidSignature):
        ecdsa.verify(key.public_key(), signature[:width] + high.to_bytes(width, "big"), b"data")


@pytest.mark.parametrize("curve", KEYS)
def test_other_data_and_other_keys_are_refused(curve: str) -> None:
    """A signature is of its data and of its key alone."""
    key = KEYS[curve]
    signature = ecdsa.sign(key, b"data")
    with pytest.raises(InvalidSignature):
        ecdsa.verify(key.public_key(), signature, b"Data")
    with pytest.raises(InvalidSignature):
        ecdsa.verify(ec.generate_private_key(key.curve).public_key(), signature, b"data")


@given(st.binary(max_size=130), st.sampled_from(sorted(KEYS)))
def test_any_other_bytes_are_no_signature(signature: bytes, curve: str) -> None:
    """Bytes of whatever length and value are refused in one way."""
    with pytest.raises(InvalidSignature):
        ecdsa.verify(KEYS[curve].public_key(), signature, b"data")


def test_no_other_curve_is_used() -> None:
    """A key on another curve signs and verifies nothing here."""
    key = ec.generate_private_key(ec.SECP521R1())
    with pytest.raises(ValueError, match="curve"):
        ecdsa.sign(key, b"data")
    with pytest.raises(ValueError, match="curve"):
        ecdsa.verify(key.public_key(), bytes(132), b"data")


@pytest.mark.parametrize("curve", KEYS)
@pytest.mark.parametrize("high", [False, True])
def test_a_key_elsewhere_signs_in_the_same_spelling(curve: str, *, high: bool) -> None:
    """Whichever s a key elsewhere gives for a digest, the low one comes out, and it verifies."""
    key = KEYS[curve]
    width = key.key_size // 8
    algorithm = hashes.SHA256() if curve == "P-256" else hashes.SHA384()

    def sign_digest(digest: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(algorithm))))
        if high != (s > ORDERS[curve] // 2):
            s = ORDERS[curve] - s
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")

    signature = ecdsa.sign_with(key.curve, b"data", sign_digest=sign_digest)
    ecdsa.verify(key.public_key(), signature, b"data")


@pytest.mark.parametrize("wrong", [b"", bytes(63), bytes(65), bytes(96)])
def test_a_key_elsewhere_that_answers_something_else(wrong: bytes) -> None:
    """What has another length is no signature; what has the right one and is none does not verify."""
    key = KEYS["P-256"]
    with pytest.raises(InvalidSignature):
        ecdsa.sign_with(key.curve, b"data", sign_digest=lambda _: wrong)
    for nonsense in (bytes(64), b"\xff" * 64):
        signature = ecdsa.sign_with(key.curve, b"data", sign_digest=lambda _, given=nonsense: given)
        with pytest.raises(InvalidSignature):
            ecdsa.verify(key.public_key(), signature, b"data")
    with pytest.raises(ValueError, match="curve"):
        ecdsa.sign_with(ec.SECP521R1(), b"data", sign_digest=lambda _: b"")
