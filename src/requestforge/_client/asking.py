"""The block in which a client answers one request."""

from types import TracebackType

from requestforge._redaction import also_sensitive
from requestforge.exceptions import HttpClientException
from requestforge.models import HttpRequest
from requestforge.models.request import mask_request


class Asking(also_sensitive):
    """A block of which every failure tells what was asked for, without secrets.

    Args:
        request: what the caller asks for.
        names: sensitive names beyond the built-in ones.
    """

    __slots__ = ("_request",)

    def __init__(self, request: HttpRequest, names: frozenset[str]) -> None:
        super().__init__(names)
        self._request = request

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Add the request to the error, if there is one."""
        try:
            if (
                isinstance(error, HttpClientException)
                and "request" not in error.context
                and isinstance(self._request, HttpRequest)
            ):
                error.context["request"] = mask_request(self._request)
        finally:
            super().__exit__(kind, error, traceback)
