"""Answers of token endpoints: the token in one, or the error that says why there is none."""

import re
from collections.abc import Collection
from datetime import datetime, timedelta

from requestforge import instrumentation
from requestforge._answers import parse_answer, read_access_token
from requestforge._headers import retry_after
from requestforge._redaction import clean_text
from requestforge.exceptions import (
    AuthenticationException,
    HttpClientException,
    HttpStatusException,
    TokenRefreshException,
    status_exception,
)
from requestforge.models import HttpResponse
from requestforge.tokens import AnswerKeys, TokenData, read_token

_REDIRECTION = 3
_CODE = re.compile(r"[a-z_]{1,40}")
_CHALLENGE_ERROR = re.compile(r'(?i)\berror\s*=\s*"([^"]*)"')  # RFC 6750 section 3


def status_error(response: HttpResponse, secrets: Collection[str] = ()) -> HttpStatusException:
    """The error for an answer that is no 2xx.

    It says the status, and the sanitised `error` and `error_description` of RFC 6749 section 5.2.
    Its `context` has the former as "error".

    Args:
        response: the answer.
        secrets: what it may repeat of the request, but the error may not.
    """
    status, code = response.status_code, None
    if status // 100 == _REDIRECTION:
        text = f"The endpoint answered with status {status}, a redirect, which is not followed."
    else:
        code, told = _told(response, secrets)
        text = f"The endpoint answered with status {status}{f': {told}' if told else ''}."
    error = status_exception(status, text)
    if code is not None:
        error.context["error"] = code
    error.retry_after = retry_after(response.headers)
    return error


def no_token(name: str, cause: HttpClientException | ValueError) -> AuthenticationException:
    """The error of a step or service that got no token, meant to be raised from its cause."""
    reason = cause.message if isinstance(cause, HttpClientException) else str(cause)
    # No colon after the name, which masking would take for that of the value behind it.
    failure = AuthenticationException(f"No token for {name!r}. {reason}", cause, service_name=name)
    seconds = getattr(cause, "retry_after", None)
    if seconds is not None:
        failure.retry_at = instrumentation.now() + timedelta(seconds=seconds)
    return failure


def error_code(failure: BaseException | None) -> object:
    """The error code (RFC 6749 section 5.2) that `status_error` has read in an answer, or None."""
    return failure.context.get("error") if isinstance(failure, HttpStatusException) else None


def refused_grant(failure: AuthenticationException) -> TokenRefreshException | None:
    """The error for a refresh token that the server takes no more; None: the failure is another.

    It is meant to be raised from its cause.
    """
    cause = failure.original_exception
    if error_code(cause) != "invalid_grant":
        return None
    return TokenRefreshException(
        f"{failure.message} The refresh token is refused; a new one is needed.",
        cause,
        service_name=failure.service_name,
    )


def token_in_body(
    response: HttpResponse, keys: AnswerKeys, *, sent_at: datetime, default_type: str = "Bearer"
) -> TokenData:
    """The token in a JSON body (RFC 6749 section 5.1), its lifetime counted from `sent_at`.

    Raises:
        ValueError: there is none; the text names fields, and quotes nothing.
    """
    try:
        answer = parse_answer(response.content)
        token: TokenData = read_token(
            TokenData, answer, keys, issued_at=sent_at, default_type=default_type
        )
    except KeyError:
        reason = f"The answer has no field {keys.access_token!r}."
    except ValueError as error:
        reason = str(error)
    else:
        return token
    # Outside of the handler: what the decoder raises holds the whole answer.
    raise ValueError(reason)


def token_in_header(
    response: HttpResponse, header: str, token_type: str, *, sent_at: datetime
) -> TokenData:
    """The token in a header, less its type if it starts with it.

    Raises:
        ValueError: there is none; the text names the header, and quotes nothing.
    """
    value = response.headers.get(header)
    if value is None:
        raise ValueError(f"The answer has no header {header!r}.")
    scheme, _, rest = value.strip().partition(" ")
    if token_type and scheme.lower() == token_type.lower():
        value = rest
    return TokenData(
        read_access_token(value.strip(), header), token_type=token_type, issued_at=sent_at
    )


def _told(response: HttpResponse, secrets: Collection[str]) -> tuple[str | None, str]:
    """The error code, if it is one, and the text of the error fields of RFC 6749 section 5.2.

    An answer without them may have the code in a challenge (RFC 6750 section 3).
    """
    try:
        answer = parse_answer(response.content)
    except ValueError:
        answer = {}
    code = answer.get("error")
    if not isinstance(code, str):
        challenge = _CHALLENGE_ERROR.search(response.headers.get("WWW-Authenticate", ""))
        code = challenge[1] if challenge else None
    texts = (code, answer.get("error_description"))
    told = clean_text(": ".join(t for t in texts if isinstance(t, str)), secrets=secrets)
    is_code = (
        code is not None and _CODE.fullmatch(code) and clean_text(code, secrets=secrets) == code
    )
    return code if is_code else None, told.rstrip(". ")
