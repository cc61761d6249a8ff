# ruff: noqa: ANN401, PLR0917 - the signatures are published, and the values are what requests takes
"""The verbs of a client, each told in one `request`."""

from collections.abc import Mapping
from typing import Any

from requestforge.interfaces import HttpClientInterface
from requestforge.models import HttpMethod, HttpRequest, HttpResponse

_Headers = Mapping[str, str] | None
_Timeout = float | tuple[float | None, float | None] | None


class Verbs(HttpClientInterface):
    """One method for each verb, whose arguments are the fields of HttpRequest.

    The errors are those of `request`, and a TypeError for an argument that is no such field.
    """

    def get(
        self,
        url: str,
        params: Any = None,
        headers: _Headers = None,
        timeout: _Timeout = None,
        **kwargs: Any,
    ) -> HttpResponse:
        """GET the URL."""
        kwargs |= {"params": params, "headers": headers, "timeout": timeout}
        return self.request(HttpRequest(HttpMethod.GET, url, **kwargs))

    def head(
        self,
        url: str,
        params: Any = None,
        headers: _Headers = None,
        timeout: _Timeout = None,
        **kwargs: Any,
    ) -> HttpResponse:
        """HEAD of the URL."""
        kwargs |= {"params": params, "headers": headers, "timeout": timeout}
        return self.request(HttpRequest(HttpMethod.HEAD, url, **kwargs))

    def options(
        self,
        url: str,
        params: Any = None,
        headers: _Headers = None,
        timeout: _Timeout = None,
        **kwargs: Any,
    ) -> HttpResponse:
        """OPTIONS of the URL."""
        kwargs |= {"params": params, "headers": headers, "timeout": timeout}
        return self.request(HttpRequest(HttpMethod.OPTIONS, url, **kwargs))

    def post(
        self,
        url: str,
        json_data: Any = None,
        data: Any = None,
        params: Any = None,
        headers: _Headers = None,
        timeout: _Timeout = None,
        **kwargs: Any,
    ) -> HttpResponse:
        """POST to the URL."""
        kwargs |= {"json_data": json_data, "data": data}
        kwargs |= {"params": params, "headers": headers, "timeout": timeout}
        return self.request(HttpRequest(HttpMethod.POST, url, **kwargs))

    def put(
        self,
        url: str,
        json_data: Any = None,
        data: Any = None,
        params: Any = None,
        headers: _Headers = None,
        timeout: _Timeout = None,
        **kwargs: Any,
    ) -> HttpResponse:
        """PUT to the URL."""
        kwargs |= {"json_data": json_data, "data": data}
        kwargs |= {"params": params, "headers": headers, "timeout": timeout}
        return self.request(HttpRequest(HttpMethod.PUT, url, **kwargs))

    def patch(
        self,
        url: str,
        json_data: Any = None,
        data: Any = None,
        params: Any = None,
        headers: _Headers = None,
        timeout: _Timeout = None,
        **kwargs: Any,
    ) -> HttpResponse:
        """PATCH the URL."""
        kwargs |= {"json_data": json_data, "data": data}
        kwargs |= {"params": params, "headers": headers, "timeout": timeout}
        return self.request(HttpRequest(HttpMethod.PATCH, url, **kwargs))

    def delete(
        self,
        url: str,
        json_data: Any = None,
        data: Any = None,
        params: Any = None,
        headers: _Headers = None,
        timeout: _Timeout = None,
        **kwargs: Any,
    ) -> HttpResponse:
        """DELETE the URL."""
        kwargs |= {"json_data": json_data, "data": data}
        kwargs |= {"params": params, "headers": headers, "timeout": timeout}
        return self.request(HttpRequest(HttpMethod.DELETE, url, **kwargs))
