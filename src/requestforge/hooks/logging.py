"""Hooks that log each request, answer and failure, without secrets."""

import logging
from collections.abc import Iterable

from requestforge import instrumentation
from requestforge._portable import describe
from requestforge._redaction import NO_NAMES, mask_headers, mask_start, mask_text, mask_url
from requestforge.interfaces import ErrorHookInterface, RequestHookInterface, ResponseHookInterface
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.models.request import mask_request

_log = logging.getLogger("requestforge.http")

_LONGEST_BODY = 500
_LOWEST_ERROR = 400


class MaskingHook:
    """A hook that masks the values of sensitive names.

    Within a client those of its configuration are among them, too.

    Args:
        sensitive_keys: sensitive names beyond the built-in ones.
    """

    # For subclasses that do not call the constructor.
    _names = NO_NAMES

    def __init__(self, sensitive_keys: Iterable[str] | None) -> None:
        self._names = frozenset(sensitive_keys or ())

    @property
    def sensitive_keys(self) -> frozenset[str]:
        """Sensitive names beyond the built-in ones."""
        return self._names


class LoggingRequestHook(MaskingHook, RequestHookInterface):
    """Logs method and URL at INFO.

    `metadata` gets `request_id`, eight characters that are the same on retries, and `start_time`,
    monotonic seconds.

    Args:
        log_headers: whether headers are logged at DEBUG.
        log_body: whether the body is logged at DEBUG, up to 500 characters.
        sensitive_keys: sensitive names beyond the built-in ones.
    """

    def __init__(
        self,
        log_headers: bool = False,
        log_body: bool = False,
        sensitive_keys: Iterable[str] | None = None,
    ) -> None:
        super().__init__(sensitive_keys)
        self._log_headers = log_headers
        self._log_body = log_body

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """The request as it is."""
        request_id = context.metadata.setdefault("request_id", context.id[:8])
        context.metadata["start_time"] = instrumentation.monotonic()
        if _log.isEnabledFor(logging.INFO):
            url = mask_url(request.url, self._names)
            _log.info("[%s] %s %s", request_id, request.method.value, url)
        if _log.isEnabledFor(logging.DEBUG):
            shown = mask_request(request, self._names)
            if self._log_headers:
                _log.debug("[%s] headers: %s", request_id, shown.headers or {})
            if self._log_body:
                body = shown.json_data if shown.data is None else shown.data
                _log.debug("[%s] body: %s", request_id, str(body)[:_LONGEST_BODY])
        return request


class LoggingResponseHook(MaskingHook, ResponseHookInterface):
    """Logs status, URL and duration: an answer with a 2xx at INFO, any other at WARNING.

    Args:
        log_headers: whether headers are logged at DEBUG.
        log_body: whether the body of an error is logged, up to 500 characters.
        sensitive_keys: sensitive names beyond the built-in ones.
    """

    def __init__(
        self,
        log_headers: bool = False,
        log_body: bool = False,
        *,
        sensitive_keys: Iterable[str] | None = None,
    ) -> None:
        super().__init__(sensitive_keys)
        self._log_headers = log_headers
        self._log_body = log_body

    def after_response(self, response: HttpResponse, context: RequestContext) -> HttpResponse:
        """The answer as it is."""
        request_id = _id_of(context)
        level = logging.INFO if response.is_success else logging.WARNING
        if _log.isEnabledFor(level):
            url = mask_url(response.url, self._names)
            _log.log(
                level,
                "[%s] %s from %s in %.0f ms",
                request_id,
                response.status_code,
                url,
                response.elapsed_ms,
            )
            if self._log_body and response.status_code >= _LOWEST_ERROR:
                body = mask_start(response.text, _LONGEST_BODY, self._names)
                _log.log(level, "[%s] body: %s", request_id, body)
        if self._log_headers and _log.isEnabledFor(logging.DEBUG):
            headers = mask_headers(response.headers, self._names)
            _log.debug("[%s] headers: %s", request_id, headers)
        return response


class LoggingErrorHook(MaskingHook, ErrorHookInterface):
    """Logs each failure at ERROR.

    Args:
        sensitive_keys: sensitive names beyond the built-in ones.
    """

    def __init__(self, *, sensitive_keys: Iterable[str] | None = None) -> None:
        super().__init__(sensitive_keys)

    def on_error(self, exception: Exception, context: RequestContext) -> None:
        """Log type and text of the failure."""
        # Without its traceback, whose texts may hold a credential.
        text = mask_text(describe(exception), self._names)
        _log.error("[%s] attempt %d failed: %s", _id_of(context), context.attempt, text)


def _id_of(context: RequestContext) -> str:
    return str(context.metadata.get("request_id", context.id[:8]))
