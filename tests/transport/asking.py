"""A fetcher with secrets in all it sends, and what the tests of the transport share."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from loopback import shown_by
from requestforge.exceptions import HttpClientException, TimeoutException
from requestforge.fetcher import HttpTokenFetcher
from requestforge.models import HttpResponse
from requestforge.tokens import TokenData

CANARY = "canary-c0ffee"
SOON = 0.4
"""Seconds: the deadline of an exchange that is to miss it."""
LATE = 3.0
"""Seconds: what such an exchange takes at most, on a slow machine, too."""

Sock = socket.socket


class Asker(HttpTokenFetcher):
    """Asks one server, with a secret in each place where requests have one."""

    name = "asker"

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        """Not what these tests are about."""
        raise NotImplementedError

    def get(self, **data: str) -> HttpResponse:
        """GET /, with data in its query."""
        return self._make_request("GET", "/", data={"password": CANARY, **data})

    def post(self, data: str = f"password={CANARY}", **headers: str) -> HttpResponse:
        """POST a form to /."""
        sent = {"Authorization": f"Bearer {CANARY}", **headers}
        return self._make_request("POST", f"/?client_secret={CANARY}", headers=sent, data=data)


def failure_of(call: Callable[[], object]) -> HttpClientException:
    """The library's error that the call ends in."""
    with pytest.raises(HttpClientException) as caught:
        call()
    return caught.value


@contextmanager
def ends_at_deadline() -> Iterator[None]:
    """A block that ends in a TimeoutException when `SOON` has passed."""
    started = time.monotonic()
    with pytest.raises(TimeoutException) as caught:
        yield
    assert SOON * 0.9 <= time.monotonic() - started < LATE
    assert CANARY not in shown_by(caught.value)


@contextmanager
def raw_server(serve: Callable[[Sock], object]) -> Iterator[int]:
    """The port of a server that hands its first connection to `serve`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                sock, _ = listener.accept()
                with sock:
                    serve(sock)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(LATE)


def tunnel_to(port: int) -> Callable[[Sock], None]:
    """A proxy's script: opens the tunnel to a port of this machine and passes all on."""

    def carry(source: Sock, target: Sock) -> None:
        with suppress(OSError, ValueError):
            while data := source.recv(65536):
                target.sendall(data)

    def tunnel(sock: Sock) -> None:
        with socket.create_connection(("127.0.0.1", port)) as origin:
            sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=carry, args=(origin, sock), daemon=True)
            back.start()
            carry(sock, origin)

    return tunnel


def forked(call: Callable[[], bytes]) -> Callable[[], bytes]:
    """Call in a forked child; gives a function that waits for what it returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, call())
        finally:
            os._exit(0)
    os.close(writer)

    def result() -> bytes:
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        return answer

    return result
