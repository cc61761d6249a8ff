"""How the standards of OAuth 2 write bytes, credentials and claims."""

import json
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Mapping
from typing import Any


def base64url(content: bytes) -> str:
    """Without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def text_of_base64(value: str) -> str | None:
    """The UTF-8 text that was encoded; None: it is none (RFC 7617 section 2)."""
    try:
        return b64decode(value, validate=True).decode()
    except (Error, UnicodeError):
        return None


def claims_of(text: str) -> Mapping[str, Any]:
    """What a JWT says, whoever has signed it; empty: it is none."""
    content = text.split(".")[1:2]
    try:
        claims = json.loads(urlsafe_b64decode("".join(content) + "=="))
    except (Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
