"""The values that requests and answers, and the steps of a token's making, are told in."""

from requestforge.models.context import FetchContext, RequestContext
from requestforge.models.request import HttpMethod, HttpRequest
from requestforge.models.response import HttpResponse, StreamResponse

__all__ = [
    "FetchContext",
    "HttpMethod",
    "HttpRequest",
    "HttpResponse",
    "RequestContext",
    "StreamResponse",
]
