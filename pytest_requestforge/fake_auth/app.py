"""The fake auth server: a WSGI application that routes, checks, answers and keeps the journal."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from urllib.parse import quote
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Response

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.checks import Problem
from pytest_requestforge.fake_auth.delivery import travelling
from pytest_requestforge.fake_auth.endpoints import Endpoint, TokenEndpoint, refusal
from pytest_requestforge.fake_auth.explain import closest
from pytest_requestforge.fake_auth.faulty import Faults
from pytest_requestforge.fake_auth.incoming import SAFE, Incoming, read
from pytest_requestforge.fake_auth.journal import HELD, Entry, Journal
from pytest_requestforge.fake_auth.leaks import Leaks
from pytest_requestforge.fake_auth.masking import Mask
from pytest_requestforge.fake_auth.tokens import TokenBook
from pytest_requestforge.fake_auth.wsgi import DELIVERIES
from requestforge import instrumentation

_ACCEPTED = range(200, 400)


class App:
    """Answers requests with the endpoints of one FakeAuth (PEP 3333).

    Args:
        origin: of the base URL.
        journal: what is written to.

    Attributes:
        endpoints: in the order of their definition.
        book: the tokens that they issue.
        carrier: gives the origin of the socket that the requests come from; None: there is none.
        skew: how far the clock of the server is ahead.
        faults: those that are not called for by an endpoint.
        leaks: finds its secrets in texts.
        lock: held while a request is judged and noted, so that journal and tokens have one order.
    """

    def __init__(self, origin: str, journal: Journal) -> None:
        self.endpoints: list[Endpoint] = []
        self.book: TokenBook = TokenBook()
        self.carrier: Callable[[], str] | None = None
        self.skew: timedelta = timedelta(0)
        self._origin = origin
        self._journal = journal
        self._mask = Mask(self.book)
        self.leaks: Leaks = Leaks(self.book, self._mask)
        self._headers: dict[int, Mapping[str, str]] = {}
        self.faults: Faults = Faults()
        self.lock: threading.Lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        answer = self._respond(read(environ))
        content: bytes | Iterable[bytes] = answer.body()
        headers = dict(answer.headers)
        if answer.delivery is not None:
            headers["Content-Length"] = str(len(answer.body()))
            content = travelling(answer.delivery, answer.body(), environ.get(DELIVERIES))
        response = Response(content, answer.status, headers, content_type=answer.media_type)
        return response(environ, start_response)

    def add(self, endpoint: Endpoint) -> None:
        """Answer with this endpoint, too.

        Raises:
            ValueError: no request could tell it from another one.
        """
        for other in self.endpoints:
            if self._is_same(endpoint, other):
                raise ValueError(
                    f"{endpoint.name!r} and {other.name!r} answer the same request, "
                    f"{endpoint.method} {endpoint.path}; let them differ in URL, body or headers."
                )
        self._mask.learn(endpoint.demands.headers, owner=endpoint.name)
        self._mask.learn(endpoint.demands.body, owner=endpoint.name)
        self.endpoints.append(endpoint)

    def learn(self, secrets: Mapping[str, str], *, owner: str) -> None:
        """Mask these secrets of `owner`, given by the name of their field, wherever they stand."""
        self._mask.learn(secrets, owner=owner)

    def serve(self, endpoint: TokenEndpoint) -> TokenEndpoint:
        """The endpoint, added, or the one that is there already and does the same.

        Raises:
            ValueError: no request could tell it from another one.
        """
        for other in self.endpoints:
            if isinstance(other, TokenEndpoint) and endpoint.does_the_same_as(other):
                return other
        self.add(endpoint)
        return endpoint

    def now(self) -> datetime:
        """The clock of the server (aware UTC)."""
        return instrumentation.now() + self.skew

    def url_of(self, endpoint: Endpoint) -> str:
        """Where a client finds the endpoint: on the socket, if there is one, at the same path."""
        origin = endpoint.origin if self.carrier is None else self.carrier()
        return origin + quote(endpoint.path, safe=SAFE)

    def knows(self, origin: str, path: str | None = None) -> bool:
        """Whether that origin is one of its own; with a path: whether it has an endpoint there."""
        if path is None:
            return origin == self._origin or any(e.origin == origin for e in self.endpoints)
        return any(e.origin == origin and e.path == path for e in self.endpoints)

    def headers_sent(self, number: int, name: str) -> list[str]:
        """What the request of that number had in a header: as it was, and masked."""
        sent = self._headers.get(number, {})
        return [
            form
            for key, value in sent.items()
            if key.casefold() == name.casefold()
            for form in (value, self._mask.headers({key: value})[key])
        ]

    def masked_header(self, name: str, value: str) -> str:
        """The value of a header with its secrets masked."""
        return self._mask.headers({name: value})[name]

    def _is_same(self, endpoint: Endpoint, other: Endpoint) -> bool:
        return (
            endpoint.method == other.method
            and endpoint.path == other.path
            # On a socket of its own every endpoint has the same host.
            and (endpoint.origin == other.origin or self.carrier is not None)
            and endpoint.demands == other.demands
        )

    def _respond(self, incoming: Incoming) -> Answer:
        with self.lock:
            endpoint = self._route(incoming)
            hold = None if endpoint is None else endpoint.held
            waits = None if hold is None else hold.arrive()
            if hold is None or waits is None:
                answer = self._answer(incoming, endpoint)
                self._note(incoming, endpoint, answer)
                return answer
            held = self._note(incoming, endpoint, Answer(HELD, None, reason=waits))
        timed_out = hold.wait()
        with self.lock:
            answer = self._answer(incoming, endpoint)
            if timed_out is not None:
                answer = replace(answer, reason=f"{answer.reason}, {timed_out}")
            entry = self._entry(incoming, endpoint, answer)
            self._journal.settle(replace(entry, number=held.number))
            return answer

    def _route(self, incoming: Incoming) -> Endpoint | None:
        """The endpoint at the request's place whose demands it meets best."""
        there = self._at(incoming)
        fitting = [endpoint for endpoint in there if endpoint.method == incoming.method]
        if len(fitting) > 1:
            return min(fitting, key=lambda endpoint: len(endpoint.check(incoming).problems))
        return next(iter(fitting or there), None)

    def _at(self, incoming: Incoming) -> list[Endpoint]:
        here = [endpoint for endpoint in self.endpoints if endpoint.path == incoming.path]
        own = [endpoint for endpoint in here if endpoint.origin == incoming.origin]
        return own if own or incoming.by_origin else here

    def _answer(self, incoming: Incoming, endpoint: Endpoint | None) -> Answer:
        if endpoint is None:
            return self._not_found(incoming)
        if endpoint.method != incoming.method:
            methods = dict.fromkeys(other.method for other in self._at(incoming))
            said = f"method is {incoming.method}, expected {' or '.join(methods)}"
            answer = refusal(Problem(405, "invalid_request", said, said))
            return replace(answer, headers={**answer.headers, "Allow": ", ".join(methods)})
        fault = self.faults.strike(endpoint)
        if fault is None:
            return _service(incoming, endpoint)
        return fault.strike(incoming, lambda: _service(incoming, endpoint))

    def _not_found(self, incoming: Incoming) -> Answer:
        said = "; ".join(
            line.strip()
            for line in closest(incoming.method, self._mask.url(incoming.url), self.endpoints)
        )
        content = {"error": "not_found", "error_description": f"No endpoint here: {said}"}
        return Answer(404, content, reason="unmatched: no endpoint here")

    def _note(self, incoming: Incoming, endpoint: Endpoint | None, answer: Answer) -> Entry:
        entry = self._journal.append(self._entry(incoming, endpoint, answer))
        self._headers[entry.number] = incoming.headers
        return entry

    def _entry(self, incoming: Incoming, endpoint: Endpoint | None, answer: Answer) -> Entry:
        if endpoint is not None and answer.status in _ACCEPTED:
            self.leaks.accept(incoming, endpoint.name)
        issued = answer.issued
        end = None if issued is None else issued.expires_at
        sent = self.book.within(incoming.raw)
        body = self._mask.fields(incoming.fields or {})
        return Entry(
            step=None if endpoint is None else endpoint.name,
            kind="unmatched" if endpoint is None else endpoint.kind,
            at=instrumentation.now(),
            thread=threading.current_thread().name,
            method=incoming.method,
            url=self._mask.url(incoming.url),
            status=answer.status,
            reason=answer.reason,
            issued=None if issued is None else issued.label,
            expires_at=None if end is None else end - self.skew,
            sent=tuple(token.label for token in sent),
            headers=MappingProxyType(self._mask.headers(incoming.headers)),
            body=MappingProxyType(body),
            fault=answer.fault,
        )


def _service(incoming: Incoming, endpoint: Endpoint) -> Answer:
    """The endpoint's answer, as far as no fault keeps it away."""
    check = endpoint.check(incoming)
    return refusal(check.problems[0]) if check.problems else endpoint.answer(check)
