"""TokenData: its fields, expiry, equality and masking."""

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

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


# Fields


def test_the_order_of_the_arguments() -> None:
    """All eight fields can be given by position."""
    token = TokenData("a", "Mac", START, "r", "s", {"x": 1}, START - SECOND, SECOND)
    assert dataclasses.astuple(token) == (
        "a",
        "Mac",
        START,
        "r",
        "s",
        {"x": 1},
        START - SECOND,
        SECOND,
    )


def test_defaults() -> None:
    """An access token is enough."""
    token = TokenData("a")
    assert (token.token_type, token.extra, token.generation) == ("Bearer", {}, None)
    assert token.expires_at is token.refresh_token is token.scope is token.issued_at is None
    assert token.leeway is None


@pytest.mark.parametrize("name", ["access_token", "extra", "issued_at", "generation", "other"])
def test_a_token_is_frozen(name: str) -> None:
    """No attribute can be set, known or not."""
    with pytest.raises((AttributeError, TypeError)):
        setattr(TokenData("a"), name, "b")
    assert not hasattr(TokenData("a"), "__dict__")


def test_a_negative_leeway_is_refused() -> None:
    """Leeway is None or not negative."""
    assert TokenData("a", leeway=timedelta(0)).leeway == timedelta(0)
    with pytest.raises(ValueError, match="leeway"):
        TokenData("a", leeway=-TICK)


def test_expires_at_is_kept_as_given() -> None:
    """A naive value stays naive, an aware one keeps its zone."""
    naive, tokyo = datetime(2030, 1, 1), datetime(2030, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert TokenData("a", expires_at=naive).expires_at is naive
    assert TokenData("a", expires_at=tokyo).expires_at is tokyo


def test_extra_is_a_copy() -> None:
    """Changes of the caller's dict do not reach the token."""
    extra = {"x": 1}
    token = TokenData("a", extra=extra)
    extra["x"] = 2
    assert token.extra == {"x": 1}


def test_extra_equals_a_dict_and_is_json() -> None:
    """Extra is a dict like any other to those who read it."""
    token = TokenData("a", extra={"x": [1, {"y": None}]})
    assert isinstance(token.extra, dict)
    assert token.extra == {"x": [1, {"y": None}]}
    assert json.loads(json.dumps(token.extra)) == token.extra
    assert token.extra | {"z": 1} == {"x": [1, {"y": None}], "z": 1}


def assign(extra: dict[str, object]) -> None:
    """Assign to a key."""
    extra["x"] = 2


def remove(extra: dict[str, object]) -> None:
    """Delete a key."""
    del extra["x"]


def merge(extra: dict[str, object]) -> None:
    """Merge in place."""
    extra |= {"x": 2}


@pytest.mark.parametrize(
    "change",
    [
        assign,
        remove,
        merge,
        pytest.param(lambda extra: extra.clear(), id="clear"),
        pytest.param(lambda extra: extra.pop("x"), id="pop"),
        pytest.param(lambda extra: extra.popitem(), id="popitem"),
        pytest.param(lambda extra: extra.setdefault("y", 1), id="setdefault"),
        pytest.param(lambda extra: extra.update(x=2), id="update"),
    ],
)
@pytest.mark.parametrize("extra", [{"x": 1}, {}], ids=["filled", "empty"])
def test_extra_is_read_only(change: Callable[[object], object], extra: dict[str, object]) -> None:
    """Every change of extra is a TypeError."""
    token = TokenData("a", extra=extra)
    with pytest.raises(TypeError, match="read-only"):
        change(token.extra)
    assert token.extra == extra


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_extra_of_a_copy_is_read_only_too(duplicate: Callable[[object], dict[str, object]]) -> None:
    """A copy of extra cannot be changed either; a deep one shares nothing."""
    extra = TokenData("a", extra={"x": [1]}).extra
    twin = duplicate(extra)
    assert twin == extra
    with pytest.raises(TypeError):
        twin["x"] = 2
    assert (twin["x"] is extra["x"]) is (duplicate is copy.copy)


def test_a_pickled_extra_is_read_only_too() -> None:
    """Extra survives a pickle on its own."""
    extra = pickle.loads(pickle.dumps(TokenData("a", extra={"x": 1}).extra))
    assert extra == {"x": 1}
    with pytest.raises(TypeError):
        extra["x"] = 2


# Expiry


@pytest.mark.parametrize(
    ("fields", "margin"),
    [
        pytest.param({}, 30, id="nothing known"),
        pytest.param({"leeway": timedelta(seconds=7)}, 7, id="leeway"),
        pytest.param({"leeway": timedelta(0)}, 0, id="no leeway"),
        pytest.param({"leeway": 7 * SECOND, "issued_at": START}, 7, id="leeway before issued_at"),
        pytest.param({"issued_at": START}, 30, id="an hour"),
        pytest.param({"issued_at": START + 3300 * SECOND}, 30, id="300 seconds"),
        pytest.param({"issued_at": START + 3500 * SECOND}, 10, id="100 seconds"),
        pytest.param({"issued_at": START + 3600 * SECOND}, 0, id="no life"),
        pytest.param({"issued_at": START + 4000 * SECOND}, 0, id="issued after its end"),
    ],
)
def test_the_margin(fields: dict[str, object], margin: float) -> None:
    """A token is expired from expires_at less leeway, or 10 % of its life, at most 30 s."""
    token = TokenData("a", expires_at=START + 3600 * SECOND, **fields)
    end = START + (3600 - margin) * SECOND
    with use_clock(Clock(end - TICK)):
        assert token.is_expired is False
    with use_clock(Clock(end)):
        assert token.is_expired is True


def test_no_expiry_never_expires() -> None:
    """Without expires_at a token is never expired."""
    with use_clock(Clock(datetime(9999, 12, 31, tzinfo=UTC))):
        assert TokenData("a", issued_at=START, leeway=SECOND).is_expired is False


@pytest.mark.parametrize(
    ("expires_at", "fields", "expired"),
    [
        pytest.param(LAST, {}, False, id="naive maximum"),
        pytest.param(datetime.max.replace(tzinfo=UTC), {}, False, id="maximum"),
        pytest.param(
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), {}, False, id="beyond it"
        ),
        pytest.param(FIRST, {}, True, id="naive minimum"),
        pytest.param(datetime.min.replace(tzinfo=UTC), {}, True, id="minimum"),
        pytest.param(
            datetime.min.replace(tzinfo=timezone(timedelta(hours=12))), {}, True, id="before it"
        ),
        pytest.param(START + SECOND, {"leeway": timedelta.max}, True, id="the largest leeway"),
        pytest.param(
            START + 60 * SECOND,
            {"issued_at": datetime.min.replace(tzinfo=UTC)},
            False,
            id="issued in the year 1",
        ),
    ],
)
def test_the_ends_of_the_calendar(
    expires_at: datetime, fields: dict[str, object], expired: bool
) -> None:
    """Instants that arithmetic cannot go beyond are read all the same."""
    with use_clock(Clock()):
        assert TokenData("a", expires_at=expires_at, **fields).is_expired is expired


LOS_ANGELES = ZoneInfo("America/Los_Angeles")


def test_arithmetic_across_the_start_of_summer_time() -> None:
    """A margin that reaches into the skipped hour is subtracted on the clock of the world."""
    expires_at = datetime(2030, 3, 10, 3, 0, 10, tzinfo=LOS_ANGELES)  # 10:00:10 UTC
    token = TokenData("a", expires_at=expires_at)
    end = datetime(2030, 3, 10, 9, 59, 40, tzinfo=UTC)
    with use_clock(Clock(end - SECOND)):
        assert token.is_expired is False
    with use_clock(Clock(end)):
        assert token.is_expired is True


def test_a_lifetime_across_the_end_of_summer_time() -> None:
    """The 10 % are those of the real lifetime, though both instants are in one zone."""
    issued_at = datetime(2030, 11, 3, 1, 59, 0, tzinfo=LOS_ANGELES)  # 08:59:00 UTC
    expires_at = datetime(2030, 11, 3, 1, 0, 40, fold=1, tzinfo=LOS_ANGELES)  # 09:00:40 UTC
    token = TokenData("a", expires_at=expires_at, issued_at=issued_at)
    end = datetime(2030, 11, 3, 9, 0, 30, tzinfo=UTC)
    with use_clock(Clock(end - TICK)):
        assert token.is_expired is False
    with use_clock(Clock(end)):
        assert token.is_expired is True


# Header and generation


@pytest.mark.parametrize(
    ("token_type", "header"),
    [("Bearer", "Bearer a"), ("bearer", "bearer a"), ("MAC", "MAC a"), ("", "a")],
)
def test_the_authorization_header(token_type: str, header: str) -> None:
    """Type and token, or the bare token where the type is empty."""
    assert TokenData("a", token_type).authorization_header == header


def test_the_generation_is_set_by_pipelines_alone() -> None:
    """There is no argument for it, and only a fetched token has one."""
    with pytest.raises(TypeError):
        TokenData("a", generation="g")
    assert TokenData("a").generation is None
    assert isinstance(fetched().generation, str)


def test_replace_loses_the_generation() -> None:
    """A changed token is no fetch of a pipeline."""
    token = fetched(scope="s")
    changed = dataclasses.replace(token, scope="t")
    assert changed.scope == "t"
    assert changed.access_token == token.access_token
    assert changed.generation is None


# Equality


@pytest.mark.parametrize(
    ("change", "equal"),
    [
        ({"access_token": "b"}, False),
        ({"token_type": "Mac"}, False),
        ({"expires_at": START + TICK}, False),
        ({"refresh_token": "q"}, False),
        ({"scope": "t"}, False),
        ({"extra": {"x": 2}}, False),
        ({"issued_at": START}, True),
        ({"leeway": SECOND}, True),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_equality_is_by_the_first_six_fields(change: dict[str, object], equal: bool) -> None:
    """issued_at and leeway only say how to read the expiry."""
    token = TokenData("a", "Bearer", START, "r", "s", {"x": 1})
    other = dataclasses.replace(token, **change)
    assert (token == other) is equal
    assert (token != other) is not equal
    if equal or "extra" in change:
        assert hash(token) == hash(other)


def test_the_generation_does_not_count_for_equality() -> None:
    """Two fetches that gave the same are equal."""
    one, two = fetched(), fetched()
    assert one == two
    assert one.generation != two.generation


def test_a_token_is_not_equal_to_anything_else() -> None:
    """Comparison with another type is left to that type."""
    assert TokenData("a") != "a"
    assert TokenData("a") != None  # noqa: E711
    assert TokenData("a").__eq__("a") is NotImplemented


def test_tokens_with_unhashable_extra_can_be_hashed() -> None:
    """The hash ignores extra."""
    assert len({TokenData("a", extra={"x": []}), TokenData("a", extra={"x": []})}) == 1


# Masking


def test_the_repr_shows_no_secret() -> None:
    """Access and refresh token are fingerprints, the values of extra stars."""
    token = TokenData(
        "acc3ss", "Mac", START, "r3fresh", "read write", {"id_token": "s3cr3t"}, START, SECOND
    )
    for text in (repr(token), str(token), f"{token}", f"{token!r}", repr([token])):
        assert "acc3ss" not in text
        assert "r3fresh" not in text
        assert "s3cr3t" not in text
    for shown in ("'Mac'", "2030", "read write", "id_token", "'***'"):
        assert shown in repr(token)


def test_fingerprints_tell_equal_tokens() -> None:
    """Eight hex digits that are the same for the same token, and differ for another."""

    def shown(token: TokenData) -> str:
        return repr(token).split("access_token='***")[1].split("'")[0]

    one, two = shown(TokenData("acc3ss")), shown(TokenData("other"))
    assert one == shown(TokenData("acc3ss", scope="s"))
    assert one != two
    assert len(one) == 8
    assert int(one, 16) >= 0


def test_the_repr_without_a_refresh_token() -> None:
    """None is shown as None."""
    assert "refresh_token=None" in repr(TokenData("a"))


def test_odd_characters_in_a_token_are_masked_too() -> None:
    """A token that no header could carry can be printed."""
    assert "\ud800" not in repr(TokenData("\ud800", refresh_token=""))
