# ruff: noqa: ANN401, PLR0917 - the signatures are published, and the values are what requests takes
"""What a client can be asked, all of it told in one `request`."""

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from requestforge._client.many import send_many
from requestforge.exceptions import HttpClientException
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
        given = (headers, params)
        return self.request(HttpRequest(HttpMethod.GET, url, *given, timeout=timeout, **kwargs))

    def head(
        self,
        url: str,
        params: Any = None,
        headers: _Headers = None,
        timeout: _Timeout = None,
        **kwargs: Any,
    ) -> HttpResponse:
        """HEAD of the URL."""
        given = (headers, params)
        return self.request(HttpRequest(HttpMethod.HEAD, url, *given, timeout=timeout, **kwargs))

    def options(
        self,
        url: str,
        params: Any = None,
        headers: _Headers = None,
        timeout: _Timeout = None,
        **kwargs: Any,
    ) -> HttpResponse:
        """OPTIONS of the URL."""
        given = (headers, params)
        return self.request(HttpRequest(HttpMethod.OPTIONS, url, *given, timeout=timeout, **kwargs))

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
        given = (headers, params, data, json_data)
        return self.request(HttpRequest(HttpMethod.POST, url, *given, timeout=timeout, **kwargs))

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
        given = (headers, params, data, json_data)
        return self.request(HttpRequest(HttpMethod.PUT, url, *given, timeout=timeout, **kwargs))

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
        given = (headers, params, data, json_data)
        return self.request(HttpRequest(HttpMethod.PATCH, url, *given, timeout=timeout, **kwargs))

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
        given = (headers, params, data, json_data)
        return self.request(HttpRequest(HttpMethod.DELETE, url, *given, timeout=timeout, **kwargs))

    def request_many(
        self,
        requests_list: Iterable[HttpRequest],
        max_workers: int = 5,
        fail_fast: bool = False,
        *,
        ordered: bool = False,
        on_progress: Callable[[int, int | None], object] | None = None,
    ) -> Generator[tuple[int, HttpResponse | HttpClientException], None, None]:
        """Send many requests, several at a time, and give what becomes of each as it comes.

        Nothing is sent before the first item is asked for, and no more than a few requests are
        taken ahead of those that were given back. Closing the iterator starts nothing more, and
        waits for nothing.

        Args:
            requests_list: the requests; an iterator is read as far as needed.
            max_workers: how many are under way at a time.
            fail_fast: whether the first failure is raised at once, and the rest not begun.
            ordered: whether items come in the order of the requests; else as they are done.
            on_progress: called after each one, with how many are done and how many there are
                (None: an iterator does not tell).

        Yields:
            The place of a request, from 0, and its answer or its failure.

        Raises:
            ValueError: `max_workers` is not positive.
            HttpClientException: with `fail_fast`, the first failure.
        """
        return send_many(
            self.request,
            requests_list,
            max_workers,
            fail_fast=fail_fast,
            ordered=ordered,
            on_progress=on_progress,
        )
