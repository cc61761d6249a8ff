"""A loopback server that costs little: run as `server.py [CERTIFICATE]`, it prints its ports.

Each path has its behaviour; any other is answered at once, to whom sends the token.
"""

import asyncio
import json
import re
import ssl
import sys

BODY = json.dumps({"id": 1, "name": "A name", "tags": ["one", "two"], "text": "." * 150}).encode()
HEAD = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
ANSWER = HEAD % (b"200 OK", len(BODY), b"") + BODY
LAST = HEAD % (b"200 OK", len(BODY), b"Connection: close\r\n") + BODY
REFUSED = HEAD % (b"401 Unauthorized", 0, b"")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

SLOW = 0.05
"""Seconds that `/slow` takes."""

DRIP = 0.02
"""Seconds between the bytes of a body or header that drips."""


class Connection(asyncio.Protocol):
    """Reads requests one after the other, and answers them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        """Answer the request if it is complete."""
        self.waiting += data
        head, end, rest = self.waiting.partition(b"\r\n\r\n")
        if not end:
            return
        length = LENGTH.search(head)
        if length is None or len(rest) >= int(length[1]):
            self.waiting = b""
            self.answer(head)

    def answer(self, head: bytes) -> None:
        """Do what the path asks for."""
        write = self.transport.write
        if b"Bearer token" not in head:
            write(REFUSED)
            return
        match head.split(b" ", 2)[1]:
            case b"/slow":
                asyncio.get_running_loop().call_later(SLOW, write, ANSWER)
            case b"/once":
                write(LAST)
                self.transport.close()
            case b"/stall":
                pass
            case b"/drip-header":
                self.drip(b"HTTP/1.1 200 OK\r\nX-Long: ")
            case b"/drip-body":
                self.drip(HEAD % (b"200 OK", 1_000_000, b""))
            case _:
                write(ANSWER)

    def drip(self, data: bytes) -> None:
        """Send this, and then a byte now and then until the client goes."""
        if not self.transport.is_closing():
            self.transport.write(data)
            asyncio.get_running_loop().call_later(DRIP, self.drip, b".")


async def serve(certificate: str | None) -> None:
    """Serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Connection, "127.0.0.1", 0)]
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        servers.append(await loop.create_server(Connection, "127.0.0.1", 0, ssl=tls))
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1] if len(sys.argv) > 1 else None))
