"""Changes to JSON values, texts and bytes: what a broken, foreign or hostile writer may leave."""

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

# Texts that stand for JSON which no value of Python can: they are put in once it is written.
_RAW = {
    "NaN": "NaN",
    "infinity": "-Infinity",
    "overflow": "1e999",
    "underflow": "-1e-999",
    "octal": "0755",
    "hex": "0x1F",
    "digits": "9" * 5000,
    "negative": "-" + "9" * 4000,
    "word": "undefined",
    "single": "'text'",
    "comment": "1 /* a comment */",
    "nothing": "",
    "lone": '"\\ud800"',
    "pair": '"\\ud83d\\ude00"',
    "escape": '"\\q"',
    "control": '"\x00\x1f"',
    "shallow": "[" * 60 + "]" * 60,
    "deep": "[" * 900 + "]" * 900,
    "deeper": '{"a":' * 5000 + "1" + "}" * 5000,
    "deepest": "[" * 100_000,
}
_MARK = "@@{}@@"

_ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -0.0,
        1,
        -1,
        2**31,
        2**53 + 1,
        2**64,
        -(10**30),
        10**400,
        1e308,
        5e-324,
    ),
    *(
        "",
        " ",
        "0",
        "-1",
        "3600",
        " 60 ",
        "1_000",
        "1e3",
        "٣",
        "NaN",
        "null",
        "true",
        "Bearer",
        "N_A",
    ),
    *(
        "\x00",
        "\r\nX-Injected: 1",
        "\x7f",
        "\u2028",
        "é",
        "日本",
        "😀",
        "\ud800",
        "\udfff",
        "\ufeff",
    ),
    *("a" * 3000, "Bearer Bearer", "a b", "a,b", "a=b; c", "%00", "../..", "${HOME}", "{0}", "%s"),
    *("0001-01-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"),
    *(
        "2030-01-01T12:00:00",
        "2030-01-01T12:00:00Z",
        "2030-01-01T24:00:00",
        "2030-W01-1",
        "20300101",
    ),
    *("2030-01-01T12:00:00+00:00:00.000001", "1969-12-31", "2030-13-01", "1893499200", "12:00"),
    *(
        [],
        {},
        [[]],
        [None],
        ["a", "b"],
        ["a", 1],
        {"": ""},
        {"a": {"b": []}},
        {"access_token": "x"},
    ),
    *(_MARK.format(name) for name in _RAW),
)
_KEYS = (
    *("access_token", "token_type", "expires_at", "expires_in", "refresh_token", "scope", "extra"),
    *(
        "issued_at",
        "leeway",
        "generation",
        "key",
        "format",
        "error",
        "error_description",
        "id_token",
    ),
    *("", "data", "data.tokens", "Access_Token", "__class__", "\ud800", "\x00", "@@nothing@@"),
)
_ENCODINGS = (
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "latin-1",
    "cp037",
    "utf-7",
)


def mutated(value: Any, random: Random) -> bytes:  # noqa: ANN401 - JSON
    """The text of a JSON value, changed in its structure, its text, its bytes, or all of them."""
    value = deepcopy(value)
    level = random.random()
    if level < 0.8:
        for _ in range(_some(random)):
            value = _restructured(value, random)
    text = written(value, random)
    if 0.6 < level < 0.85:
        text = _rewritten(text, random)
    data = (
        _encoded(text, random) if random.random() < 0.1 else text.encode("utf-8", "surrogatepass")
    )
    if level > 0.8:
        data = torn(data, random)
    return data


def restructured(value: Any, random: Random) -> Any:  # noqa: ANN401
    """The value with changes in its structure alone, so that it can be written as JSON."""
    value = deepcopy(value)
    for _ in range(_some(random)):
        value = _restructured(value, random)
    return value


def torn(data: bytes, random: Random) -> bytes:
    """The bytes, changed without regard to what they mean."""
    for _ in range(_some(random)):
        data = random.choice(_TEARS)(data, random)
    return data


def written(value: Any, random: Random) -> str:  # noqa: ANN401
    """The value as JSON text, in one of the ways to write it."""
    text = json.dumps(
        value,
        ensure_ascii=random.random() < 0.7,
        indent=random.choice((None, None, None, 1)),
        separators=random.choice((None, None, (",", ":"), (" , ", " : "))),
    )
    if "@@" in text:
        for name, raw in _RAW.items():
            text = text.replace(f'"{_MARK.format(name)}"', raw)
    return text


def _some(random: Random) -> int:
    return random.choice((1, 1, 1, 2, 3, 6))


def _restructured(value: Any, random: Random) -> Any:  # noqa: ANN401
    """The value with one change, somewhere within it."""
    if random.random() < 0.06:
        return random.choice((_odd(random), [value], {"data": value}, json.dumps(value)))
    if not isinstance(value, dict | list) or not value:
        return _replaced(value, random)
    keys: Any = list(value) if isinstance(value, dict) else range(len(value))
    key = random.choice(keys)
    change = random.random()
    if isinstance(value[key], dict | list) and change < 0.5:
        value[key] = _restructured(value[key], random)
    elif change < 0.6:
        value[key] = _replaced(value[key], random)
    elif change < 0.7:
        del value[key]
    elif change < 0.8:
        other = random.choice(keys)
        value[key], value[other] = value[other], value[key]
    elif isinstance(value, dict):
        value[random.choice(_KEYS)] = random.choice((deepcopy(value[key]), _odd(random)))
    else:
        value.append(_odd(random))
    return value


def _odd(random: Random) -> Any:  # noqa: ANN401
    return deepcopy(random.choice(_ODD))


def _replaced(value: Any, random: Random) -> Any:  # noqa: ANN401
    """Something else in place of the value: of another type, or close to it."""
    change = random.random()
    if change < 0.5:
        return _odd(random)
    if isinstance(value, str):
        return _rewritten(value, random) if change < 0.8 else [value]
    if isinstance(value, bool | int | float):
        return random.choice((str(value), -value, value * 3, value // 7, [value], bool(value)))
    return random.choice((str(value)[:40], {"value": value}, [value]))


def _rewritten(text: str, random: Random) -> str:
    """The text with a part of it lost, doubled or put in anew."""
    place, length = random.randrange(len(text) + 1), random.choice((0, 1, 1, 2, 8, 40))
    head, part, tail = text[:place], text[place : place + length], text[place + length :]
    change = random.random()
    if change < 0.2:
        return head + tail
    if change < 0.35:
        return head + part + part + tail
    if change < 0.45:
        return head
    if change < 0.65 and "{" in text:  # a key for the second time
        again = f"{json.dumps(random.choice(_KEYS))}: {random.choice(_AGAIN)}, "
        return text.replace("{", "{" + again, 1)
    odd = random.choice(_ODD)
    return head + (odd if isinstance(odd, str) else str(odd)) + tail


_AGAIN = ('"other"', "null", "1", "[]", '{"a": 1}')


def _encoded(text: str, random: Random) -> bytes:
    encoding = random.choice(_ENCODINGS)
    return text.encode(encoding, "surrogatepass" if "utf" in encoding else "replace")


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data or b"\x00")
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _put_in(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data) + 1)
    return data[:place] + random.choice(_JUNK) + data[place:]


def _put_over(data: bytes, random: Random) -> bytes:
    place, junk = random.randrange(len(data) + 1), random.choice(_JUNK)
    return data[:place] + junk + data[place + len(junk) :]


def _cut_out(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data) + 1)
    return data[:place] + data[place + random.choice((1, 2, 10, 100)) :]


def _cut_off(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _double(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data) + 1)
    return data[:place] + data[place : place + 60] * 2 + data[place + 60 :]


def _reverse(data: bytes, random: Random) -> bytes:
    del random
    return data[::-1]


_TEARS: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(_flip, _flip, _flip, _put_in, _put_over, _cut_out, _cut_off, _double),
    *(_reverse, lambda data, random: random.randbytes(min(len(data), 200)), lambda *_: b""),
)
_JUNK = (
    *(b"\x00", b"\x00" * 512, b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80"),
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\r\n\r\n", b" ", b"\x80\x04", b"\x1f\x8b"),
    *(b'{"access_token": "other"}', b"[" * 2000, b"9" * 500),
)
