"""Failures and pipelines that back off, as the tests of backoff make them."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from doubles import START, CountingStep
from requestforge import TokenFetchPipeline
from requestforge.exceptions import AuthenticationException, ServerErrorException


def careful(*steps: CountingStep, storage: object, **options: object) -> TokenFetchPipeline:
    """A pipeline that backs off."""
    return TokenFetchPipeline(steps, storage, failure_backoff=True, **options)


def failure_of(call: Callable[[], object]) -> AuthenticationException:
    """The error of a call that gets no token."""
    with pytest.raises(AuthenticationException) as caught:
        call()
    return caught.value


def told_by_retry_at() -> AuthenticationException:
    """The error of our own fetchers."""
    error = AuthenticationException("Not now.")
    error.retry_at = START + timedelta(seconds=90)
    return error


def told_by_status() -> ServerErrorException:
    """The error of a client that a step may use."""
    error = ServerErrorException(status_code=503)
    error.retry_after = 90.0
    return error


def told_by_cause() -> AuthenticationException:
    """One that a step has wrapped."""
    return AuthenticationException("Not now.", told_by_status())
