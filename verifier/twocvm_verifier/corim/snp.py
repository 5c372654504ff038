"""One reference triple of AMD's SEV-SNP profile, as the reference values of a policy.

What is named and not judged as it is named, is said in words: nothing is dropped in silence. Values are those that a
policy's document has (`docs/spec/appraisal.md`), so that one reader holds them all to their form.

Spec: docs/spec/corim.md, 3; draft-deeglaze-amd-sev-snp-corim-profile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS
from twocvm_verifier.snp.product import Product, product_of_cpuid
from twocvm_verifier.snp.tcb import layout
from twocvm_verifier.strictcbor import Tag, TaggedCbor
from twocvm_verifier.strictjson import Json

from .comid import Record
from .envelope import DOCUMENT
from .profiles import Profile

# RFC 9090: an OID's content; the draft's examples put the tag and length of DER before it.
_CLASSES: Final = {
    prefix + bytes.fromhex(arc): name
    for prefix in (b"", b"\x06\x09")
    for arc, name in (("2b060104019c780301", "chip"), ("2b060104019c780302", "csp"))
}
_OID_TAG, _BYTES_TAG, _EXACT_TAG, _LEAST_TAG = 111, 560, 552, 553
# draft-ietf-rats-corim, 5.1.4.1.4: members of a value.
_VERSION, _SVN, _DIGESTS, _RAW, _MASK, _INT = 0, 1, 2, 4, 5, 15
_VERSION_TEXT: Final = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)
_HARDWARE: Final = (Product.MILAN, Product.GENOA, Product.TURIN)
_MEASUREMENT: Final = 641
_GUEST_SVN: Final = 1
_NOBODY: Final[Json] = ["00" * 48]
_FAMILY, _MODEL = 648, 649
_CURRENT_VERSION, _COMMITTED_VERSION = 3330, 3936
_CHIP_ID_BYTES: Final = 64
_TURIN_ID_BYTES: Final = 8
# POLICY bit 17 is always one (SNP ABI 56860, 4.3); where it is not, the bytes stand in another order.
_ALWAYS_SET: Final = 1 << 17
_ABI_MASK: Final = 0xFFFF
_WORD: Final = (1 << 64) - 1

_TCBS: Final = {6: "current", 647: "reported", 3329: "committed", 3968: "launch"}
_DIGEST_FIELDS: Final = {
    _MEASUREMENT: ("measurements", 48),
    642: ("host_data", 32),
    643: ("id_key_digests", 48),
    644: ("author_key_digests", 48),
}
_RAW_FIELDS: Final = {3: ("family_ids", 16), 4: ("image_ids", 16), 645: ("report_ids", 32)}
_UNJUDGED: Final = {
    0: "the report's VERSION",
    640: "REPORT_DATA, which is of one piece of evidence",
    646: "REPORT_ID_MA",
    650: "the stepping",
}


class _Triple:
    """One triple on its way: values that were found, and what was left."""

    def __init__(self, record: Record, profile: Profile) -> None:
        self._record = record
        self._profile = profile
        self.values: dict[str, Json] = {}
        self._tcbs: dict[str, Json] = {}
        self._of_provider = False
        self.unread = list(record.unread)

    def read(self) -> None:
        self._environment()
        products = self._products()
        readers: Mapping[int, Callable[[int], None]] = {
            2: lambda mkey: self._bits(mkey, "guest_policy", GUEST_POLICY_BITS),
            7: lambda mkey: self._bits(mkey, "platform_info", PLATFORM_INFO_BITS),
            5: self._vmpl,
            3328: self._chip_id,
            **dict.fromkeys(_TCBS, lambda mkey: self._tcb(mkey, products)),
            **dict.fromkeys(_DIGEST_FIELDS, self._digest),
            **dict.fromkeys(_RAW_FIELDS, self._raw_field),
            **dict.fromkeys((_GUEST_SVN, _FAMILY, _MODEL, _CURRENT_VERSION, _COMMITTED_VERSION), lambda _: None),
        }
        for mkey in self._record.measurements:
            if mkey in readers:
                readers[mkey](mkey)
            else:
                self.unread.append(f"{_UNJUDGED.get(mkey, 'a field')} (mkey {mkey}) is not asked")
        self._versions(products)
        self._guest_svn()

    def _environment(self) -> None:
        environment = self._record.environment
        class_map = environment.get(0)
        class_id = class_map.get(0) if isinstance(class_map, Mapping) else None
        if not isinstance(class_id, Tag) or class_id.number != _OID_TAG or not isinstance(class_id.value, bytes):
            raise MalformedError(DOCUMENT, "environment", "want the class that AMD's profile names")
        kind = _CLASSES.get(class_id.value)
        if kind is None or not isinstance(class_map, Mapping) or len(class_map) != 1:
            raise MalformedError(DOCUMENT, "environment", "is of another class than the profile's two")
        self._of_provider = kind == "csp"
        if 1 in environment:
            self._instance(_tagged_bytes(environment[1], "instance"), kind)
        self.unread += [f"an environment has a member {key!r}" for key in environment if key not in (0, 1)]

    def _instance(self, instance: bytes, kind: str) -> None:
        if kind == "csp":
            try:
                self.values["csp_ids"] = [instance.decode("utf-8")]
            except UnicodeDecodeError as error:
                raise MalformedError(DOCUMENT, "instance", "want the name of a provider") from error
        elif len(instance) in (_TURIN_ID_BYTES, _CHIP_ID_BYTES):
            self.values["chip_ids"] = [instance.ljust(_CHIP_ID_BYTES, b"\x00").hex()]
        # Veraison's services find a triple by the measurement in it, and so write it here.
        elif [instance] != self._digests(_MEASUREMENT):
            self.unread.append("an instance is no CHIP_ID")

    def _products(self) -> tuple[Product, ...]:
        family, model = self._integer(_FAMILY), self._integer(_MODEL)
        if family is None or model is None:
            if not family is model is None:
                self.unread.append("of family and model of the CPU one stands alone")
            return _HARDWARE
        product = product_of_cpuid(family, model)
        if product not in _HARDWARE:
            raise MalformedError(DOCUMENT, f"mkey {_FAMILY}", "family and model are of no product that is known")
        self.values["products"] = [str(product)]
        return (product,)

    def _digest(self, mkey: int) -> None:
        field, size_bytes = _DIGEST_FIELDS[mkey]
        if mkey == _MEASUREMENT and self._of_provider:
            # A provider's machines start its firmware, whatever that starts.
            field = "firmware_measurements"
        self.values[field] = [value.hex() for value in self._digests(mkey, size_bytes=size_bytes)]
        self._only(mkey, _DIGESTS)

    def _digests(self, mkey: int, *, size_bytes: int = 48) -> list[bytes]:
        if mkey not in self._record.measurements:
            return []
        match self._record.measurements[mkey].get(_DIGESTS):
            # The chip says of one thing one digest, whichever algorithms there are.
            case [[int(), bytes() as value]] if len(value) == size_bytes:
                return [value]
            case _:
                raise MalformedError(DOCUMENT, f"mkey {mkey}", f"want one digest of {size_bytes} bytes")

    def _raw_field(self, mkey: int) -> None:
        field, size_bytes = _RAW_FIELDS[mkey]
        self.values[field] = [self._raw(mkey, size_bytes).hex()]
        self._only(mkey, _RAW)

    def _chip_id(self, mkey: int) -> None:
        value = _tagged_bytes(self._record.measurements[mkey].get(_RAW), f"mkey {mkey}")
        if not _TURIN_ID_BYTES <= len(value) <= _CHIP_ID_BYTES:
            raise MalformedError(DOCUMENT, f"mkey {mkey}", "want 8 to 64 bytes")
        named: list[Json] = [value.ljust(_CHIP_ID_BYTES, b"\x00").hex()]
        if self.values.setdefault("chip_ids", named) != named:
            raise MalformedError(DOCUMENT, f"mkey {mkey}", "is another chip than the environment's")
        self._only(mkey, _RAW)

    def _vmpl(self, mkey: int) -> None:
        number = self._integer(mkey)
        if number is None:
            number = int.from_bytes(self._raw(mkey, 4), self._profile.byte_order)
            self._only(mkey, _RAW)
        self.values["vmpl"] = [number]

    def _bits(self, mkey: int, field: str, names: Mapping[str, int]) -> None:
        value = int.from_bytes(self._raw(mkey, 8), self._profile.byte_order)
        mask = _WORD
        if _MASK in self._record.measurements[mkey]:
            mask = int.from_bytes(self._raw(mkey, 8, member=_MASK), self._profile.byte_order)
        elif field == "guest_policy" and not value & _ALWAYS_SET:
            raise MalformedError(DOCUMENT, f"mkey {mkey}", "bit 17 is clear: the bytes stand in another order")
        named = {name: bit for name, bit in names.items() if mask >> bit & 1}
        self.values[field] = {
            "required": [name for name, bit in named.items() if value >> bit & 1],
            "forbidden": [name for name, bit in named.items() if not value >> bit & 1],
        }
        rest = value & mask & ~sum(1 << bit for bit in names.values())
        if field == "guest_policy":
            rest &= ~_ALWAYS_SET
            if rest & _ABI_MASK:
                self.unread.append("the least ABI version that POLICY (mkey 2) demands is not asked")
            rest &= ~_ABI_MASK
        if rest:
            self.unread.append(f"bits {rest:#x} of {field} (mkey {mkey}) have no name here")
        self._only(mkey, _RAW, _MASK)

    def _tcb(self, mkey: int, products: tuple[Product, ...]) -> None:
        name = _TCBS[mkey]
        number, exact = self._security_version(mkey, bits=64)
        if exact:
            self.unread.append(f"the one value of the {name} TCB (mkey {mkey}) is asked as the least one")
        raw = number.to_bytes(8, "little")
        least = {str(product): _components(raw, product) for product in products if _fits(raw, product)}
        if not least:
            raise MalformedError(DOCUMENT, f"mkey {mkey}", "is of no product's layout")
        self._tcbs[name] = least
        self.values["minimum_tcb_of"] = self._tcbs

    def _security_version(self, mkey: int, *, bits: int) -> tuple[int, bool]:
        """Return a security version, and whether it is the only one rather than the least."""
        self._only(mkey, _SVN)
        match self._record.measurements[mkey].get(_SVN):
            case Tag(number=tag, value=int() as number) if tag in (_EXACT_TAG, _LEAST_TAG):
                exact = tag == _EXACT_TAG
            case int(number):
                exact = True
            case _:
                raise MalformedError(DOCUMENT, f"mkey {mkey}", f"want a security version of {bits} bits")
        if isinstance(number, bool) or not 0 <= number < 1 << bits:
            raise MalformedError(DOCUMENT, f"mkey {mkey}", f"want a security version of {bits} bits")
        return number, exact

    def _guest_svn(self) -> None:
        """Ask for the least GUEST_SVN of an image whose signer is named; what a provider signs is its firmware."""
        if not self._has(_GUEST_SVN):
            return
        least, exact = self._security_version(_GUEST_SVN, bits=32)
        signed = any(self.values.get(field, _NOBODY) != _NOBODY for field in ("id_key_digests", "author_key_digests"))
        if least and signed and not self._of_provider:
            self.values["minimum_guest_svn"] = least
            if exact:
                self.unread.append("the one GUEST_SVN (mkey 1) is asked as the least one")
        elif least:
            self.unread.append("GUEST_SVN (mkey 1) is not asked: no key of who signs an image is named (mkey 643, 644)")
        elif exact:
            self.unread.append("that GUEST_SVN (mkey 1) is 0 is not asked")

    def _versions(self, products: tuple[Product, ...]) -> None:
        found = [self._version(mkey) for mkey in (_CURRENT_VERSION, _COMMITTED_VERSION) if self._has(mkey)]
        if found:
            least = ".".join(map(str, min(found)))
            self.values["minimum_firmware"] = {str(product): least for product in products}
            self.unread.append("the one version of the firmware (mkey 3330, 3936) is asked as the least one")

    def _version(self, mkey: int) -> tuple[int, ...]:
        value = self._record.measurements[mkey].get(_VERSION)
        text = value.get(0) if isinstance(value, Mapping) else None
        if not isinstance(text, str) or not _VERSION_TEXT.fullmatch(text):
            raise MalformedError(DOCUMENT, f"mkey {mkey}", "want a version of three numbers")
        self._only(mkey, _VERSION)
        return tuple(map(int, text.split(".")))

    def _has(self, mkey: int) -> bool:
        return mkey in self._record.measurements

    def _integer(self, mkey: int) -> int | None:
        value = self._record.measurements.get(mkey, {}).get(_INT)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise MalformedError(DOCUMENT, f"mkey {mkey}", "want a number")
        self._only(mkey, _INT)
        return value

    def _raw(self, mkey: int, size_bytes: int, *, member: int = _RAW) -> bytes:
        value = _tagged_bytes(self._record.measurements[mkey].get(member), f"mkey {mkey}")
        if len(value) != size_bytes:
            raise MalformedError(DOCUMENT, f"mkey {mkey}", f"got {len(value)} bytes, want {size_bytes}")
        return value

    def _only(self, mkey: int, *members: int) -> None:
        for member in self._record.measurements[mkey]:
            if member not in members:
                self.unread.append(f"mkey {mkey} has a value {member!r} that is not asked")


def values_of(record: Record, *, profile: Profile) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return the reference values of one triple, as a policy writes them, and what else it names, in words.

    Raises:
        MalformedError: It is not as the profile has it.
    """
    triple = _Triple(record, profile)
    triple.read()
    return triple.values, tuple(triple.unread)


def _tagged_bytes(value: TaggedCbor | None, where: str) -> bytes:
    if not isinstance(value, Tag) or value.number != _BYTES_TAG or not isinstance(value.value, bytes):
        raise MalformedError(DOCUMENT, where, f"want bytes of tag {_BYTES_TAG}")
    return value.value


def _components(raw: bytes, product: Product) -> dict[str, Json]:
    return {name: raw[offset] for name, offset in layout(product).items() if raw[offset]}


def _fits(raw: bytes, product: Product) -> bool:
    used = layout(product).values()
    return not any(byte for offset, byte in enumerate(raw) if offset not in used)
