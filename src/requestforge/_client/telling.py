"""The events of a client's requests."""

from typing import Any

from requestforge import instrumentation
from requestforge._client.targets import Targets
from requestforge._redaction import error_text, mask_url
from requestforge.events import RequestFailed
from requestforge.exceptions import HttpClientException, RequestBuildException
from requestforge.models import HttpRequest, RequestContext


class Telling:
    """Tells observers, if there are any, what becomes of the requests of one client.

    Args:
        targets: where its requests lead.
        names: sensitive names beyond the built-in ones.
    """

    def __init__(self, targets: Targets, names: frozenset[str]) -> None:
        self._targets = targets
        self._names = names

    def __call__(
        self,
        kind: type[Any],
        context: RequestContext,
        request: HttpRequest,
        **more: Any,  # noqa: ANN401 - fields of the event
    ) -> None:
        """Emit an event of this kind about an attempt."""
        if instrumentation.observers:
            instrumentation.emit(
                kind(
                    at=instrumentation.now(),
                    request_id=context.id,
                    method=request.method.value,
                    url=mask_url(self._absolute(request.url), self._names),
                    attempt=context.attempt,
                    **more,
                )
            )

    def of_failure(
        self, error: BaseException, context: RequestContext, request: HttpRequest
    ) -> None:
        """Emit that an attempt gave no answer, unless something else than that ends it."""
        if instrumentation.observers and isinstance(error, HttpClientException):
            self(RequestFailed, context, request, error=error_text(error))

    def _absolute(self, url: object) -> str:
        try:
            return self._targets.of(str(url)).url
        except RequestBuildException:  # which the request ends in, or a hook has mended
            return str(url)
