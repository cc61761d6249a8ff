"""Devices without a browser: their codes, and what their user decides elsewhere (RFC 8628)."""

from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.checks import Check
from pytest_requestforge.fake_auth.oauth2.authentication import authenticated
from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.records import DeviceCode, Grant
from pytest_requestforge.fake_auth.oauth2.wire import NO_STORE, Params, refuse

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 section 6.1
_SLOWER = 5  # seconds, RFC 8628 section 3.5


def start(authority: Authority, check: Check) -> Answer:
    """The codes of one device (RFC 8628 sections 3.1 and 3.2)."""
    params = Params(check.incoming.fields or {})
    client = authenticated(authority, check, params)
    grant = Grant(
        client_id=client.id,
        sub="",
        scope=authority.scope(params),
        audience=authority.audience(params),
        is_user=True,
    )
    book, step = authority.server.book, f"{authority.name}.device"
    text = book.text()
    code = DeviceCode(
        text, step, book.number(step), check.now + authority.device_lifetime,
        grant=grant, user_code=_user_code(text), interval=authority.interval,
    )  # fmt: skip
    book.record(code)
    authority.devices[_plain(code.user_code)] = code
    page = f"{authority.url()}/device"
    content = {
        "device_code": code.text,
        "user_code": code.user_code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={code.user_code}",
        "expires_in": int(authority.device_lifetime.total_seconds()),
        "interval": code.interval,
    }
    return Answer(200, content, NO_STORE, f"issued {code.label}", code)


def decide(authority: Authority, user_code: str, sub: str | None, now: datetime) -> DeviceCode:
    """Let that user approve the device, or, for None, deny it.

    Raises:
        LookupError: no device waits with this code.
    """
    code = authority.devices.get(_plain(user_code))
    if code is None or code.state != "pending" or code.refusal(now) is not None:
        raise LookupError(
            f"No device waits with the user code {user_code!r}; it must have been given out, be "
            f"alive and undecided."
        )
    if sub is None:
        code.state = "denied"
    else:
        code.state = "approved"
        code.grant = replace(code.grant, sub=sub, signed_in_at=now)
    return code


def poll(code: DeviceCode, now: datetime) -> None:
    """Count one more poll of a device that asks for its tokens (RFC 8628 section 3.5).

    Raises:
        Refused: it has to wait, or gets none.
    """
    before, code.polled_at = code.polled_at, now
    if code.state == "denied":
        reason = f"{code.label} was denied by the user"
        refuse("access_denied", reason, said="the user has refused")
    if code.expires_at is not None and now >= code.expires_at:
        refuse("expired_token", str(code.refusal(now)), said="the device code has expired")
    if code.state == "approved":
        return
    if before is not None and (now - before).total_seconds() < code.interval:
        waited = (now - before).total_seconds()
        code.interval += _SLOWER
        reason = f"{code.label} was polled again after {waited:g} s"
        refuse("slow_down", reason, said="polled too soon; wait five seconds more from now on")
    reason = f"{code.label} waits for the user"
    refuse("authorization_pending", reason, said="the user has not decided yet")


def _user_code(device_code: str) -> str:
    """Letters that follow from the device code, and so from the seed."""
    digest = sha256(device_code.encode()).digest()
    letters = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:8])
    return f"{letters[:4]}-{letters[4:]}"


def _plain(user_code: str) -> str:
    """What counts of a code as the user has typed it (RFC 8628 section 6.1)."""
    return "".join(filter(str.isalnum, user_code)).upper()
