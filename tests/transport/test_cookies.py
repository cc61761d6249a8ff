"""Sessions without cookies: none is kept, and none is sent but what the caller writes."""

from collections.abc import Iterator

import pytest
import requests
from asking import SOON

from loopback import Loopback, reply
from requestforge._transport.call import Call
from requestforge._transport.opening import open_sessions
from requestforge._transport.sessions import Sessions


@pytest.fixture
def server() -> Iterator[Loopback]:
    """Sets a cookie with each answer."""
    with Loopback(reply(Set_Cookie="kept=1; Path=/")) as running:
        yield running


def sessions(*, cookies: bool, supplied: requests.Session | None = None) -> Sessions:
    """The sessions of a client."""
    return open_sessions(supplied, pool_connections=1, pool_maxsize=1, cookies=cookies)


def ask(opened: Sessions, url: str, **headers: str) -> None:
    """Send a GET."""
    call = Call(
        method="GET",
        url=url,
        headers=headers,
        params=None,
        data=None,
        json_data=None,
        files=None,
        auth=None,
        timeout=(10 * SOON, 10 * SOON),
        verify=True,
        max_redirects=None,
        is_credential=lambda _: False,
        uses_session_login=True,
        uses_found_login=True,
        rewind=lambda: True,
    )
    opened.exchange(call)


# The second URL is one that requests itself prepares.
@pytest.mark.parametrize("path", ["/plain", "/a@b"])
def test_none_is_kept_or_sent(server: Loopback, path: str) -> None:
    """Neither of an answer, nor of the owner of the session."""
    opened = sessions(cookies=False)
    ask(opened, server.url + path)
    opened.current.cookies.set("by-hand", "1")
    ask(opened, server.url + path)
    opened.close()
    assert not list(opened.current.cookies)
    assert not any("cookie" in seen.headers for seen in server.requests)


def test_a_header_of_the_caller_is_sent(server: Loopback) -> None:
    """What is written into a request by hand is no cookie of the session."""
    opened = sessions(cookies=False)
    ask(opened, f"{server.url}/", Cookie="mine=1")
    opened.close()
    assert server.requests[0].headers["cookie"] == "mine=1"


@pytest.mark.parametrize("supplied", [False, True], ids=["own session", "supplied session"])
def test_else_they_are_kept(server: Loopback, supplied: bool) -> None:
    """By default, and in a session of the caller in any case."""
    with requests.Session() as session:
        opened = sessions(cookies=not supplied, supplied=session if supplied else None)
        ask(opened, f"{server.url}/")
        ask(opened, f"{server.url}/")
        opened.close()
    assert server.requests[1].headers["cookie"] == "kept=1"
