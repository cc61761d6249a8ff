"""What the toolkit's Faker makes."""

import base64
import hashlib
import hmac
import json
import re

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from pytest_requestforge import Clock
from pytest_requestforge.faker import make_faker
from requestforge.config import TokenData

MAKERS = [
    "access_token",
    "refresh_token",
    "jwt",
    "client_id",
    "client_secret",
    "scope",
    "device_code",
    "user_code",
]


@pytest.mark.parametrize("maker", MAKERS)
def test_equal_seeds_give_equal_values(maker: str) -> None:
    """The values follow from the seed, and differ from call to call."""
    with Clock(freeze=False):
        one, two, other = make_faker("seed"), make_faker("seed"), make_faker("other")
        values = [getattr(one, maker)() for _ in range(5)]
        assert values == [getattr(two, maker)() for _ in range(5)]
        assert values != [getattr(other, maker)() for _ in range(5)]
        assert len(set(values)) > 1


@pytest.mark.parametrize("maker", ["access_token", "refresh_token", "jwt"])
def test_tokens_are_accepted(maker: str) -> None:
    """A made token is one that the library takes from a server."""
    token = getattr(make_faker(1), maker)()
    assert TokenData.from_response({"access_token": token}).access_token == token


def test_scopes_are_different() -> None:
    """As many scopes as asked for, each once, or joined by blanks."""
    faker = make_faker(1)
    assert len(set(faker.scopes(24))) == 24
    assert len(faker.scope(count=3).split(" ")) == 3


def test_a_user_code_can_be_typed() -> None:
    """Two groups of consonants (RFC 8628 section 6.1)."""
    assert re.fullmatch(
        "[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", make_faker(1).user_code()
    )


def test_a_jwt_is_signed_and_dated_by_the_clock() -> None:
    """The signature verifies with the key, and the claims are those asked for."""
    with Clock("2030-01-01T00:00:00Z", freeze=False):
        made = make_faker(1).jwt(key="k" * 32, sub="alice", expires_in=60, admin=True)
    token = jwt.decode(made, OctKey.import_key("k" * 32), algorithms=["HS256"])
    assert token.header == {"alg": "HS256", "typ": "JWT"}
    assert token.claims["sub"] == "alice"
    assert token.claims["admin"] is True
    assert token.claims["iat"] == 1893456000
    assert token.claims["exp"] == 1893456060
    assert {"iss", "aud", "jti"} < set(token.claims)


def test_a_jwt_has_no_padding() -> None:
    """Its parts are base64 for URLs without padding (RFC 7515 section 2)."""
    made = make_faker(1).jwt(key="key")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", made)
    signed, _, signature = made.rpartition(".")
    assert base64.urlsafe_b64decode(signature + "=") == (
        hmac.new(b"key", signed.encode(), hashlib.sha256).digest()
    )
    assert json.loads(base64.urlsafe_b64decode(signed.partition(".")[0] + "=="))["alg"] == "HS256"
