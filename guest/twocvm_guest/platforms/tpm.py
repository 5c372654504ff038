"""The four commands that a guest asks of its vTPM, over the kernel's device; and every answer taken apart with care.

Of our own, because the image has neither a shell nor the TPM2 software stack, and because four commands are less to
trust than a stack: read an NV index (its size, then its content), read PCRs, quote them. An answer is read to the size
that it says it has, must be exactly that long, and must have nothing behind what was asked for; whoever sits below the
guest answers here, so anything else is an error and never a value.

Spec: TPM 2.0 library part 1, 18 (command and response), part 2 (structures), part 3 (commands).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from .device import DeviceError, Pause, failure, persistently, unopened

DEVICE: Final = Path("/dev/tpmrm0")
"""The kernel's resource manager, which keeps one program's use of the TPM apart from another's."""

# Linux, drivers/char/tpm/tpm.h: TPM_BUFSIZE.
MAX_ANSWER_BYTES: Final = 4096
# Azure's vTPM and the reference's give at most so much of an NV index at once.
NV_CHUNK_BYTES: Final = 1024
DIGEST_BYTES: Final = 32

# Part 2, 6.5.2, 6.9, 7.4, 9.3: command codes, tags, handles and algorithms.
_NV_READ: Final = 0x14E
_QUOTE: Final = 0x158
_NV_READ_PUBLIC: Final = 0x169
_PCR_READ: Final = 0x17E
_NO_SESSIONS: Final = 0x8001
_SESSIONS: Final = 0x8002
_OWNER: Final = 0x40000001
_PASSWORD: Final = 0x40000009
_RSASSA: Final = 0x0014
_SHA256: Final = 0x000B
# Part 2, 6.6.3: warnings that pass: TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_RETRY.
_PASSING: Final = frozenset({0x908, 0x90A, 0x922})
_HEADER: Final = struct.Struct(">HII")
# One authorisation with an empty password: handle, nonce, attributes, secret.
_EMPTY_PASSWORD: Final = struct.pack(">IIHBH", 9, _PASSWORD, 0, 0, 0)
_SELECT_BYTES: Final = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedQuote:
    """A quote as the TPM gave it.

    Attributes:
        quote: TPMS_ATTEST.
        signature: RSASSA-PKCS1-v1_5 with SHA-256 over it.
    """

    quote: bytes
    signature: bytes = field(repr=False)


class Tpm:
    """A TPM 2.0 behind an open file. Used by one thread at a time.

    Args:
        descriptor: Open for reading and writing; closed with this.
        name: How it is called, for people.
        pause: Waits between tries.
    """

    def __init__(self, descriptor: int, *, name: str, pause: Pause) -> None:
        self.name: Final = name
        self._descriptor = descriptor
        self._pause: Final = pause

    @classmethod
    def open(cls, path: Path = DEVICE, *, pause: Pause) -> Tpm:
        """Return the TPM of this machine.

        Args:
            path: The device.
            pause: As the class.

        Raises:
            DeviceError: NO_PLATFORM or DEVICE_DENIED.
        """
        try:
            return cls(os.open(path, os.O_RDWR | os.O_CLOEXEC), name=str(path), pause=pause)
        except OSError as error:
            raise unopened(error, str(path)) from error

    def close(self) -> None:
        """Let go of the device."""
        os.close(self._descriptor)

    def nv_read(self, index: int) -> bytes:
        """Return the content of an NV index that its owner may read with an empty password.

        Raises:
            DeviceError: There is no such index, or the TPM answers with something else.
        """
        size = self._command(_NV_READ_PUBLIC, handles=(index,), parameters=b"", read=partial(_nv_size, index=index))
        content = b""
        while len(content) < size:
            wanted = min(NV_CHUNK_BYTES, size - len(content))
            content += self._command(
                _NV_READ,
                handles=(_OWNER, index),
                parameters=struct.pack(">HH", wanted, len(content)),
                authorised=True,
                read=partial(_Answer.sized, want=wanted),
            )
        return content

    def pcrs(self, count: int) -> tuple[bytes, ...]:
        """Return the values of the first PCRs of the SHA-256 bank.

        Args:
            count: How many, at most 24.

        Raises:
            DeviceError: As `nv_read`.
        """
        found: dict[int, bytes] = {}
        while len(found) < count:
            left = [number for number in range(count) if number not in found]
            values = self._command(_PCR_READ, handles=(), parameters=_selection(left), read=_pcr_values)
            if not values.keys() <= set(left) or not values:
                raise self._answered("PCRs that were not asked for")
            found |= values
        return tuple(found[number] for number in range(count))

    def quote(self, key: int, *, extra_data: bytes, pcrs: int) -> SignedQuote:
        """Return a quote of the first PCRs of the SHA-256 bank.

        Args:
            key: Handle of an RSA key that signs, with an empty password.
            extra_data: What the quote binds (at most 50 bytes on every TPM).
            pcrs: How many PCRs.

        Raises:
            DeviceError: As `nv_read`.
        """
        scheme = struct.pack(">HH", _RSASSA, _SHA256)
        parameters = _sized(extra_data) + scheme + _selection(range(pcrs))
        return self._command(_QUOTE, handles=(key,), parameters=parameters, authorised=True, read=_signed_quote)

    def _command(
        self,
        code: int,
        *,
        handles: tuple[int, ...],
        parameters: bytes,
        read: Callable[[_Answer], T],
        authorised: bool = False,
    ) -> T:
        tag = _SESSIONS if authorised else _NO_SESSIONS
        body = b"".join(handle.to_bytes(4, "big") for handle in handles)
        body += (_EMPTY_PASSWORD if authorised else b"") + parameters
        request = _HEADER.pack(tag, _HEADER.size + len(body), code) + body
        answer = persistently(lambda: self._exchange(request, code), pause=self._pause)
        try:
            value = read(answer)
            if authorised:
                answer.skip_authorisation()
            answer.end()
        except _NotAnAnswerError as error:
            raise self._answered(f"command {code:#x}: {error}") from error
        return value

    def _exchange(self, request: bytes, code: int) -> _Answer:
        what = f"{self.name}: command {code:#x}"
        try:
            os.write(self._descriptor, request)
            raw = os.read(self._descriptor, MAX_ANSWER_BYTES)
        except OSError as error:
            raise failure(error, what) from error
        if len(raw) < _HEADER.size:
            raise self._answered(f"command {code:#x}: got {len(raw)} bytes")
        tag, size, status = _HEADER.unpack_from(raw)
        if size != len(raw):
            raise self._answered(f"command {code:#x}: got {len(raw)} bytes, said to be {size}")
        if status:
            raise DeviceError("DEVICE_BUSY" if status in _PASSING else "DEVICE_REFUSED", f"{what}: got {status:#x}")
        if tag != int.from_bytes(request[:2], "big"):
            raise self._answered(f"command {code:#x}: got the tag {tag:#x}")
        # With sessions, the size of the parameters stands before them.
        return _Answer(raw[_HEADER.size :], sessions=tag == _SESSIONS)

    def _answered(self, what: str) -> DeviceError:
        return DeviceError("DEVICE_ANSWER", f"{self.name}: {what}")


class _NotAnAnswerError(Exception):
    """An answer is not one to what was asked."""


class _Answer:
    """Walks an answer's parameters once; every length is compared with what is left before anything is sliced."""

    def __init__(self, raw: bytes, *, sessions: bool) -> None:
        self._raw = raw
        self._offset = 0
        self._parameters_end = len(raw)
        self._sessions = sessions
        self._opened = not sessions

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def exactly(self, what: str, size: int, want: int) -> None:
        got = self.integer(size)
        if got != want:
            raise _NotAnAnswerError(f"{what}: got {got:#x}, want {want:#x}")

    def sized(self, want: int | None = None) -> bytes:
        length = self.integer(2)
        if want is not None and length != want:
            raise _NotAnAnswerError(f"got {length} bytes, want {want}")
        return self.take(length)

    def take(self, length: int) -> bytes:
        if not self._opened:
            self._opened = True
            self._parameters_end = 4 + int.from_bytes(self._slice(4), "big")
        return self._slice(length)

    def skip_authorisation(self) -> None:
        """Go behind the parameters, which end here, and what follows them: nonce, attributes and secret."""
        if self._offset != self._parameters_end:
            raise _NotAnAnswerError(f"parameters end at {self._offset}, said to be at {self._parameters_end}")
        self._parameters_end = len(self._raw)
        for size in (self.integer(2), 1):
            self._slice(size)
        self._slice(self.integer(2))

    def end(self) -> None:
        if self._offset != len(self._raw):
            raise _NotAnAnswerError(f"{len(self._raw) - self._offset} bytes follow it")

    def _slice(self, length: int) -> bytes:
        end = self._offset + length
        if end > min(len(self._raw), self._parameters_end):
            raise _NotAnAnswerError("it ends early")
        part = self._raw[self._offset : end]
        self._offset = end
        return part


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _selection(numbers: Iterable[int]) -> bytes:
    bits = sum(1 << number for number in numbers)
    return struct.pack(">IHB", 1, _SHA256, _SELECT_BYTES) + bits.to_bytes(_SELECT_BYTES, "little")


def _selected(answer: _Answer) -> list[int]:
    answer.exactly("banks", 4, 1)
    answer.exactly("bank", 2, _SHA256)
    answer.exactly("size of the selection", 1, _SELECT_BYTES)
    bits = int.from_bytes(answer.take(_SELECT_BYTES), "little")
    return [number for number in range(8 * _SELECT_BYTES) if bits >> number & 1]


def _nv_size(answer: _Answer, *, index: int) -> int:
    # Part 2, 13.6: TPMS_NV_PUBLIC, and the index's name behind it.
    answer.integer(2)
    answer.exactly("index", 4, index)
    answer.take(2 + 4)
    answer.sized()
    size = answer.integer(2)
    answer.sized()
    return size


def _pcr_values(answer: _Answer) -> dict[int, bytes]:
    answer.integer(4)
    numbers = _selected(answer)
    answer.exactly("values", 4, len(numbers))
    return {number: answer.sized(DIGEST_BYTES) for number in numbers}


def _signed_quote(answer: _Answer) -> SignedQuote:
    quote = answer.sized()
    answer.exactly("signature scheme", 2, _RSASSA)
    answer.exactly("its hash", 2, _SHA256)
    return SignedQuote(quote=quote, signature=answer.sized())
