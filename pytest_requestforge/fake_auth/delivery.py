"""How an answer travels to the client: what happens on the wire, piece by piece."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple


class Pause(NamedTuple):
    """Nothing is sent for so many seconds; None: until the client gives up."""

    seconds: float | None


Piece = bytes | Pause | Literal["reset", "close"]
"""One thing that happens on the wire; "reset" and "close" end the connection."""

Delivery = Callable[[bytes, bytes], Iterator[Piece]]
"""What happens on the wire, of the head and the content of an answer."""


def whole(head: bytes, content: bytes) -> Iterator[Piece]:
    """All of it at once, as without a fault."""
    yield head + content


def nothing(_head: bytes, _content: bytes) -> Iterator[Piece]:
    """Nothing, until the client gives up."""
    yield Pause(None)


def broken(_head: bytes, _content: bytes) -> Iterator[Piece]:
    """Nothing but the end of the connection."""
    yield "reset"


def half(head: bytes, content: bytes) -> Iterator[Piece]:
    """The first half of the content, and then the end of the connection."""
    yield head + content[: len(content) // 2]
    yield "close"


def after(seconds: float) -> Delivery:
    """All of it after so many seconds."""

    def late(head: bytes, content: bytes) -> Iterator[Piece]:
        yield Pause(seconds)
        yield head + content

    return late


def at_rate(bytes_per_second: float) -> Delivery:
    """The content byte by byte, at that rate."""

    def drip(head: bytes, content: bytes) -> Iterator[Piece]:
        yield head
        for place in range(len(content)):
            yield Pause(1 / bytes_per_second)
            yield content[place : place + 1]

    return drip


def travelling(
    delivery: Delivery, content: bytes, deliveries: list[Delivery] | None
) -> bytes | Iterable[bytes]:
    """The content, for a transport that is told how to deliver it, or else as WSGI can have it.

    Args:
        delivery: how it travels.
        content: in whole.
        deliveries: tells the transport; None: it is that of another server.
    """
    if deliveries is None:
        return _content(delivery, content)
    deliveries.append(delivery)
    return content


def _content(delivery: Delivery, content: bytes) -> Iterator[bytes]:
    """What another server may send, which has sent the head by itself."""
    for piece in delivery(b"", content):
        if isinstance(piece, bytes):
            yield piece
        elif isinstance(piece, Pause) and piece.seconds is not None:
            threading.Event().wait(piece.seconds)
        else:
            raise ConnectionAbortedError("A fault of the test ends this connection.")
