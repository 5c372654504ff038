"""PKCS#11 URIs (RFC 7512): which module, which token, which key, and where its PIN lies.

Decides what may stand in one. `pkcs11:` and path attributes joined by `;`, then `?` and query attributes joined by `&`,
every value percent-encoded, no attribute twice. Closed world: an attribute that is not listed here is refused, for a
consumer that drops one would find more than was meant. A PIN in the URI (`pin-value`) is refused: command lines and
files are read by others. Nothing of a URI is repeated in an error, for the same reason.

>>> uri = parse_pkcs11_uri("pkcs11:token=mine;object=consent?module-path=/usr/lib/softhsm/libsofthsm2.so")
>>> uri.token["token"], uri.object, uri.pin_file
('mine', 'consent', None)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from twocvm_verifier.errors import MalformedError

MAX_URI_CHARACTERS: Final = 4096

_SCHEME: Final = "pkcs11:"
# RFC 7512, 2.3: pk11-path-res-avail and pk11-query-res-avail beside unreserved characters and percent-encoding.
_PATH_VALUE: Final = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*", re.ASCII)
_QUERY_VALUE: Final = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{2})*", re.ASCII)
_TOKEN: Final = frozenset({"token", "manufacturer", "serial", "model"})
_KEY: Final = frozenset({"object", "type", "id"})
_QUERY: Final = frozenset({"module-path", "pin-source"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """One private key in one token, as a person describes it.

    Attributes:
        text: As it was written.
        module_path: The shared library to load, absolute.
        token: What the token must be: `token` (its label), `manufacturer`, `serial`, `model`; those that were given.
        object: The key's label, if one was given.
        id: The key's CKA_ID, if one was given.
        pin_file: The file that holds the PIN; None where a person is asked.
    """

    text: str = field(repr=False)
    module_path: Path
    token: Mapping[str, str]
    object: str | None
    id: bytes | None
    pin_file: Path | None


def parse_pkcs11_uri(text: str) -> Pkcs11Uri:
    """Return what a URI says.

    Raises:
        MalformedError: It is none, or says something that is not taken.
    """
    if not text.startswith(_SCHEME) or len(text) > MAX_URI_CHARACTERS:
        raise _malformed("", f"want {_SCHEME} and at most {MAX_URI_CHARACTERS} characters")
    path, _, query = text.removeprefix(_SCHEME).partition("?")
    named = _attributes(path, separator=";", allowed=_TOKEN | _KEY, value=_PATH_VALUE)
    asked = _attributes(query, separator="&", allowed=_QUERY, value=_QUERY_VALUE)
    if named.get("type", b"private") != b"private":
        raise _malformed("type", "want private")
    if "module-path" not in asked:
        raise _malformed("module-path", "is missing: the absolute path of the token's shared library")
    return Pkcs11Uri(
        text=text,
        module_path=_absolute("module-path", asked["module-path"]),
        token=MappingProxyType({name: _text(name, named[name]) for name in sorted(_TOKEN & named.keys())}),
        object=_text("object", named["object"]) if "object" in named else None,
        id=named.get("id"),
        pin_file=_pin_file(asked["pin-source"]) if "pin-source" in asked else None,
    )


def _attributes(part: str, *, separator: str, allowed: frozenset[str], value: re.Pattern[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for word in part.split(separator) if part else ():
        name, equals, encoded = word.partition("=")
        if name == "pin-value":
            raise _malformed(name, "a PIN is never written into a URI; use pin-source=file:")
        if name not in allowed or not equals:
            raise _malformed("", f"want only {', '.join(sorted(allowed))} here, each with a value")
        if name in found:
            raise _malformed(name, "stands twice")
        if not value.fullmatch(encoded):
            raise _malformed(name, "has a character that must be percent-encoded")
        found[name] = unquote_to_bytes(encoded)
    return found


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(name, "is not UTF-8") from error


def _absolute(name: str, value: bytes) -> Path:
    path = _text(name, value)
    if not path.startswith("/") or "\0" in path:
        raise _malformed(name, "want an absolute path")
    return Path(path)


def _pin_file(value: bytes) -> Path:
    # RFC 8089: file:/path and file:///path. Commands and prompts that RFC 7512 allows here are not taken.
    rest = value.removeprefix(b"file:")
    if rest == value:
        raise _malformed("pin-source", "want file: and an absolute path")
    return _absolute("pin-source", rest.removeprefix(b"//"))


def _malformed(field_name: str, detail: str) -> MalformedError:
    return MalformedError("pkcs11 uri", field_name, detail)
