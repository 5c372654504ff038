"""A real PKCS#11 module with tokens in a folder: SoftHSM2, as Debian has it (`softhsm2`).

    pytestmark = needs_softhsm
    with soft_tokens(folder) as tokens:
        tokens.make_key("mine", "consent", kind="p256")
        uri = tokens.uri("token=mine;object=consent")

One process has one SoftHSM at a time, for its configuration is in the environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

PIN: Final = "4321-secret"
_MODULES: Final = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/lib64/softhsm/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
)
MODULE: Final = next((path for path in _MODULES if path.exists()), None)
_CURVES: Final = {"p256": "secp256r1", "p384": "secp384r1", "p521": "secp521r1", "ed25519": "1.3.101.112"}

needs_softhsm = pytest.mark.skipif(
    MODULE is None or shutil.which("softhsm2-util") is None, reason="needs SoftHSM2 (apt-get install softhsm2)"
)


class SoftTokens:
    """The tokens in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pin_file = folder / "pin"
        self.pin_file.write_text(PIN + "\n")
        self.pin_file.chmod(0o600)

    def make_token(self, label: str) -> None:
        """Make a token of that label."""
        words = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "87654321"]
        subprocess.run(words, check=True, capture_output=True)
        self.reload()

    def make_key(self, token: str, label: str, *, kind: str, **attributes: Any) -> None:
        """Make a key pair in a token; further attributes are those of the private key."""
        with self._session(token) as session:
            if kind == "rsa":
                session.generate_keypair(KeyType.RSA, 2048, store=True, label=label, id=label.encode())
                return
            edwards = kind == "ed25519"
            parameters = session.create_domain_parameters(
                KeyType.EC_EDWARDS if edwards else KeyType.EC,
                {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[kind])},
                local=True,
            )
            parameters.generate_keypair(
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else Mechanism.EC_KEY_PAIR_GEN,
                store=True,
                label=label,
                id=label.encode(),
                private_template={Attribute[name.upper()]: value for name, value in attributes.items()},
            )

    def remove(self, token: str, label: str, *, kinds: tuple[pkcs11.ObjectClass, ...]) -> None:
        """Remove keys from a token."""
        with self._session(token) as session:
            for found in list(session.get_objects({Attribute.LABEL: label})):
                if found.object_class in kinds:
                    found.destroy()

    def uri(self, path: str, *, pin: bool = True) -> str:
        """Return the URI of a key, with the module, and with the file that has the PIN."""
        return f"pkcs11:{path}?module-path={MODULE}" + (f"&pin-source=file:{self.pin_file}" if pin else "")

    @staticmethod
    def reload() -> None:
        """Have the module look at the folder again."""
        pkcs11.unload(str(MODULE))

    @staticmethod
    def _session(token: str) -> Any:
        return pkcs11.lib(str(MODULE)).get_token(token_label=token).open(rw=True, user_pin=PIN)


@contextmanager
def soft_tokens(folder: Path) -> Iterator[SoftTokens]:
    """Have this process and its children see the tokens in a folder, for the length of a `with`."""
    (folder / "tokens").mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    SoftTokens.reload()
    try:
        yield SoftTokens(folder)
    finally:
        SoftTokens.reload()
        os.environ.pop("SOFTHSM2_CONF")
        if before is not None:
            os.environ["SOFTHSM2_CONF"] = before
