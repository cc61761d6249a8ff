"""Commands as Redis reads them."""

_MOST_KEPT = 1000
"""So many commands are kept packed."""


class Packer:
    """Packs commands for the connections of redis-py, in place of its own packer.

    A cached pipeline reads the same keys again and again. Packing them is a third of what redis-py
    spends on that, so it is done once.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], list[bytes]] = {}

    def pack(self, *command: object) -> list[bytes]:
        """What goes over the wire for a command, its name first; as redis-py calls it."""
        if command[0] != "MGET":
            return [_packed(command)]
        packed = self._kept.get(command)
        if packed is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept = {}
            self._kept[command] = packed = [_packed(command)]
        return packed


def _packed(command: tuple[object, ...]) -> bytes:
    """An array of strings (RESP2 and RESP3); the name may be several words."""
    words = [*str(command[0]).split(), *command[1:]]
    texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(t), t) for t in texts)
