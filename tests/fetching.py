"""Steps that get no token, as the tests of fetchers look at them."""

import pickle
from typing import Any

import pytest

from loopback import shown_by
from requestforge.exceptions import AuthenticationException
from requestforge.fetcher import HttpTokenFetcher
from requestforge.tokens import TokenData

SECRET = "canary-c0ffee"


def refused(step: HttpTokenFetcher, context: dict[str, TokenData] | None = None) -> Any:  # noqa: ANN401
    """The error of a step that gets no token, checked for secrets."""
    with pytest.raises(AuthenticationException) as caught:
        step.fetch(context)
    error = caught.value
    assert error.service_name == step.name
    assert error.__cause__ is error.original_exception is not None
    assert SECRET not in shown_by(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    return error
