"""What servers do that they should not, as scripts for a `loopback.Loopback`."""

import gzip
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from loopback import Loopback, Received, Script, head_of, reply

GOOD = reply(body=b"good")
NOTICED = 0.2
"""Seconds that a request waits for a server that will say nothing."""
LATE = 10.0
"""Seconds: what a call takes at most, on a slow machine, too."""


@dataclass
class Hostile(Loopback):
    """A server that gives `/good` a good answer, and everything else what `answer` says."""

    @property
    def asked(self) -> list[str]:
        """Method and path of each request that arrived."""
        return [f"{received.method} {received.path}" for received in self.requests]

    def hang_up(self) -> None:
        """Close every connection that is open, as a server does that is restarted."""
        for sock in self._open:
            hang_up(sock)

    def _script(self, received: Received) -> Script:
        return GOOD if received.path == "/good" else super()._script(received)


def hang_up(sock: socket.socket) -> None:
    """Close the connection in the usual way."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def reset(sock: socket.socket) -> None:
    """Break the connection off: the peer gets a reset, not an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def says(*parts: bytes) -> Callable[[socket.socket], None]:
    """A script that sends this and hangs up."""

    def say(sock: socket.socket) -> None:
        for part in parts:
            sock.sendall(part)

    return say


def body(content: bytes, **headers: str) -> Callable[[socket.socket], None]:
    """A script that sends a body under these headers and hangs up; underscores are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return says(head_of(200, named), content)


def broken_gzip(*, checksum: bool) -> Callable[[socket.socket], None]:
    """A script that sends what is no gzip: all of it, or only its checksum is wrong."""
    packed = gzip.compress(b"text" * 1000)
    content = packed[:-8] + bytes(8) if checksum else b"\x1f\x8b" + packed[:1:-1]
    return body(
        content, Content_Encoding="gzip", Content_Length=str(len(content)), Connection="close"
    )


def bomb(mebibytes: int) -> bytes:
    """An answer that unpacks to so many MiB."""
    return reply(body=gzip.compress(bytes(mebibytes << 20)), Content_Encoding="gzip")
