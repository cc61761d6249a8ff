"""The fake auth server: a WSGI application that routes, checks, answers and keeps the journal."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from pytest_requestforge.fake_auth.checks import Problem
from pytest_requestforge.fake_auth.endpoints import Answer, Endpoint, refusal
from pytest_requestforge.fake_auth.explain import closest
from pytest_requestforge.fake_auth.incoming import Incoming, read
from pytest_requestforge.fake_auth.journal import HELD, Entry, Journal
from pytest_requestforge.fake_auth.masking import Mask
from pytest_requestforge.fake_auth.tokens import TokenBook
from requestforge import instrumentation

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class App:
    """Answers requests with the endpoints of one FakeAuth (PEP 3333).

    Args:
        endpoints: all that there are, in the order of their definition; the list may grow.
        book: the tokens that they issue.
        journal: what is written to.
        mask: takes the secrets out of what is written.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], book: TokenBook, journal: Journal, mask: Mask
    ) -> None:
        self._endpoints = endpoints
        self._book = book
        self._journal = journal
        self._mask = mask
        # Held while a request is judged and noted, so that journal and tokens have one order.
        self._lock = threading.Lock()

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request."""
        answer = self._respond(read(environ))
        response = Response(
            answer.body(), answer.status, answer.headers, content_type="application/json"
        )
        return response(environ, start_response)

    def _respond(self, incoming: Incoming) -> Answer:
        with self._lock:
            endpoint = self._route(incoming)
            hold = None if endpoint is None else endpoint.held
            waits = None if hold is None else hold.arrive()
            if hold is None or waits is None:
                answer = self._answer(incoming, endpoint)
                self._journal.append(self._entry(incoming, endpoint, answer))
                return answer
            held = self._journal.append(
                self._entry(incoming, endpoint, Answer(HELD, None, reason=waits))
            )
        hold.wait()
        with self._lock:
            answer = self._answer(incoming, endpoint)
            entry = self._entry(incoming, endpoint, answer)
            self._journal.settle(replace(entry, number=held.number))
            return answer

    def _route(self, incoming: Incoming) -> Endpoint | None:
        """The endpoint at the request's place whose demands it meets best."""
        here = [endpoint for endpoint in self._endpoints if endpoint.path == incoming.path]
        own = [endpoint for endpoint in here if endpoint.origin == incoming.origin]
        there = own if own or incoming.by_origin else here
        fitting = [endpoint for endpoint in there if endpoint.method == incoming.method]
        if len(fitting) > 1:
            return min(fitting, key=lambda endpoint: len(endpoint.check(incoming).problems))
        return next(iter(fitting or there), None)

    def _answer(self, incoming: Incoming, endpoint: Endpoint | None) -> Answer:
        if endpoint is None:
            return self._not_found(incoming)
        if endpoint.method != incoming.method:
            said = f"method is {incoming.method}, expected {endpoint.method}"
            answer = refusal(Problem(405, "invalid_request", said, said))
            return replace(answer, headers={**answer.headers, "Allow": endpoint.method})
        check = endpoint.check(incoming)
        return refusal(check.problems[0]) if check.problems else endpoint.answer(check)

    def _not_found(self, incoming: Incoming) -> Answer:
        said = "; ".join(
            line.strip()
            for line in closest(incoming.method, self._mask.url(incoming.url), self._endpoints)
        )
        content = {"error": "not_found", "error_description": f"No endpoint here: {said}"}
        return Answer(404, content, reason="unmatched: no endpoint here")

    def _entry(self, incoming: Incoming, endpoint: Endpoint | None, answer: Answer) -> Entry:
        issued = answer.issued
        sent = self._book.within(incoming.raw)
        body = self._mask.value("", incoming.fields or {})
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
            expires_at=None if issued is None else issued.expires_at,
            sent=tuple(token.label for token in sent),
            headers=MappingProxyType(self._mask.headers(incoming.headers)),
            body=MappingProxyType(body),
        )
