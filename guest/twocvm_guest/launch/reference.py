"""The document that a publisher puts beside an image: what it is made of, and every MEASUREMENT it can have.

Anybody can make it again from the same files and compare, byte for byte. It is no proof of anything by itself: a reader
trusts it as far as they trust who gave it to them, or as they have built the image themselves.

Spec: docs/spec/launch.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

from twocvm_verifier import strictjson
from twocvm_verifier.measure import CPU_TYPES, LaunchFiles, launch_of
from twocvm_verifier.strictjson import Json

SCHEMA: Final = "twocvm/launch-reference/v1"
# QEMU's names of the chips that evidence is judged for; Bergamo and Siena are launched as Genoa.
PRODUCTS: Final[Mapping[str, str]] = MappingProxyType(
    {"Milan": "EPYC-Milan", "Genoa": "EPYC-Genoa", "Turin": "EPYC-Turin"}
)
# SEV_FEATURES of a guest that QEMU launches without further options: SNP alone.
GUEST_FEATURES: Final = 0x1
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is said of an image beside its files.

    Attributes:
        name: The publisher's name for it.
        version: Likewise.
        guest_svn: GUEST_SVN of its identity blocks; None where it is launched without.
        id_key_digest: ID_KEY_DIGEST (48 bytes), or empty where it is launched without.
        author_key_digest: AUTHOR_KEY_DIGEST (48 bytes), likewise.

    Raises:
        ValueError: Both keys are one, which no identity block is signed with.
    """

    name: str
    version: str
    guest_svn: int | None = None
    id_key_digest: bytes = b""
    author_key_digest: bytes = b""

    def __post_init__(self) -> None:
        if self.id_key_digest and self.id_key_digest == self.author_key_digest:
            raise ValueError("id key and author key are the same, want two")


def reference_document(files: LaunchFiles, published: Published, *, guest_features: int = GUEST_FEATURES) -> bytes:
    """Return the document: JSON in its canonical form (RFC 8785).

    Args:
        files: What the image is launched with; kernel and initial file system must be there.
        published: What else is said of it.
        guest_features: SEV_FEATURES.

    Raises:
        ValueError: No kernel or no initial file system: then nothing says what runs.
        MalformedError: The firmware is none that SNP can measure.
        OSError: A file cannot be read.
    """
    if files.kernel is None or files.initrd is None:
        raise ValueError("want a kernel and an initial file system: a measurement without says nothing of what runs")
    launches = {
        product: str(launch_of(files, cpu_signature=CPU_TYPES[cpu], guest_features=guest_features))
        for product, cpu in PRODUCTS.items()
    }
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "name": published.name,
        "version": published.version,
        "vmm": files.vmm,
        "guest_features": f"{guest_features:#x}",
        "append": files.append,
        "files": {"firmware": _file(files.ovmf), "initrd": _file(files.initrd), "kernel": _file(files.kernel)},
        "launches": launches,
    }
    if published.guest_svn is not None:
        document["identity"] = {
            "guest_svn": published.guest_svn,
            "id_key_digest": published.id_key_digest.hex(),
            "author_key_digest": published.author_key_digest.hex(),
        }
    return strictjson.canonical(document)


def _file(path: Path) -> dict[str, Json]:
    digest, size = sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}
