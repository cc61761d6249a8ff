"""A FakeAuth in the place of the network, for whatever uses `requests` in this process."""

import re
import threading
from collections.abc import Callable, Iterable
from urllib.parse import SplitResult, unquote, urlsplit
from weakref import WeakSet

import responses
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as NoConnectionError

from pytest_requestforge.fake_auth.app import App
from pytest_requestforge.fake_auth.incoming import origin_of
from pytest_requestforge.fake_auth.wire import send_over_wire
from pytest_requestforge.fake_auth.wsgi import Reply, ask

_Send = Callable[..., Response]

_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")

# The one thread of the library that lives as long as the process; it sends nothing.
_WATCHDOG = "requestforge-watchdog"

# A mock asks itself here, however and whenever it was started; there is no public place for it.
_ask_mock: _Send = responses.RequestsMock._on_request  # noqa: SLF001


class InProcess:
    """Answers the requests of this process from `start` to `stop`.

    Of several that are started the last one that knows the host of a request answers it. A host
    that none knows is answered by the last of all, but on loopback reached as it is. What the test
    itself has mocked with `responses` goes to its mock, whichever was started first.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    def start(self) -> None:
        """Take the place of the network."""
        _interception.add(self._app)

    def stop(self) -> None:
        """Give it back; but threads that began meanwhile and live on do not reach it.

        Neither do the threads that those start. A job that was given to a thread of older times,
        such as one of a pool that several tests share, is not told from any other.
        """
        _interception.remove(self._app)


class _NotMocked(Exception):
    """A mock that was asked has nothing for the request."""


class _Interception:
    """The one point of the process where requests are turned away from the network.

    `responses` replaces `HTTPAdapter.send`, and each of its mocks hides what was there before.
    So every mock is asked whether it has something for a request, the last one started first;
    what none of them has goes to an app. A thread that has outlived the test in which it began is
    answered where an app has an endpoint, since it may be of a pool that several tests share; else
    it is refused, so that no later test fails by what it sends.
    """

    def __init__(self) -> None:
        self._apps: tuple[App, ...] = ()  # replaced, never changed: readers take no lock
        self._lock = threading.Lock()
        self._threads_before: set[threading.Thread] = set()
        self._outlived: WeakSet[threading.Thread] = WeakSet()
        self._start_thread: Callable[[threading.Thread], None] | None = None
        self._hidden: _Send = HTTPAdapter.send
        self._shown: _Send | None = None
        self._mock = responses.RequestsMock(assert_all_requests_are_fired=False)
        self._mock.add(_Answered("*", "/", _answer, content_type=None))
        self._mock.add(_PassedOn("*", "/"))
        self._answer_or_pass_on = self._mock.unbound_on_send()

    def add(self, app: App) -> None:
        with self._lock:
            if not self._apps:
                self._threads_before = set(threading.enumerate())
                self._install()
            self._apps = (*self._apps, app)

    def remove(self, app: App) -> None:
        with self._lock:
            self._apps = tuple(other for other in self._apps if other is not app)
            if not self._apps:
                self._watch_threads()
                began = set(threading.enumerate()) - self._threads_before
                self._outlived.update(thread for thread in began if thread.name != _WATCHDOG)
                self._uninstall()

    def ask(
        self,
        mock: responses.RequestsMock,
        adapter: HTTPAdapter,
        request: PreparedRequest,
        **how: object,
    ) -> Response:
        """What the mock answers if it is ours or has mocked the request; else go on without it."""
        only_asked, _here.only_asked = getattr(_here, "only_asked", False), False
        apps = self._apps
        if mock is self._mock or not apps or self._is_mocked(mock, request, how):
            return _ask_mock(mock, adapter, request, **how)
        if only_asked:
            raise _NotMocked
        return self._answer(apps, self._hidden, adapter, request, **how)

    def _send(
        self,
        hidden: _Send,
        adapter: HTTPAdapter,
        request: PreparedRequest,
        *args: object,
        **how: object,
    ) -> Response:
        apps = self._apps
        if not apps:
            if not _is_loopback(urlsplit(str(request.url))):
                self._refuse_outlived(request)
            return hidden(adapter, request, *args, **how)
        return self._answer(apps, hidden, adapter, request, *args, **how)

    def _answer(
        self,
        apps: tuple[App, ...],
        hidden: _Send,
        adapter: HTTPAdapter,
        request: PreparedRequest,
        *args: object,
        **how: object,
    ) -> Response:
        if hidden.__module__ == responses.__name__:
            _here.only_asked = True
            try:
                return hidden(adapter, request, *args, **how)
            except _NotMocked:
                pass
        _here.app = app = _choose(apps, request)
        if app is not None:
            if not app.knows(*_place(request)):
                self._refuse_outlived(request)
            request.body = self._mock._read_filelike_body(request.body)  # noqa: SLF001 - as it does
            _here.reply = reply = _reply(app, request)
            if reply.delivery is not None:
                return send_over_wire(
                    adapter, request, reply, lambda: _reply(app, request), *args, **how
                )
        return self._answer_or_pass_on(adapter, request, *args, **how)

    def _is_mocked(
        self, mock: responses.RequestsMock, request: PreparedRequest, how: dict[str, object]
    ) -> bool:
        # What a matcher of a mock may look at, as `responses` prepares it.
        request.params = mock._parse_request_params(request.path_url)  # type: ignore[attr-defined] # noqa: SLF001
        request.req_kwargs = how  # type: ignore[attr-defined]
        request.body = mock._read_filelike_body(request.body)  # noqa: SLF001
        if any(response.matches(request)[0] for response in tuple(mock.registered())):
            return True
        url = str(request.url)
        origin = origin_of(urlsplit(url))
        return not any(app.knows(origin) for app in self._apps) and any(
            url.startswith(prefix) if isinstance(prefix, str) else prefix.match(url)
            for prefix in mock.passthru_prefixes
        )

    def _refuse_outlived(self, request: PreparedRequest) -> None:
        if threading.current_thread() in self._outlived:
            origin, _ = _place(request)
            raise NoConnectionError(
                f"A thread that a test had started sent {request.method} to {origin} after "
                f"the FakeAuth of that test had stopped. It does not reach the network, nor is it "
                f"unmatched in a later test; join the threads of a test before it ends.",
                request=request,
            )

    def _watch_threads(self) -> None:
        """Have the children of threads that outlive their test count as such, too."""
        if self._start_thread is not None:
            return
        hidden = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if threading.current_thread() in self._outlived:
                with self._lock:
                    self._outlived.add(thread)
            hidden(thread)

        self._hidden_start, self._start_thread = hidden, start
        _replace(threading.Thread, "start", start)

    def _install(self) -> None:
        hidden: _Send = HTTPAdapter.send
        if hidden is not self._shown:

            def send(
                adapter: HTTPAdapter, request: PreparedRequest, *args: object, **how: object
            ) -> Response:
                return self._send(hidden, adapter, request, *args, **how)

            self._hidden, self._shown = hidden, send
            _replace(HTTPAdapter, "send", send)
        _replace(responses.RequestsMock, "_on_request", _ask)

    def _uninstall(self) -> None:
        _replace(responses.RequestsMock, "_on_request", _ask_mock)
        for response in self._mock.registered():
            response.calls.reset()
        self._mock.calls.reset()
        if any(thread.is_alive() for thread in self._outlived):
            return
        if HTTPAdapter.send is self._shown:
            _replace(HTTPAdapter, "send", self._hidden)
            self._shown = None
        if threading.Thread.start is self._start_thread:
            _replace(threading.Thread, "start", self._hidden_start)
            self._start_thread = None


class _Answered(responses.CallbackResponse):
    """Stands for every request that an app answers."""

    def matches(self, _: PreparedRequest) -> tuple[bool, str]:
        return _here.app is not None, ""


class _PassedOn(responses.PassthroughResponse):
    """Stands for every request that goes on to its socket."""

    def matches(self, _: PreparedRequest) -> tuple[bool, str]:
        return _here.app is None, ""


def _replace(owner: type, name: str, function: Callable[..., object]) -> None:
    setattr(owner, name, function)


def _ask(
    mock: responses.RequestsMock, adapter: HTTPAdapter, request: PreparedRequest, **how: object
) -> Response:
    return _interception.ask(mock, adapter, request, **how)


def _choose(apps: tuple[App, ...], request: PreparedRequest) -> App | None:
    origin, path = _place(request)
    knowing = [app for app in reversed(apps) if app.knows(origin)]
    if not knowing:
        return None if _is_loopback(urlsplit(str(request.url))) else apps[-1]
    return next((app for app in knowing if app.knows(origin, path)), knowing[0])


def _answer(request: PreparedRequest) -> tuple[int, list[tuple[str, str]], bytes]:
    # A further attempt, which `responses` makes where the adapter retries, has none yet.
    reply, _here.reply = _here.reply or _reply(_here.app, request), None
    return int(reply.status.partition(" ")[0]), reply.headers, reply.content


def _reply(app: App, request: PreparedRequest) -> Reply:
    return ask(
        app,
        str(request.method),
        urlsplit(str(request.url)),
        headers=[(_text(name), _text(value)) for name, value in request.headers.items()],
        content=_bytes(request.body),
        by_origin=True,
    )


def _place(request: PreparedRequest) -> tuple[str, str]:
    """Origin and decoded path."""
    url = urlsplit(str(request.url))
    return origin_of(url), unquote(url.path)


def _is_loopback(url: SplitResult) -> bool:
    return bool(_LOOPBACK.fullmatch(url.hostname or ""))


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(body: str | bytes | Iterable[str | bytes] | None) -> bytes:
    parts = (body,) if isinstance(body, str | bytes) else body or ()
    return b"".join(part.encode() if isinstance(part, str) else part for part in parts)


_interception = _Interception()
_here = threading.local()
