"""Answers as they arrive from the transport, and as callers get them."""

from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

from requestforge._transport.call import Answer
from requestforge.models import HttpRequest, HttpResponse

_CHUNK = 65536


class Arrived(NamedTuple):
    """An answer, as callers get it and as the transport has it."""

    response: HttpResponse
    answer: Answer

    def close(self) -> None:
        """Let go of the body, if it is still to be read."""
        if self.answer.body is not None:
            self.answer.body.close()


def whole(answer: Answer) -> Answer:
    """The answer with all of its body.

    Raises:
        HttpClientException: as reading the body does.
    """
    if answer.body is None:
        return answer
    with closing(answer.body) as body:
        return replace(answer, content=b"".join(body.iter_bytes(_CHUNK)), body=None)


def response_of(answer: Answer, asked: HttpRequest, seconds: float) -> HttpResponse:
    """The answer as callers get it, to what they have asked, after so many seconds."""
    return HttpResponse(
        status_code=answer.status_code,
        headers=answer.headers,
        content=answer.content,
        elapsed_ms=seconds * 1000,
        url=answer.url,
        request=asked,
        encoding=answer.encoding,
    )
