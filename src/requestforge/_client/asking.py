"""The block in which a client answers one request."""

from types import TracebackType

from requestforge._redaction import also_sensitive
from requestforge.exceptions import HttpClientException
from requestforge.models import HttpRequest
from requestforge.models.request import mask_request


class Asking:
    """A block of which every failure tells what was asked for, without secrets.

    Args:
        request: what the caller asks for.
        names: sensitive names beyond the built-in ones.
    """

    __slots__ = ("_masking", "_request")

    def __init__(self, request: HttpRequest, names: frozenset[str]) -> None:
        self._request = request
        self._masking = also_sensitive(names)

    def __enter__(self) -> None:
        """Know the names."""
        self._masking.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Add the request to the error, if there is one."""
        try:
            if isinstance(error, HttpClientException) and "request" not in error.context:
                error.context["request"] = mask_request(self._request)
        finally:
            self._masking.__exit__(kind, error, traceback)
