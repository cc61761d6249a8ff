"""FakeAuth, an auth server for tests whose tokens are really enforced."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import get_args
from urllib.parse import unquote
from wsgiref.types import WSGIApplication

from pytest_requestforge.fake_auth.answers import final_status
from pytest_requestforge.fake_auth.app import App
from pytest_requestforge.fake_auth.definitions import (
    fields,
    header_name,
    headers,
    http_url,
    json_value,
    lifetime,
    located,
    step_name,
    token_headers,
)
from pytest_requestforge.fake_auth.endpoints import (
    Demands,
    Resource,
    TokenEndpoint,
    TokenPlace,
)
from pytest_requestforge.fake_auth.factory import FakeAuthFactory
from pytest_requestforge.fake_auth.faults import Fault
from pytest_requestforge.fake_auth.findings import Severity
from pytest_requestforge.fake_auth.incoming import origin_of
from pytest_requestforge.fake_auth.journal import Entry, Journal
from pytest_requestforge.fake_auth.lifecycle import Lifecycle
from pytest_requestforge.fake_auth.loopback import Loopback
from pytest_requestforge.fake_auth.providers import Providers
from pytest_requestforge.fake_auth.serving import Pipeline, endpoints_of, refuse_other_origins
from pytest_requestforge.fake_auth.transports import Transport, make_carrier
from pytest_requestforge.recorder import Recorder

__all__ = [
    "Entry",
    "FakeAuth",
    "FakeAuthFactory",
    "Fault",
    "Journal",
    "Loopback",
    "Resource",
    "TokenEndpoint",
]

_BASE_URL = "https://auth.example.test"


class FakeAuth(Lifecycle, Providers):
    """An auth server for tests; a context manager.

    It issues tokens, checks every request for them, and keeps a journal of all that arrives. One
    definition serves both transports: in process it answers in the place of the network whatever
    goes through `requests`, for every host that is named; on loopback it listens on a socket of
    127.0.0.1, where endpoints of every host are found at their paths. `endpoint.url` is right on
    either. A third way is your own: whatever speaks WSGI may carry `app`, at the base URL.

    Example:
        >>> with FakeAuth("https://auth.example.com") as auth:
        ...     app = auth.token("app_token", "POST /v1/app/token", expires_in=3600)
        ...     user = auth.token("user", "POST /v1/user/token", requires={"X-App-Token": app})
        ...     me = auth.resource("GET https://api.example.com/me", needs=user, json={"id": 1})

    Args:
        base_url: of endpoints that are given as a path; None: https://auth.example.test.
        transport: "inprocess", "loopback", or "wsgi" where something else carries `app`.
        strict: whether an unmatched request fails: under pytest the test, however the server was
            started; else the `with` block, which raises AssertionError when it ends as planned.
        seed: the tokens follow from it; None: a random one.
        unused_faults: whether a fault that does not strike as often as it was called for fails as
            well ("error"), is warned of ("warn"), or is left alone ("ignore").

    Raises:
        ImportError: what the transport needs is not installed.
        ValueError: `base_url` is no http(s) URL, or there is no such transport or severity.
    """

    journal: Journal
    recorder: Recorder
    seed: int
    transport: Transport

    def __init__(
        self,
        base_url: str | None = None,
        *,
        transport: Transport = "inprocess",
        strict: bool = True,
        seed: int | None = None,
        unused_faults: Severity = "error",
    ) -> None:
        if unused_faults not in get_args(Severity):
            raise ValueError(
                f"unused_faults must be one of {get_args(Severity)}, not {unused_faults!r}."
            )
        self._base = http_url(base_url or _BASE_URL)
        self.transport = transport
        self.strict: bool = strict
        self.on_unused_fault: Severity = unused_faults
        self.seed = secrets.randbits(32) if seed is None else seed
        self.journal = Journal()
        self.recorder = Recorder(self.journal)
        self._app = App(origin_of(self._base), self.journal)
        self._carrier = make_carrier(transport, self._app, origin_of(self._base))
        self._providers = []

    @property
    def base_url(self) -> str:
        """Where endpoints given as a path are found; on loopback at the socket, once started.

        Raises:
            RuntimeError: on loopback, it has not been started yet.
        """
        origin = origin_of(self._base) if self._app.carrier is None else self._app.carrier()
        return origin + self._base.path.rstrip("/")

    @property
    def url(self) -> str:
        """The same as `base_url`."""
        return self.base_url

    @property
    def app(self) -> WSGIApplication:
        """The server as a WSGI application, for other servers and clients; it goes by paths."""
        return self._app

    @property
    def endpoints(self) -> Mapping[str, TokenEndpoint]:
        """The token endpoints by name; of several with one name the first."""
        mine = [each for each in self._app.endpoints if isinstance(each, TokenEndpoint)]
        return dict(reversed({each.name: each for each in reversed(mine)}.items()))

    def token(
        self,
        name: str,
        at: str,
        *,
        expires_in: float | timedelta | None = None,
        body: Mapping[str, object] | None = None,
        requires: Mapping[str, "TokenEndpoint | str"] | None = None,
        in_header: str | None = None,
    ) -> TokenEndpoint:
        """Issue tokens at an endpoint.

        A request that lacks a live token of `requires` gets 401 with a challenge (RFC 6750
        section 3), one with other flaws the error of RFC 6749 section 5.2.

        Args:
            name: of the step, in the journal and the assertions.
            at: "METHOD /path" below the base URL, or "METHOD https://host/path".
            expires_in: life of its tokens in seconds or as timedelta, which the answer tells;
                None: they live until revoked, and the answer tells nothing.
            body: fields that a request must have, in a form or as JSON (for GET in its query). A
                value may be another token endpoint: then it must be a live token of that one.
            requires: headers that a request must have: the value, or the endpoint of the token
                (in `Authorization` after "Bearer ", else alone).
            in_header: response header that holds the token; None: it is in the body.

        Raises:
            TypeError: `expires_in` or the endpoint of a token is something else.
            ValueError: the name is empty, it or the request is taken, `at` has another form,
                `expires_in` is negative or beyond all dates, a name is none of a header, or a
                required token is of another FakeAuth.
        """
        demands = Demands(
            headers=headers(requires or {}, self._app), body=fields(body or {}, self._app)
        )
        scheme = "Bearer " if (in_header or "").casefold() == "authorization" else ""
        place = TokenPlace(
            header=None if in_header is None else header_name(in_header), scheme=scheme
        )
        method, url = located(at, self._base)
        endpoint = TokenEndpoint(
            step_name(name, self.endpoints), method, origin_of(url), unquote(url.path), demands,
            server=self._app, place=place, lifetime=lifetime(expires_in),
        )  # fmt: skip
        self._app.add(endpoint)
        return endpoint

    def resource(
        self,
        at: str,
        *,
        needs: TokenEndpoint | None = None,
        requires: Mapping[str, "TokenEndpoint | str"] | None = None,
        scope: str | None = None,
        audience: str | None = None,
        json: object = None,
        status: int = 200,
    ) -> Resource:
        """Give something to those who have the right token; others get 401 (RFC 6750 section 3).

        Args:
            at: "METHOD /path" below the base URL, or "METHOD https://host/path".
            needs: the endpoint whose token must be in `Authorization`, after "Bearer ".
            requires: further headers, as in `token`.
            scope: what the token of `needs` must have been granted, joined by blanks.
            audience: whom the token of `needs` must be for; None: its provider, or the URL of this
                resource or one above it.
            json: body of the answer.
            status: of the answer.

        Raises:
            TypeError: `json` or the endpoint of a token is something else.
            ValueError: the request is taken, `at` has another form, a required token is of
                another FakeAuth, a name is none of a header, the status is none from 200 to 599,
                or `scope` or `audience` comes without `needs`.
        """
        if needs is None and (scope or audience):
            raise ValueError("scope= and audience= are a token's; name its issuer by needs=.")
        needed = {} if needs is None else token_headers({"Authorization": needs}, self._app)
        demands = Demands(headers={**needed, **headers(requires or {}, self._app)})
        method, url = located(at, self._base)
        endpoint = Resource(
            f"{method} {unquote(url.path)}", method, origin_of(url), unquote(url.path), demands,
            server=self._app, status=final_status("resource()", status), json=json_value(json),
            needs=needs, scope=frozenset((scope or "").split()), audience=audience,
        )  # fmt: skip
        self._app.add(endpoint)
        return endpoint

    def serve(self, pipeline: Pipeline) -> dict[str, TokenEndpoint]:
        """Issue tokens to every HTTP step of a pipeline, at the URLs that the steps ask.

        Each endpoint demands what its step sends: the method, the type of the body, the headers
        and data that the step was given, and in their places the tokens of earlier steps. What an
        override adds beyond these must be there, whatever its value. The tokens live as long as the
        step's `ttl`, which the answer does not tell; without one for an hour, which it tells.

        A step whose name has an endpoint from `token` keeps it; one of a further pipeline that asks
        otherwise gets a further one. On loopback each must ask `auth.url`; other hosts are real.

        Returns:
            The endpoints by name of their step.

        Raises:
            RuntimeError: on loopback, it has not been started yet.
            ValueError: two steps send the same request; or one cannot build its request with tokens
                that stand in for real ones, has two fields in one place, or asks other hosts.
        """
        if self._app.carrier is not None:
            refuse_other_origins(pipeline, self._app.carrier())
        found = {name: each for name, each in self.endpoints.items() if each.by_hand}
        for step in list(endpoints_of(pipeline, found)):
            found[step.name] = self._app.serve(step.endpoint(self._app))
        return {name: found[name] for name in pipeline.step_names if name in found}

    def __repr__(self) -> str:
        return f"<FakeAuth {self._base.geturl()} {self.transport}, seed {self.seed}>"
