"""PKCS#11 URIs: what is taken, and that everything else is refused without being repeated."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_sdk.pkcs11uri import MAX_URI_CHARACTERS, Pkcs11Uri, parse_pkcs11_uri
from twocvm_verifier.errors import MalformedError

MODULE = "?module-path=/m.so"


def test_all_that_a_uri_can_say() -> None:
    """Every attribute is read, decoded, and in its place."""
    text = (
        "pkcs11:token=My%20token;manufacturer=a;serial=0%31;model=b;object=c%3Bd;id=%00%ff;type=private"
        "?module-path=/usr/lib/x.so&pin-source=file:/run/pin"
    )
    assert parse_pkcs11_uri(text) == Pkcs11Uri(
        text=text,
        module_path=Path("/usr/lib/x.so"),
        token={"token": "My token", "manufacturer": "a", "serial": "01", "model": "b"},
        object="c;d",
        id=b"\x00\xff",
        pin_file=Path("/run/pin"),
    )


def test_what_is_not_said_is_not_made_up() -> None:
    """Without attributes nothing is looked for but one key in one token; the PIN is asked for."""
    uri = parse_pkcs11_uri("pkcs11:" + MODULE)
    assert (dict(uri.token), uri.object, uri.id, uri.pin_file) == ({}, None, None, None)


def test_a_pin_file_in_its_longer_form() -> None:
    """`file:///path` is `file:/path` (RFC 8089)."""
    uri = parse_pkcs11_uri("pkcs11:" + MODULE + "&pin-source=file:///run/my%20pin")
    assert uri.pin_file == Path("/run/my pin")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PKCS11:token=a" + MODULE,
        "pkcs12:token=a" + MODULE,
        "pkcs11:token=a",
        "pkcs11:token=a?module-path=m.so",
        "pkcs11:token=a?module-path=/m%00.so",
        "pkcs11:token=a?module-path=/m.so&module-path=/n.so",
        "pkcs11:token=a;token=b" + MODULE,
        "pkcs11:token" + MODULE,
        "pkcs11:;" + MODULE,
        "pkcs11:token=a;" + MODULE,
        "pkcs11:slot-id=1" + MODULE,
        "pkcs11:vendor=1" + MODULE,
        "pkcs11:type=public" + MODULE,
        "pkcs11:token=a b" + MODULE,
        "pkcs11:token=a%2" + MODULE,
        "pkcs11:token=%ff" + MODULE,
        "pkcs11:object=a/b" + MODULE,
        "pkcs11:token=a" + MODULE + "&module-name=softhsm2",
        "pkcs11:token=a" + MODULE + "&pin-source=/run/pin",
        "pkcs11:token=a" + MODULE + "&pin-source=|/bin/cat",
        "pkcs11:token=a" + MODULE + "&pin-source=file:run/pin",
        "pkcs11:token=a" + MODULE + "&pin-source=file://host/run/pin#" ,
        "pkcs11:token=a" + MODULE + "&pin-source=file:/a&pin-source=file:/b",
        "pkcs11:token=a" + MODULE + "&pin-value=1234",
        "pkcs11:pin-value=1234" + MODULE,
        "pkcs11:token=" + "a" * MAX_URI_CHARACTERS + MODULE,
    ],
)  # fmt: skip
def test_what_is_no_uri_of_a_key_is_refused(text: str) -> None:
    """Anything that is not understood in full is refused: dropping a part would find more than was meant."""
    with pytest.raises(MalformedError) as refusal:
        parse_pkcs11_uri(text)
    assert refusal.value.code == "MALFORMED_PKCS11_URI"


@given(st.text(max_size=60))
def test_any_text_is_a_uri_or_malformed(text: str) -> None:
    """The parser is total."""
    for whole in (text, "pkcs11:" + text + MODULE, "pkcs11:token=a" + MODULE + "&" + text):
        try:
            assert parse_pkcs11_uri(whole).text == whole
        except MalformedError:
            continue


def test_a_pin_is_not_repeated() -> None:
    """The refusal of a PIN in a URI does not print it."""
    with pytest.raises(MalformedError) as refusal:
        parse_pkcs11_uri("pkcs11:token=a" + MODULE + "&pin-value=9876")
    assert "9876" not in str(refusal.value)
