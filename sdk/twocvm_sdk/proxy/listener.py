"""Where the proxy listens: a loopback address, or a socket file that only this user can open. Nowhere else.

A port on the network would carry the requests of whoever reaches it in clear, in the name of whoever runs the proxy;
for another machine there is `ssh -L`.

>>> with open_listener("127.0.0.1:0") as listener:
...     listener.url.startswith("http://127.0.0.1:")
True
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twocvm_sdk.closing import Closing

UNIX: Final = "unix:"
_BACKLOG: Final = 64
_ADDRESS: Final = re.compile(r"(?:\[([0-9a-f:]+)\]|([0-9.]+)):([0-9]{1,5})", re.ASCII)
_MAX_PORT: Final = 65535
# Nobody but the owner may connect (unix(7): connecting needs write permission on the socket file).
_PRIVATE_MASK: Final = 0o177


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener(Closing):
    """A socket that listens; closes, and removes its file, at the end of a `with`.

    Attributes:
        socket: It.
        hosts: What the Host field of a request may say; empty where the socket file says who may ask.
        url: What a person is told.
        path: The socket file, if it is one.
    """

    socket: socket.socket
    hosts: frozenset[str]
    url: str
    path: Path | None

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def open_listener(text: str) -> Listener:
    """Listen at `127.0.0.1:PORT`, `[::1]:PORT` (0 is any free port) or `unix:PATH`.

    Raises:
        ValueError: Another kind of address, one that is not loopback, or a path too long for a socket file.
        OSError: It cannot be had; a socket file that is there already is left alone.
    """
    if text.startswith(UNIX) and text != UNIX:
        return _unix(Path(text.removeprefix(UNIX)))
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"listen: got {text!r:.80}, want 127.0.0.1:PORT, [::1]:PORT or unix:PATH")
    address, port = ipaddress.ip_address(match[1] or match[2]), int(match[3])
    if port > _MAX_PORT:
        raise ValueError(f"listen: got {text!r:.80}, want a port from 0 to {_MAX_PORT}")
    if not address.is_loopback:
        raise ValueError(f"listen: got {text!r:.80}, want a loopback address: the proxy speaks for you, in clear")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    listening = socket.create_server((str(address), port), family=family, backlog=_BACKLOG)
    port = listening.getsockname()[1]
    shown = f"[{address}]" if family is socket.AF_INET6 else str(address)
    hosts = frozenset({f"{shown}:{port}", f"localhost:{port}"})
    return Listener(socket=listening, hosts=hosts, url=f"http://{shown}:{port}", path=None)


def _unix(path: Path) -> Listener:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(_PRIVATE_MASK)
    try:
        listening.bind(str(path))
    except BaseException as error:
        listening.close()
        if isinstance(error, OSError) and error.errno is None:  # `socket` refused it, and the system was never asked
            raise ValueError(f"listen: {error}: want a shorter PATH for the socket file") from error
        raise
    finally:
        os.umask(mask)
    listening.listen(_BACKLOG)
    return Listener(socket=listening, hosts=frozenset(), url=f"{UNIX}{path}", path=path)
