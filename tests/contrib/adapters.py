"""An API that refuses tokens, and TokenAuth in each library that can ask it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import requests

from client_server import Reply, Seen
from doubles import CountingStep
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge.contrib.httpx import TokenAuth as HttpxTokenAuth
from requestforge.contrib.requests import TokenAuth as RequestsTokenAuth

THREADS = 16


class Answer(NamedTuple):
    """What every library tells of an answer."""

    status: int
    text: str
    history: list[int]


class Library:
    """Sends requests with one of the libraries."""

    def auth(self, source: object, **options: Any) -> Any:  # noqa: ANN401 - each has its own
        """TokenAuth for this library."""
        raise NotImplementedError

    def send(self, method: str, url: str, auth: object, **options: Any) -> Answer:  # noqa: ANN401
        """The answer, redirects followed."""
        raise NotImplementedError

    def burst(self, url: str, auth: object) -> list[Answer]:
        """The answers to many requests at once."""
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(lambda _: self.send("GET", url, auth), range(THREADS)))


class Requests(Library):
    """A session of requests."""

    def auth(self, source: Any, **options: Any) -> RequestsTokenAuth:  # noqa: ANN401
        return RequestsTokenAuth(source, **options)

    def send(self, method: str, url: str, auth: Any, **options: Any) -> Answer:  # noqa: ANN401
        with requests.Session() as session:
            answer = session.request(method, url, auth=auth, timeout=10, **options)
        return Answer(
            answer.status_code, answer.text, [each.status_code for each in answer.history]
        )


class Httpx(Library):
    """A client of httpx."""

    def auth(self, source: Any, **options: Any) -> HttpxTokenAuth:  # noqa: ANN401
        return HttpxTokenAuth(source, **options)

    def send(self, method: str, url: str, auth: Any, **options: Any) -> Answer:  # noqa: ANN401
        with httpx.Client(auth=auth, follow_redirects=True) as client:
            return _answer(client.request(method, url, **options))


class AsyncHttpx(Httpx):
    """An asynchronous client of httpx."""

    def send(self, method: str, url: str, auth: Any, **options: Any) -> Answer:  # noqa: ANN401
        async def ask() -> Answer:
            async with httpx.AsyncClient(auth=auth, follow_redirects=True) as client:
                return _answer(await client.request(method, url, **options))

        return asyncio.run(ask())

    def burst(self, url: str, auth: Any) -> list[Answer]:  # noqa: ANN401
        async def ask_all() -> list[Answer]:
            async with httpx.AsyncClient(auth=auth) as client:
                return [
                    _answer(answer)
                    for answer in await asyncio.gather(*(client.get(url) for _ in range(THREADS)))
                ]

        return asyncio.run(ask_all())


LIBRARIES = {"requests": Requests(), "httpx": Httpx(), "httpx-async": AsyncHttpx()}


class Guard:
    """A rule of a server: it answers 200 to one token, and 401 to anything else.

    Args:
        accepted: the text of the token.
        header: that carries it.
        challenge: the WWW-Authenticate header of a refusal.
    """

    def __init__(
        self, accepted: str, header: str = "Authorization", challenge: str = "Bearer"
    ) -> None:
        self.accepted = accepted
        self.header = header
        self.challenge = challenge
        self.before: Callable[[Seen], object] = lambda _: None

    def __call__(self, seen: Seen) -> Reply:
        self.before(seen)
        carried = (seen.headers.get(self.header) or "").rpartition(" ")[2]
        if carried == self.accepted:
            return Reply(200, body=b"here")
        return Reply(401, {"WWW-Authenticate": self.challenge}, b"refused")


def pipeline(step: CountingStep) -> TokenFetchPipeline:
    """A pipeline of that one step."""
    return TokenFetchPipeline([step], InMemoryTokenStorage())


def tokens(seen: list[Seen], header: str = "Authorization") -> list[str | None]:
    """What the requests carried in that header."""
    return [each.headers.get(header) for each in seen]


def _answer(answer: httpx.Response) -> Answer:
    return Answer(answer.status_code, answer.text, [each.status_code for each in answer.history])
