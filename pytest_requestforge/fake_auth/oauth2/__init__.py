"""An OAuth 2 and OpenID provider of a FakeAuth."""

from pytest_requestforge.fake_auth.oauth2.clients import Credentials
from pytest_requestforge.fake_auth.oauth2.keys import KeyLike
from pytest_requestforge.fake_auth.oauth2.provider import OAuth2Provider

__all__ = ["Credentials", "KeyLike", "OAuth2Provider"]
