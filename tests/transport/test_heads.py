"""The heads of answers are read as http.client reads them, but for those that break off."""

import http.client
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from requestforge._transport.heads import read_head

LINES = [
    b"Content-Length: 5",
    b"content-type:text/plain",
    b"X-Tabs:\t\ta\tb \t",
    b"X-Empty:",
    b"X-Blank:   ",
    b"X-Latin: caf\xe9",
    b"X-Utf8: caf\xc3\xa9",
    b"X-Next-Line: a\x85b",
    b"X-Control: a\x00b\x0bc",
    b"X-Return: a\rb",
    b" folded: more",
    b"\tfolded",
    b"no colon at all",
    b": no name",
    b"two words: x",
    b"X-Space : x",
    b"From nobody",
    b"Content-Type: multipart/mixed; boundary=x",
    b"Content-Type: multipart/mixed",
    b"Set-Cookie: a=1",
    b"Set-Cookie: b=2",
    b"X-Encoded: =?utf-8?q?=C3=BC?=",
    b"X-Long: " + b"a" * 9000,
    b"X-Longer: " + b"a" * 65536,
]


def outcome(read: object, head: bytes) -> object:
    """What is read, and what is left; or the error."""
    assert callable(read)
    file = io.BytesIO(head)
    try:
        message = read(file)
    except http.client.HTTPException as error:
        return type(error), str(error)
    return message.items(), message.get("content-type"), file.read()


@given(
    st.lists(st.sampled_from(LINES) | st.binary(max_size=20), max_size=8),
    st.sampled_from([b"\r\n", b"\n"]),
)
@example([b"A: b"] * 98, b"\r\n")
@example([b"A: b"] * 99, b"\r\n")
@example([b"A: b"] * 100, b"\r\n")
@example([b"A: b"] * 101, b"\r\n")
def test_whole_ones_are_read_as_ever(lines: list[bytes], end: bytes) -> None:
    """The same names and values in the same order, the same errors, and the body is left."""
    head = b"".join(line + end for line in lines) + b"\r\n\nbody: x\r\n"
    assert outcome(read_head, head) == outcome(http.client.parse_headers, head)


@pytest.mark.parametrize(
    "head",
    [b"", b"A: b\r\n", b"A: b\r\nC: d", b"A: b\r\nC", b" folded", b"A: b\r\n\r"],
)
def test_what_breaks_off_is_an_error(head: bytes) -> None:
    """Without the empty line at the end, nobody knows what would have followed."""
    with pytest.raises(http.client.RemoteDisconnected, match="within the headers"):
        read_head(io.BytesIO(head))


def test_other_arguments_are_passed_on() -> None:
    """What http.client may ask its parser for, it gets."""

    class Message(http.client.HTTPMessage):
        pass

    assert type(read_head(io.BytesIO(b"odd\r\n\r\n"), _class=Message)) is Message
