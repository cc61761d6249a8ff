"""Masking: which names are sensitive, and how values, URLs and free text lose their secrets."""

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar
from functools import lru_cache, singledispatch
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

MASK = "***"
"""What stands in the place of a secret."""

NO_NAMES: frozenset[str] = frozenset()
"""No sensitive names beyond the built-in ones."""

_also: ContextVar[frozenset[str]] = ContextVar("also_sensitive", default=NO_NAMES)

_PARTS = (
    "token",
    "secret",
    "password",
    "passwd",
    "authorization",
    "cookie",
    "apikey",
    "credential",
    "signature",
    "assertion",
    "privatekey",
)
_EXACT = frozenset({"code", "pin", "otp", "key", "jwt", "session", "sessionid"})

_DEEPEST = 64
_NESTED_TEXTS = 3
_LONGEST_KNOWN_NAME = 256
_SHORT_SECRET = 4
_WINDOW = 65_536

# A key of this process alone: eight digits in a log then cannot be tried against guessed secrets.
_FINGERPRINT_KEY = os.urandom(32)

# The patterns are compiled at their first use (`re` keeps them), since most processes never fail.
# Each starts at the border of a run, so that none scans a long run more than once; what may stand
# before a name and is not looked for is never part of a pattern.
_QUOTED = r""" "(?:\\.|[^"\\])*+(?:"|\\?\Z) | '(?:\\.|[^'\\])*+(?:'|\\?\Z) """
_URL = r"""(?i)(?<![a-z0-9+.-])(?:https?:|[a-z0-9+.-]+:[/\\]{2}|[/\\]{2})[^\s'"<>]*"""
_URL_START = r"(?i)\s*(?:https?:[/\\]*|[a-z][a-z0-9+.-]*:[/\\]{2,}|[/\\]{2,})"
_USERINFO = r"""(?<![^\s'"<>/@])[^\s'"<>/@:]+:[^\s'"<>/@]*@"""
_SCHEME = r"""(?ix) \b(bearer|basic|digest|dpop|negotiate)([ \t]+)
    (?!(?:realm|error|error_description|error_uri|scope|charset|algs|nonce|qop)=)  # a challenge
    [^\s'",;<>]+"""

# What names a value, and the values that may follow: header lines, assignments, members of JSON.
_NAMED = (
    (
        r"(?i)(?<![\w-])(\w+-[\w-]*|authorization|cookie)[ \t]*:[ \t]*",
        r"""[^\r\n'"]+""",
    ),
    (
        r"(?<![\w.%\[\]-])([\w.%\[\]-]+)[ \t]*=+>?[ \t]*",
        rf"""(?xs) b?(?:{_QUOTED}) | [\[{{(].* | [^\s&'"<>]+""",
    ),
    (
        r"""["']([^"'\\]{1,128})\\*["']\s*:\s*""",
        rf"""(?xs) \\+(?:{_QUOTED})                   # in a quoted text there is no telling its end
          | b?(?:{_QUOTED})(?=\s*(?:[,}}\])]|\Z))  # in prose a quotation goes on otherwise
          | [\[{{].* | -?\d[^\s,}}\])]*""",
    ),
)


class also_sensitive:  # noqa: N801 - reads as the statement that it is part of
    """A block in which values of these names are masked, too, whoever masks."""

    __slots__ = ("_before", "_names")

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def __enter__(self) -> None:
        """Add the names."""
        if self._names:
            self._before = _also.set(_also.get() | self._names)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take them away."""
        if self._names:
            _also.reset(self._before)


def names_also_sensitive() -> frozenset[str]:
    """The names of all `also_sensitive` blocks that this code runs in."""
    return _also.get()


def is_sensitive(name: object, extra: frozenset[str] = NO_NAMES) -> bool:
    """Whether a header, query key, form field or JSON key of this name holds a secret.

    Args:
        name: the name; case, '-' and '_' do not matter.
        extra: further sensitive names.
    """
    text = _text(name)
    # A server may write names without end: long ones are not remembered.
    look = _is_sensitive_word if len(text) <= _LONGEST_KNOWN_NAME else _is_sensitive_name
    return look(text, extra)


def mask_headers(headers: Mapping[str, object], extra: frozenset[str] = NO_NAMES) -> dict[str, Any]:
    """A copy of the headers, with the values of sensitive names masked."""
    return {
        name: MASK if _is_masked(name, extra) else _mask_value(value, extra, 0)
        for name, value in headers.items()
    }


def mask_url(url: str, extra: frozenset[str] = NO_NAMES) -> str:
    """The URL without userinfo, and with the values of sensitive query keys masked."""
    return _mask_url(url, extra, _NESTED_TEXTS)


def mask_json(value: object, extra: frozenset[str] = NO_NAMES) -> object:
    """A copy of a JSON-like value with what stands under a sensitive key masked, at any depth.

    Strings lose the secrets that `mask_text` finds; objects are masked by `mask_object`.
    """
    return _mask_value(value, extra, 0)


def mask_form(data: object, extra: frozenset[str] = NO_NAMES) -> object:
    """A copy of form fields (mapping, pairs, or encoded text) with sensitive values masked."""
    if isinstance(data, str | bytes):
        return _mask_query(_text(data), extra, _NESTED_TEXTS)
    return _mask_value(data, extra, 0)


def mask_files(files: object) -> object:
    """The names of a multipart body's parts, without what is in them."""
    # Not from an iterator, which would be used up.
    if not isinstance(files, Mapping | list | tuple):
        return None if files is None else MASK
    try:
        return dict.fromkeys(dict(files), MASK)
    except (TypeError, ValueError):  # neither a mapping nor pairs
        return MASK


def mask_auth(auth: object) -> object:
    """What stands in the place of a pair of user and password, or of an auth object."""
    if auth is None:
        return None
    return (MASK, MASK) if isinstance(auth, tuple) else MASK


def mask_body(body: str | bytes, extra: frozenset[str] = NO_NAMES) -> str:
    """A body's text with sensitive values masked: JSON by its keys, else as a form or as text."""
    text = _text(body)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        if "=" in text and not re.search(r"\s", text):
            text = _mask_query(text, extra, _NESTED_TEXTS)
        return mask_text(text, extra)
    masked = _mask_value(value, extra, 0)
    if masked != value:
        return json.dumps(masked, ensure_ascii=False)
    # Of a key named twice the parser keeps the last alone, so the text itself is searched, too.
    return mask_text(text, extra)


def mask_start(text: str, length: int, extra: frozenset[str] = NO_NAMES) -> str:
    """The first characters of what `mask_body` gives, at a cost that has an upper bound.

    Of a long text only so much is masked as surely can be: a word that may go on, and be told for
    a secret by what follows, is left out.

    Args:
        text: of a body.
        length: characters that are given at most.
        extra: sensitive names beyond the built-in ones.
    """
    if len(text) > _WINDOW:
        window = text[:_WINDOW]
        text = window[: len(window) - len(re.split(r"[\s\"'<>]", window)[-1])]
        if not text:
            return MASK
    return mask_body(text, extra)[:length]


def mask_text(text: str, extra: frozenset[str] = NO_NAMES) -> str:
    """Free text, such as a foreign exception's, without the credentials that can be told in it.

    These are userinfo and secret query values of URLs, sensitive header lines, `name=value` and
    `"name": "value"` of sensitive names, and what follows Bearer, Basic and their like.
    """
    return _mask_text(text, extra, _NESTED_TEXTS)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text with each of these secrets, as it is or percent- or JSON-encoded, masked.

    Of three characters or fewer it is masked where it stands alone: words that happen to hold such
    letters tell nothing.
    """
    forms = {
        form: _alone(form) if len(secret) < _SHORT_SECRET else re.escape(form)
        for secret in secrets
        if secret
        for form in (
            secret,
            quote(secret, safe="", errors="replace"),
            quote(secret, errors="replace"),
            quote_plus(secret, errors="replace"),
            json.dumps(secret)[1:-1],
        )
    }
    if not forms:
        return text
    longest_first = sorted(forms, key=len, reverse=True)
    pattern = "|".join(forms[form] for form in longest_first)
    return re.sub(pattern, MASK, text, flags=re.IGNORECASE)


def clean_text(text: str, limit: int = 200, secrets: Iterable[str] = ()) -> str:
    """What a server wrote, fit for a message: printable, masked, at most `limit` characters."""
    known = tuple(secrets)
    printable = "".join(char if char.isprintable() else " " for char in scrub(text, known))
    # Once more: a secret may have been taken apart by a character that is now a blank.
    return mask_text(scrub(printable, known))[:limit]


def error_text(error: object, secrets: Iterable[str] = ()) -> str:
    """The text of an exception, or of what it carries, without credentials."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a foreign __str__ may raise anything
        return "(no readable text)"
    return mask_text(scrub(text, secrets))


def fingerprint(value: str) -> str:
    """Eight hex digits that are the same for equal values within this process."""
    # Here, since it loads OpenSSL, which no import of the library should wait for.
    from hashlib import blake2b  # noqa: PLC0415

    data = value.encode("utf-8", "surrogatepass")
    return blake2b(data, key=_FINGERPRINT_KEY, digest_size=4).hexdigest()


@singledispatch
def mask_object(value: object, _extra: frozenset[str] = NO_NAMES) -> object:
    """The value with its secrets masked; a type that holds some registers how."""
    return value


def masks_itself(value: object) -> bool:
    """Whether `mask_object` knows the type of this value."""
    return mask_object.dispatch(type(value)) is not mask_object.dispatch(object)


def _is_masked(name: object, extra: frozenset[str]) -> bool:
    return is_sensitive(name, extra | _also.get())


@lru_cache(maxsize=2048)
def _is_sensitive_word(name: str, extra: frozenset[str]) -> bool:
    return _is_sensitive_name(name, extra)


def _is_sensitive_name(name: str, extra: frozenset[str]) -> bool:
    plain = _plain(name)
    if plain in _EXACT or any(plain == _plain(other) for other in extra):
        return True
    # token_type names a scheme (RFC 6749 section 7.1), and so does subject_token_type (RFC 8693).
    rest = plain.replace("tokentype", "")
    return any(part in rest for part in _PARTS)


def _alone(form: str) -> str:
    """A pattern of the form where it is no part of a word."""
    before = r"(?<!\w)" if re.match(r"\w", form) else ""
    after = r"(?!\w)" if re.match(r"\w", form[-1]) else ""
    return f"{before}{re.escape(form)}{after}"


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _mask_value(value: object, extra: frozenset[str], depth: int) -> object:
    if isinstance(value, str | bytes):
        text = _text(value)
        masked = mask_text(text, extra)
        return value if masked == text else masked
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return mask_object(value, extra)
    if depth == _DEEPEST:
        return MASK
    if isinstance(value, Mapping):
        return {
            key: MASK if _is_masked(key, extra) else _mask_value(item, extra, depth + 1)
            for key, item in value.items()
        }
    return _mask_items(value, extra, depth)


def _mask_items(items: Collection[object], extra: frozenset[str], depth: int) -> Collection[object]:
    match items:
        case (str() | bytes() as name, _) if isinstance(items, tuple) and _is_masked(name, extra):
            return (name, MASK)
    masked = [_mask_value(item, extra, depth + 1) for item in items]
    if isinstance(items, set | frozenset):
        return set(masked)
    return masked if isinstance(items, list) else tuple(masked)


def _mask_text(text: str, extra: frozenset[str], depth: int) -> str:
    text = re.sub(_URL, lambda match: _mask_url(match[0], extra, depth), text)
    text = re.sub(_USERINFO, f"{MASK}@", text)
    text = re.sub(_SCHEME, rf"\1\2{MASK}", text)
    for name, value in _NAMED:
        text = _mask_named(text, name, re.compile(value), extra)
    return text


def _mask_named(text: str, name: str, value: re.Pattern[str], extra: frozenset[str]) -> str:
    done: list[str] = []
    end = 0
    for named in re.finditer(name, text):
        if named.start() < end or not _is_masked(unquote_plus(named[1]), extra):
            continue
        secret = value.match(text, named.end())
        if secret and secret[0].strip("'\"") != MASK:  # else JSON would lose the quotes
            done += (text[end : named.end()], MASK)
            end = secret.end()
    return "".join((*done, text[end:]))


def _mask_url(url: str, extra: frozenset[str], depth: int) -> str:
    start = re.match(_URL_START, url)
    head, rest = (start[0], _without_userinfo(url[start.end() :])) if start else ("", url)
    path, *parts = re.split(r"([?#])", rest, maxsplit=2)
    segments = "/".join(_mask_pair(segment, extra, depth) for segment in path.split("/"))
    return head + segments + "".join(_mask_query(part, extra, depth) for part in parts)


def _without_userinfo(rest: str) -> str:
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if "@" in authority:
        return authority.rpartition("@")[2] + rest[len(authority) :]
    port = authority.rpartition(":")[2]
    # A password with a raw '/', '?' or '#' in it: what precedes is no host with a port.
    if ":" in authority and not port.isdigit() and not authority.startswith("["):
        return rest.rpartition("@")[2]
    return rest


def _mask_query(query: str, extra: frozenset[str], depth: int) -> str:
    return "&".join(_mask_pair(pair, extra, depth) for pair in query.split("&"))


def _mask_pair(pair: str, extra: frozenset[str], depth: int) -> str:
    done: list[str] = []
    for field in pair.split(";"):  # some servers take it for '&'; elsewhere it is part of a value
        name, equals, value = field.partition("=")
        if equals and _is_masked(unquote_plus(name).rpartition("?")[2], extra):
            return ";".join((*done, f"{name}={MASK}"))
        done.append(f"{name}{equals}{_mask_encoded(value, extra, depth)}")
    return ";".join(done)


def _mask_encoded(value: str, extra: frozenset[str], depth: int) -> str:
    decoded = unquote_plus(value)
    if not depth or not re.search(r"[=:]", decoded):
        return value
    masked = _mask_text(_mask_url(decoded, extra, depth - 1), extra, depth - 1)
    return value if masked == decoded else quote_plus(masked, safe="*:/")
