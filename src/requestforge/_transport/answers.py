"""Headers and responses of requests, made at a fraction of what that costs."""

from collections.abc import ItemsView, Iterable, Iterator
from functools import lru_cache
from typing import Any, Self

from requests import PreparedRequest, Response
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, SSLError
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPResponse
from urllib3 import exceptions as urllib3_errors


class QuickHeaders(CaseInsensitiveDict[Any]):
    """Headers in any case, which are copied and read out all at once."""

    _store: dict[str, tuple[str, Any]]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, Any]]) -> Self:
        """The headers of these pairs; of those of one name, the last one holds."""
        headers = cls.__new__(cls)
        vars(headers)["_store"] = {name.lower(): (name, value) for name, value in pairs}
        return headers

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._store.values()])

    def items(self) -> ItemsView[str, Any]:
        """Names and values, as they are now."""
        return dict(self._store.values()).items()

    def copy(self) -> "QuickHeaders":
        """Headers that are changed apart from these."""
        headers = QuickHeaders.__new__(QuickHeaders)
        vars(headers)["_store"] = self._store.copy()
        return headers


class QuickResponse(Response):
    """A Response that looks for cookies when it is asked for them, and reads in one go."""

    _content_consumed: bool

    def __init__(self) -> None:
        vars(self).update(_BLANK)
        self.history = []
        self._jar: RequestsCookieJar | None = None

    @property
    def cookies(self) -> RequestsCookieJar:
        """The cookies that the answer sets."""
        if self._jar is None:
            self._jar = RequestsCookieJar()
            extract_cookies_to_jar(self._jar, self.request, self.raw)  # type: ignore[no-untyped-call]
        return self._jar

    @cookies.setter
    def cookies(self, jar: RequestsCookieJar) -> None:
        self._jar = jar

    @property
    def content(self) -> Any:  # noqa: ANN401 - bytes; None of a response without a status
        """The decoded body."""
        raw = self.raw
        # Chunks are for urllib3 to take apart: http.client has other errors for what is wrong.
        if self._content_consumed or type(raw) is not HTTPResponse or raw.chunked:
            return super().content
        # The same errors for the same reasons as in `Response.iter_content`.
        try:
            self._content = raw.read(decode_content=True)
        except urllib3_errors.ProtocolError as error:
            raise ChunkedEncodingError(error) from error
        except urllib3_errors.DecodeError as error:
            raise ContentDecodingError(error) from error
        except urllib3_errors.ReadTimeoutError as error:
            raise RequestsConnectionError(error) from error
        except urllib3_errors.SSLError as error:
            raise SSLError(error) from error
        self._content_consumed = True
        return self._content


_BLANK = {name: value for name, value in vars(Response()).items() if name != "cookies"}


def response_of(request: PreparedRequest, raw: HTTPResponse) -> Response:
    """What `HTTPAdapter.build_response` makes of an answer, less the connection."""
    response = QuickResponse()
    response.status_code = raw.status
    response.headers = QuickHeaders.of(raw.headers.itermerged())
    response.encoding = _encoding(raw.headers.get("content-type"))
    response.raw = raw
    response.reason = raw.reason  # type: ignore[assignment]
    response.url = request.url  # type: ignore[assignment]
    response.request = request
    return response


@lru_cache(maxsize=256)
def _encoding(content_type: str | None) -> str | None:
    return get_encoding_from_headers({} if content_type is None else {"content-type": content_type})
