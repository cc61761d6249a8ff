"""HttpClient: what it makes of a server that asks for a pause."""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from misbehaving import LATE, Hostile

from canary import assert_clean
from doubles import Clock
from loopback import in_turn, reply
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import HttpStatusException
from requestforge.instrumentation import use_clock
from requestforge.retry import SimpleRetryStrategy

CANARY = "canary-wait-3c04"
DELAY = 2.0

every_status = pytest.mark.parametrize("status", [429, 503])


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock at 2030-01-01 12:00:00 UTC that stands still, so that no wait takes time."""
    with use_clock(Clock()) as clock:
        yield clock


@contextmanager
def client_of(server: Hostile, bundle: str, **settings: Any) -> Iterator[HttpClient]:  # noqa: ANN401
    """A client that retries three times, 2 s apart."""
    builder = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle)
    builder.with_bearer_token(CANARY).with_raise_for_status()
    builder.with_retry_strategy(SimpleRetryStrategy(3, DELAY, **settings))
    with HttpClient(builder.build()) as client:
        yield client


@every_status
@pytest.mark.parametrize(
    ("retry_after", "slept"),
    [
        pytest.param("7", [7, 7], id="seconds"),
        pytest.param("0", [DELAY, DELAY], id="no seconds"),
        pytest.param("Tue, 01 Jan 2030 12:00:30 GMT", [30, DELAY], id="date"),
        pytest.param("Tuesday, 01-Jan-30 12:00:30 GMT", [30, DELAY], id="date as in RFC 850"),
        pytest.param("Tue Jan  1 12:00:30 2030", [30, DELAY], id="date as asctime writes it"),
        pytest.param("Tue, 01 Jan 2030 11:00:00 GMT", [DELAY, DELAY], id="past date"),
        pytest.param("-7", [DELAY, DELAY], id="negative"),
        pytest.param("1e3", [DELAY, DELAY], id="no digits"),
        pytest.param(f"soon, says {CANARY}", [DELAY, DELAY], id="nonsense"),
    ],
)
def test_the_pause_that_is_asked_for_is_kept(  # noqa: PLR0917 - given by name
    tls: ssl.SSLContext | None,
    bundle: str,
    clock: Clock,
    status: int,
    retry_after: str,
    slept: list[float],
) -> None:
    """Seconds or a date in any form of RFC 9110: the longer of it and the delay passes."""
    refusal = reply(status, Retry_After=retry_after)
    server = Hostile(in_turn(refusal, refusal, reply(body=b"fine")), tls)
    with server, client_of(server, bundle) as client:
        assert client.get("/").content == b"fine"
        assert clock.slept == slept
        assert len(server.requests) == 3
        assert server.connections == 1


@every_status
@pytest.mark.parametrize(
    ("retry_after", "asked"),
    [
        pytest.param("61", 61, id="seconds"),
        pytest.param("9" * 400, 315_360_000, id="far more seconds than anybody waits"),
        pytest.param("Tue, 01 Jan 2030 12:01:01 GMT", 61, id="date"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", 251_463_657_599, id="the last date"),
    ],
)
def test_a_pause_beyond_the_limit_is_the_callers(  # noqa: PLR0917 - given by name
    tls: ssl.SSLContext | None,
    bundle: str,
    clock: Clock,
    status: int,
    retry_after: str,
    asked: float,
) -> None:
    """More than 60 s are not waited for: the error, at once, says how long the server asks for."""
    server = Hostile(reply(status, CANARY.encode(), Retry_After=retry_after), tls)
    with server, client_of(server, bundle) as client:
        with pytest.raises(HttpStatusException) as caught:
            client.get(f"/?token={CANARY}")
        assert client.get("/good").content == b"good"
    assert caught.value.status_code == status
    assert caught.value.retry_after == min(asked, 315_360_000)
    assert clock.slept == []
    assert server.asked == ["GET /", "GET /good"]
    assert CANARY not in str(caught.value)
    assert_clean(*server.asked)


@every_status
def test_a_post_that_is_put_off_is_the_callers(
    tls: ssl.SSLContext | None, bundle: str, clock: Clock, status: int
) -> None:
    """A POST is not sent again on a pause that is asked for, unless the strategy says so."""
    for told, sent in ((False, 1), (True, 2)):
        server = Hostile(in_turn(reply(status, Retry_After="5"), reply(201)), tls)
        with server, client_of(server, bundle, retry_non_idempotent=told) as client:
            if told:
                assert client.post("/", json_data={}).status_code == 201
            else:
                with pytest.raises(HttpStatusException) as caught:
                    client.post("/", json_data={})
                assert caught.value.retry_after == 5
        assert len(server.requests) == sent
    assert clock.slept == [5]


ABROAD = """
import time
from email.utils import formatdate
from loopback import Loopback, Received, reply
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import HttpStatusException


def later(received: Received) -> bytes:
    at = time.time() + 40
    dates = {
        "/imf": formatdate(at, usegmt=True),
        "/rfc850": time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(at)),
        "/asctime": time.asctime(time.gmtime(at)),
        "/nowhere": formatdate(at),
    }
    return reply(503, Retry_After=dates[received.path])


print(time.strftime("%z"))
with Loopback(later) as server:
    config = HttpClientConfigBuilder().with_base_url(server.url).with_raise_for_status().build()
    with HttpClient(config) as client:
        for path in ("/imf", "/rfc850", "/asctime", "/nowhere"):
            try:
                client.get(path)
            except HttpStatusException as error:
                print(error.retry_after)
"""


@pytest.mark.parametrize(
    ("zone", "offset"),
    [
        pytest.param("Pacific/Kiritimati", "+1400", id="Kiritimati"),
        pytest.param("Pacific/Marquesas", "-0930", id="Marquesas"),
        pytest.param("Australia/Lord_Howe", None, id="Lord Howe"),
    ],
)
def test_dates_mean_the_same_in_every_time_zone(zone: str, offset: str | None) -> None:
    """A date in Retry-After is one in UTC, wherever the process lives, by the real clock."""
    tests = Path(__file__).parent.parent
    ended = subprocess.run(
        [sys.executable, "-c", ABROAD],
        env={**os.environ, "TZ": zone, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=LATE * 3,
    )
    assert ended.returncode == 0, ended.stderr
    told, *waits = ended.stdout.split()
    assert told == offset or offset is None
    assert len(waits) == 4
    assert all(20 < float(wait) <= 40 for wait in waits), waits
