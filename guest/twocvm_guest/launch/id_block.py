"""The identity block: which guest the chip may launch, signed by its publisher, and put into every report.

With one, the chip refuses to launch anything else, and reports carry FAMILY_ID, IMAGE_ID, GUEST_SVN, and the digests of
the key that signed the block and of the author who vouches for that key. So an image can be updated without a new
reference value for each version: a policy names the keys, and the lowest GUEST_SVN that it takes.

A block is of one MEASUREMENT, so of one number of vCPUs and one type of CPU.

Spec: SNP ABI 56860 r1.58, SNP_LAUNCH_FINISH and "Digital signatures"; docs/spec/launch.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha384
from typing import TYPE_CHECKING, Final

# The commands' help names constants of this module, and must not wait for a library.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

ID_BLOCK_BYTES: Final = 96
ID_AUTH_BYTES: Final = 4096
MEASUREMENT_BYTES: Final = 48
ID_BYTES: Final = 16
MAX_GUEST_SVN: Final = (1 << 32) - 1
# GUEST_POLICY: SMT allowed, and the bit that must be one.
DEFAULT_POLICY: Final = 1 << 17 | 1 << 16

_VERSION: Final = 1
_ECDSA_P384_SHA384: Final = 1
_P384: Final = 2
_MUST_BE_ONE: Final = 1 << 17
_MIGRATE_MA: Final = 1 << 18
_DEBUG: Final = 1 << 19
_POLICY_BITS: Final = 26
_BLOCK: Final = struct.Struct("<48s16s16sIIQ")
# The layout of keys and signatures: each number in 72 bytes, little endian, then zeros.
_KEY: Final = struct.Struct("<I72s72s880x")
_SIGNATURE: Final = struct.Struct("<72s72s368x")
_AUTH: Final = struct.Struct("<II56x512s1028s60x512s1028s892x")
_NUMBER_BYTES: Final = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class IdBlock:
    """What the chip compares a launch with.

    Attributes:
        measurement: MEASUREMENT that the launch must have (48 bytes).
        guest_svn: Security version, 0 to 2^32 - 1: larger for whatever mends a weakness.
        policy: GUEST_POLICY that the launch must have (64 bits).
        family_id: FAMILY_ID (16 bytes), the publisher's own name for its images.
        image_id: IMAGE_ID (16 bytes), its name for this one.

    Raises:
        ValueError: A field is too short, too long or too large, or the policy allows debugging or migration.
    """

    measurement: bytes
    guest_svn: int
    policy: int = DEFAULT_POLICY
    family_id: bytes = bytes(ID_BYTES)
    image_id: bytes = bytes(ID_BYTES)

    def __post_init__(self) -> None:
        for name, width in (("measurement", MEASUREMENT_BYTES), ("family_id", ID_BYTES), ("image_id", ID_BYTES)):
            if len(getattr(self, name)) != width:
                raise ValueError(f"{name}: got {len(getattr(self, name))} bytes, want {width}")
        if not 0 <= self.guest_svn <= MAX_GUEST_SVN:
            raise ValueError(f"guest_svn: got {self.guest_svn}, want 0 to {MAX_GUEST_SVN}")
        require_policy(self.policy)

    def to_bytes(self) -> bytes:
        """Return the block (96 bytes)."""
        return _BLOCK.pack(self.measurement, self.family_id, self.image_id, _VERSION, self.guest_svn, self.policy)


def require_policy(policy: int) -> None:
    """Refuse a GUEST_POLICY that no guest is launched with.

    Raises:
        ValueError: It has unknown bits or lacks the fixed one, or it allows debugging or migration.
    """
    if not 0 <= policy < 1 << _POLICY_BITS or not policy & _MUST_BE_ONE:
        raise ValueError(f"policy: got {policy:#x}, want bit 17 and none above 25")
    if policy & (_DEBUG | _MIGRATE_MA):
        raise ValueError(f"policy: got {policy:#x}, want neither debugging (bit 19) nor migration (bit 18)")


def parse_id_block(raw: bytes) -> IdBlock:
    """Return a block from its bytes.

    Args:
        raw: As `IdBlock.to_bytes` (96 bytes).

    Raises:
        ValueError: They are no block, or one that allows debugging or migration.
    """
    if len(raw) != ID_BLOCK_BYTES:
        raise ValueError(f"identity block: got {len(raw)} bytes, want {ID_BLOCK_BYTES}")
    measurement, family_id, image_id, version, guest_svn, policy = _BLOCK.unpack(raw)
    if version != _VERSION:
        raise ValueError(f"identity block: got version {version}, want {_VERSION}")
    return IdBlock(measurement=measurement, guest_svn=guest_svn, policy=policy, family_id=family_id, image_id=image_id)


def id_auth(block: IdBlock, *, id_key: ec.EllipticCurvePrivateKey, author_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the authentication block (4096 bytes) that goes with `block`.

    Args:
        block: What is signed.
        id_key: Signs the block (P-384).
        author_key: Signs the id key (P-384); a key that is kept away from where images are built.

    Raises:
        ValueError: A key is not on P-384, or both are the same.
    """
    signer = public_key(id_key.public_key())
    author = public_key(author_key.public_key())
    if signer == author:
        raise ValueError("id key and author key are the same, want two")
    signatures = (_sign(id_key, block.to_bytes()), _sign(author_key, signer))
    return _AUTH.pack(_ECDSA_P384_SHA384, _ECDSA_P384_SHA384, signatures[0], signer, signatures[1], author)


def public_key(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a key as the chip reads it (1028 bytes).

    Raises:
        ValueError: It is not on P-384.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(key.curve, ec.SECP384R1):
        raise ValueError(f"key: on {key.curve.name}, want P-384")
    numbers = key.public_numbers()
    return _KEY.pack(_P384, *(value.to_bytes(_NUMBER_BYTES, "little") for value in (numbers.x, numbers.y)))


def key_digest(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return what reports say of a key: ID_KEY_DIGEST or AUTHOR_KEY_DIGEST (48 bytes).

    Raises:
        ValueError: It is not on P-384.
    """
    return sha384(public_key(key)).digest()


def _sign(key: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA384())))
    return _SIGNATURE.pack(r.to_bytes(_NUMBER_BYTES, "little"), s.to_bytes(_NUMBER_BYTES, "little"))
