"""LoggingObserver: the events of the library as lines of a log."""

import dataclasses
import logging
from typing import Any, get_args

import pytest

from client_server import Reply, Server
from doubles import START
from requestforge import HttpClient, HttpClientConfig
from requestforge.contrib.logging import LoggingObserver
from requestforge.events import Event, RequestFailed, RequestSent, StepFetched
from requestforge.instrumentation import observe

SENT = RequestSent(at=START, request_id="r1", method="GET", url="https://a.example/", attempt=0)
FAILED = RequestFailed(
    at=START,
    request_id="r1",
    method="GET",
    url="https://a.example/",
    attempt=1,
    error="reset\nFAKE LINE",
)
KINDS: list[Any] = list(get_args(Event))


def some(kind: Any) -> Any:  # noqa: ANN401 - events of any kind
    """An event of this kind."""
    return kind(
        **{each.name: START if each.name == "at" else "x" for each in dataclasses.fields(kind)}
    )


@pytest.fixture(autouse=True)
def _at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="requestforge.events")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_has_its_line(kind: Any, caplog: pytest.LogCaptureFixture) -> None:  # noqa: ANN401
    """One record for each event, with its name in the text and its fields as attributes."""
    event = some(kind)
    LoggingObserver()(event)
    [record] = caplog.records
    assert record.getMessage().startswith(f"{kind.__name__}: ")
    found = {each.name: getattr(record, each.name) for each in dataclasses.fields(kind)}
    assert found == {each.name: getattr(event, each.name) for each in dataclasses.fields(kind)}
    assert vars(record)["event"] == kind.__name__


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_trouble_is_a_warning(kind: Any, caplog: pytest.LogCaptureFixture) -> None:  # noqa: ANN401
    """What went wrong, has to wait or is tried again is told at WARNING, all else at INFO."""
    routine = {
        "RequestReplayed",
        "RequestSent",
        "ResponseReceived",
        "StepCached",
        "StepFetched",
        "StepInvalidated",
        "StepMissed",
        "TokenReplaced",
    }
    LoggingObserver()(some(kind))
    expected = logging.INFO if kind.__name__ in routine else logging.WARNING
    assert [record.levelno for record in caplog.records] == [expected]


def test_a_line_is_read_by_people(caplog: pytest.LogCaptureFixture) -> None:
    """A line names what there is, instants and durations in short; the log has its own time."""
    event = StepFetched(
        at=START, pipeline="shop", step="user token", ends_at=START, seconds=0.12345
    )
    LoggingObserver()(event)
    expected = (
        "StepFetched: pipeline shop, step 'user token', ends_at 2030-01-01T12:00:00+00:00, "
        "seconds 0.123"
    )
    assert caplog.messages == [expected]


def test_a_text_is_no_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Line breaks in an event cannot forge a line of the log."""
    LoggingObserver()(FAILED)
    expected = (
        "RequestFailed: request_id r1, method GET, url https://a.example/, attempt 1, "
        r"error 'reset\nFAKE LINE'"
    )
    assert caplog.messages == [expected]


def test_logger_and_level_can_be_chosen(caplog: pytest.LogCaptureFixture) -> None:
    """Lines go to the logger given, at the level given; trouble is never told below it."""
    logger = logging.getLogger("shop.http")
    caplog.set_level(logging.DEBUG, logger="shop.http")
    for level in (logging.DEBUG, logging.ERROR):
        observer = LoggingObserver(logger, level)
        observer(SENT)
        observer(FAILED)
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("shop.http", "DEBUG"),
        ("shop.http", "WARNING"),
        ("shop.http", "ERROR"),
        ("shop.http", "ERROR"),
    ]


def test_nothing_is_made_that_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    """Below the level of its logger an event leaves no record."""
    caplog.set_level(logging.WARNING, logger="requestforge.events")
    LoggingObserver()(SENT)
    assert caplog.records == []


def test_it_observes_a_client(caplog: pytest.LogCaptureFixture) -> None:
    """As an observer it tells of each request, with nothing secret in any record."""
    with Server() as api, observe(LoggingObserver()):
        api.rules["/"] = Reply(200)
        with HttpClient(HttpClientConfig(api.url)) as client:
            client.get("/?token=canary", headers={"Authorization": "Bearer canary"})
    told = [record for record in caplog.records if record.name == "requestforge.events"]
    assert [vars(record)["event"] for record in told] == ["RequestSent", "ResponseReceived"]
    assert vars(told[1])["status_code"] == 200
    assert "canary" not in " ".join(str(vars(record)) for record in told)
