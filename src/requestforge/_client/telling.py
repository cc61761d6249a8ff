"""The events of a client's requests."""

from typing import Any

from requestforge import instrumentation
from requestforge._client.targets import Targets
from requestforge._redaction import mask_url
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
                    url=mask_url(self._targets.of(request.url).url, self._names),
                    attempt=context.attempt,
                    **more,
                )
            )
