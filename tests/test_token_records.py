"""TokenData as a pickle, a copy, a record and an answer."""

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import START, Clock, CountingStep
from requestforge import InMemoryTokenStorage, TokenData, TokenFetchPipeline
from requestforge.instrumentation import use_clock

pytestmark = pytest.mark.compat

SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)
FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)


def fetched(**fields: object) -> TokenData:
    """A token with a generation."""
    step = CountingStep("app")
    step.fetch = lambda _=None: TokenData("acc3ss", **fields)
    return TokenFetchPipeline([step], InMemoryTokenStorage()).execute()


@pytest.mark.parametrize(
    "duplicate",
    [
        *(
            pytest.param(lambda t, p=p: pickle.loads(pickle.dumps(t, p)), id=f"pickle {p}")
            for p in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
        copy.copy,
        copy.deepcopy,
        pytest.param(lambda t: TokenData.from_dict(t.to_dict()), id="dict"),
        pytest.param(lambda t: TokenData.from_dict(json.loads(json.dumps(t.to_dict()))), id="json"),
    ],
)
def test_a_duplicate_has_everything(duplicate: Callable[[TokenData], TokenData]) -> None:
    """Pickles, copies and records keep all fields and the generation."""
    token = fetched(
        token_type="Mac",
        expires_at=datetime(2100, 1, 1, 12, 30, 0, 123456, tzinfo=UTC),
        refresh_token="r",
        scope="s",
        extra={"x": {"y": 1}},
        issued_at=START,
        leeway=timedelta(seconds=1.5),
    )
    twin = duplicate(token)
    assert twin == token
    assert dataclasses.astuple(twin) == dataclasses.astuple(token)
    assert twin.generation == token.generation
    with pytest.raises(TypeError):
        twin.extra["x"] = 2


class Special(TokenData):
    """A token class of the user's own."""

    __slots__ = ()


def test_duplicates_keep_the_class() -> None:
    """A subclass stays what it is."""
    token = Special("a")
    assert type(pickle.loads(pickle.dumps(token))) is Special
    assert type(Special.from_dict(token.to_dict())) is Special
    assert type(Special.from_response({"access_token": "a"})) is Special
    assert token == TokenData("a")


# Records


def test_the_record() -> None:
    """to_dict gives JSON-ready values."""
    token = TokenData("a", "Mac", START, "r", "s", {"x": [1]}, START, timedelta(seconds=1.5))
    assert token.to_dict() == {
        "access_token": "a",
        "token_type": "Mac",
        "expires_at": "2030-01-01T12:00:00+00:00",
        "refresh_token": "r",
        "scope": "s",
        "extra": {"x": [1]},
        "issued_at": "2030-01-01T12:00:00+00:00",
        "leeway": 1.5,
        "generation": None,
    }
    assert type(token.to_dict()["extra"]) is dict


def test_records_of_the_first_release_are_read() -> None:
    """Six fields make a token, with the expiry naive or aware."""
    token = TokenData.from_dict(
        {
            "access_token": "a",
            "token_type": "Bearer",
            "expires_at": "2030-01-01T12:00:00",
            "refresh_token": None,
            "scope": None,
            "extra": {},
        }
    )
    assert token == TokenData("a", expires_at=datetime(2030, 1, 1, 12))
    assert token.generation is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param({}, TokenData("a"), id="access token alone"),
        pytest.param({"token_type": None, "extra": None}, TokenData("a"), id="nulls"),
        pytest.param({"token_type": ""}, TokenData("a", ""), id="empty type"),
        pytest.param({"format": 7, "later": {}}, TokenData("a"), id="unknown keys"),
        pytest.param({"expires_at": START}, TokenData("a", expires_at=START), id="a datetime"),
        pytest.param(
            {"expires_at": "2030-01-01T12:00:00Z"}, TokenData("a", expires_at=START), id="Z"
        ),
    ],
)
def test_records_that_are_read(data: dict[str, object], expected: TokenData) -> None:
    """What is missing has its default, what is unknown is ignored."""
    assert TokenData.from_dict({"access_token": "a"} | data) == expected


@pytest.mark.parametrize(
    ("data", "field"),
    [
        pytest.param({"access_token": None}, "access_token", id="no access token"),
        pytest.param({"access_token": 7}, "access_token", id="number for a token"),
        pytest.param({"token_type": 7}, "token_type", id="number for a type"),
        pytest.param({"expires_at": "s3cr3t"}, "expires_at", id="no instant"),
        pytest.param({"expires_at": 7}, "expires_at", id="number for an instant"),
        pytest.param({"issued_at": "s3cr3t"}, "issued_at", id="no instant of issue"),
        pytest.param({"refresh_token": 7}, "refresh_token", id="number for a refresh token"),
        pytest.param({"scope": ["s"]}, "scope", id="list for a scope"),
        pytest.param({"extra": []}, "extra", id="list for extra"),
        pytest.param({"leeway": "s3cr3t"}, "leeway", id="text for leeway"),
        pytest.param({"leeway": float("nan")}, "leeway", id="NaN for leeway"),
        pytest.param({"leeway": 1e300}, "leeway", id="endless leeway"),
        pytest.param({"leeway": -1}, "leeway", id="negative leeway"),
        pytest.param({"generation": 7}, "generation", id="number for a generation"),
    ],
)
def test_malformed_records_are_refused(data: dict[str, object], field: str) -> None:
    """A malformed record is a ValueError that names the field, never a value."""
    with pytest.raises(ValueError, match=field) as caught:
        TokenData.from_dict({"access_token": "s3cr3t"} | data)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("data", [None, [], "x", 7], ids=repr)
def test_what_is_no_record_is_refused(data: object) -> None:
    """A record is a mapping."""
    with pytest.raises(ValueError, match="mapping"):
        TokenData.from_dict(data)


INSTANTS = st.none() | st.datetimes(
    datetime(1971, 1, 1), datetime(9000, 1, 1), timezones=st.none() | st.just(UTC)
)


@given(
    access_token=st.text(),
    token_type=st.text(),
    expires_at=INSTANTS,
    refresh_token=st.none() | st.text(),
    scope=st.none() | st.text(),
    extra=st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text())),
    issued_at=INSTANTS,
    leeway=st.none() | st.timedeltas(timedelta(0), timedelta(days=10_000)),
)
def test_every_token_survives_its_record(**fields: object) -> None:
    """from_dict undoes to_dict, by way of JSON, and equal tokens have equal hashes."""
    token = TokenData(**fields)
    twin = TokenData.from_dict(json.loads(json.dumps(token.to_dict())))
    assert dataclasses.astuple(twin) == dataclasses.astuple(token)
    assert twin == token
    assert hash(twin) == hash(token)
    assert pickle.loads(pickle.dumps(token)) == token
    assert isinstance(token.is_expired, bool)


# Answers: the table of values has tests of its own


def test_an_answer_becomes_a_token() -> None:
    """from_response reads the fields of RFC 6749, counts from now, and keeps the rest."""
    with use_clock(Clock()):
        token = TokenData.from_response(
            {
                "access_token": "a",
                "token_type": "bearer",
                "expires_in": 3600,
                "refresh_token": "r",
                "scope": "s",
                "id_token": "i",
            }
        )
    assert token == TokenData("a", "bearer", START + 3600 * SECOND, "r", "s", {"id_token": "i"})
    assert token.issued_at == START
    assert token.leeway is None


def test_the_keys_of_an_answer_can_be_named() -> None:
    """Each key has its argument, in the order of the first release."""
    with use_clock(Clock()):
        token = TokenData.from_response(
            {"ttl": 60, "jwt": "a", "again": "r", "kind": "Mac", "scope": "s"},
            "ttl",
            "jwt",
            "again",
            "kind",
        )
    assert token == TokenData("a", "Mac", START + 60 * SECOND, "r", "s")


def test_an_answer_without_a_token_is_a_key_error() -> None:
    """A missing access token key is a KeyError that names it."""
    with pytest.raises(KeyError, match="jwt"):
        TokenData.from_response({"access_token": "a"}, access_token_key="jwt")


def test_a_refused_value_is_a_value_error_without_it() -> None:
    """A refusal names the field, not the value."""
    with pytest.raises(ValueError, match="expires_in") as caught:
        TokenData.from_response({"access_token": "a", "expires_in": "s3cr3t"})
    assert "s3cr3t" not in str(caught.value)
