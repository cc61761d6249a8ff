"""The error classes: signatures, texts, copies and pickles."""

import copy
import io
import json
import pickle
from datetime import UTC, datetime

import pytest

from requestforge import exceptions
from requestforge._portable import without_secrets
from requestforge.exceptions import (
    AuthenticationException,
    BadRequestException,
    CapacityException,
    CircuitOpenException,
    ConnectionException,
    DependencyException,
    ForbiddenException,
    HttpClientException,
    HttpStatusException,
    InsecureTransportWarning,
    MaxRetryConnectionException,
    MaxRetryException,
    MaxRetryTimeoutException,
    NotFoundException,
    RequestBuildException,
    ResponseParseException,
    ServerErrorException,
    SSLException,
    TimeoutException,
    TokenRefreshException,
    TokenStorageException,
    UnauthorizedException,
)
from requestforge.models import HttpRequest, HttpResponse
from requestforge.tokens import TokenData

CANARY = "canary-5ca1ab1e"

PLAIN = [
    HttpClientException,
    TimeoutException,
    ConnectionException,
    SSLException,
    ResponseParseException,
    RequestBuildException,
    TokenStorageException,
    CapacityException,
    CircuitOpenException,
    AuthenticationException,
    TokenRefreshException,
    DependencyException,
]
WITH_ATTEMPTS = [MaxRetryException, MaxRetryTimeoutException, MaxRetryConnectionException]
WITH_STATUS = [
    (BadRequestException, 400, "Bad Request"),
    (UnauthorizedException, 401, "Unauthorized"),
    (ForbiddenException, 403, "Forbidden"),
    (NotFoundException, 404, "Not Found"),
    (ServerErrorException, 500, "Server Error"),
]


class ThirdPartyError(Exception):
    """What a library of someone else raises."""


class AwkwardError(Exception):
    """An exception whose constructor does not take its `args`."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"error {code} at {where}")


class MuteError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


class Opaque:
    """An object that no pickle takes and that may hold anything."""

    def __reduce__(self) -> str:
        raise TypeError

    def __str__(self) -> str:
        return f"opaque with password={CANARY}"


def through_pickle(error: HttpClientException) -> HttpClientException:
    """The error as another process would see it."""
    loaded = pickle.loads(pickle.dumps(error))
    assert type(loaded) is type(error)
    return loaded


class TestClasses:
    @pytest.mark.parametrize(
        ("kind", "bases"),
        [
            (HttpClientException, (Exception,)),
            (TimeoutException, (HttpClientException,)),
            (ConnectionException, (HttpClientException,)),
            (SSLException, (ConnectionException,)),
            (MaxRetryTimeoutException, (MaxRetryException, TimeoutException)),
            (MaxRetryConnectionException, (MaxRetryException, ConnectionException)),
            (TokenRefreshException, (AuthenticationException,)),
            (DependencyException, (AuthenticationException, ValueError)),
            (UnauthorizedException, (HttpStatusException,)),
            (ServerErrorException, (HttpStatusException,)),
            (InsecureTransportWarning, (UserWarning,)),
        ],
        ids=lambda value: value.__name__ if isinstance(value, type) else "",
    )
    def test_bases(self, kind: type, bases: tuple[type, ...]) -> None:
        """Handlers of the broader class catch the narrower one."""
        assert issubclass(kind, bases[0])
        assert all(issubclass(kind, base) for base in bases)

    def test_one_root(self) -> None:
        """Every error of the module is an HttpClientException."""
        kinds = {getattr(exceptions, name) for name in exceptions.__all__}
        assert {kind for kind in kinds if not issubclass(kind, HttpClientException)} == {
            InsecureTransportWarning
        }

    @pytest.mark.parametrize("kind", PLAIN)
    def test_three_positional_arguments(self, kind: type[HttpClientException]) -> None:
        """Message, original exception and context are kept as attributes."""
        original = OSError("no route")
        error = kind("It failed.", original, {"url": "/x"})
        assert error.message == "It failed."
        assert error.original_exception is original
        assert error.context == {"url": "/x"}

    @pytest.mark.parametrize("kind", PLAIN)
    def test_context_is_a_dict(self, kind: type[HttpClientException]) -> None:
        """Without a context there is an empty dict, which belongs to the error alone."""
        first, second = kind("one"), kind("two")
        first.context["step"] = "app"
        assert second.context == {}

    @pytest.mark.parametrize("kind", WITH_ATTEMPTS)
    def test_attempts(self, kind: type[MaxRetryException]) -> None:
        """The errors of used-up retries count their attempts and keep their history."""
        original = TimeoutException("late")
        error = kind("Gave up.", 4, original, {"a": 1})
        assert (error.attempts, error.original_exception, error.context) == (4, original, {"a": 1})
        assert error.history == ()

    @pytest.mark.parametrize(("kind", "status", "message"), WITH_STATUS)
    def test_status_defaults(
        self, kind: type[HttpStatusException], status: int, message: str
    ) -> None:
        """The classes of one status have its code and a message of their own."""
        error = kind()  # type: ignore[call-arg]
        assert (error.status_code, error.message, error.response_body) == (status, message, None)
        assert (error.response, error.retry_after, error.context) == (None, None, {})

    def test_status_arguments(self) -> None:
        """A status error takes message, status, body, original exception and context."""
        original = OSError()
        error = HttpStatusException("Gone.", 410, "body", original, {"a": 1})
        assert (error.status_code, error.response_body) == (410, "body")
        assert (error.original_exception, error.context) == (original, {"a": 1})
        assert ServerErrorException("Down.", 503, "body").status_code == 503
        assert NotFoundException("No.", "body", original, {"a": 1}).response_body == "body"

    @pytest.mark.parametrize(
        ("status", "client", "server"),
        [
            (399, False, False),
            (400, True, False),
            (499, True, False),
            (500, False, True),
            (599, False, True),
            (600, False, False),
        ],
    )
    def test_status_families(self, status: int, *, client: bool, server: bool) -> None:
        """A 4xx is the client's error, a 5xx the server's."""
        error = HttpStatusException("x", status)
        assert (error.is_client_error, error.is_server_error) == (client, server)

    @pytest.mark.parametrize(
        "kind", [AuthenticationException, TokenRefreshException, DependencyException]
    )
    def test_service_name(self, kind: type[AuthenticationException]) -> None:
        """The fourth argument names the service or step."""
        error = kind("No token.", None, None, "app_token")
        assert error.service_name == "app_token"
        assert error.retry_at is None
        assert kind("No token.").service_name is None

    def test_circuit_open(self) -> None:
        """An open circuit tells its origin and the seconds to the next probe."""
        error = CircuitOpenException("Open.", origin="https://api.test:443", retry_after=2.5)
        assert (error.origin, error.retry_after) == ("https://api.test:443", 2.5)


class TestText:
    def test_message_alone(self) -> None:
        """Without an original exception the text is the message."""
        assert str(HttpClientException("It failed.")) == "It failed."

    def test_original(self) -> None:
        """A wrapped exception is named with its type and text."""
        error = HttpClientException("It failed.", ThirdPartyError("no route"))
        assert str(error) == "It failed. | Original: ThirdPartyError: no route"

    def test_repr(self) -> None:
        """The representation is the class and its message."""
        assert repr(TimeoutException("Late.")) == "TimeoutException('Late.')"

    def test_unreadable_original(self) -> None:
        """An original exception whose text cannot be had does not stop the report."""
        text = str(HttpClientException("It failed.", MuteError()))
        assert text == "It failed. | Original: MuteError: (no readable text)"

    def test_body_is_not_shown(self) -> None:
        """The body of the answer is in neither text."""
        error = HttpStatusException("Refused.", 400, CANARY)
        assert CANARY not in str(error) + repr(error)

    @pytest.mark.parametrize(
        "text",
        [
            f"Cannot reach https://user:{CANARY}@api.test/x.",
            f"Cannot reach https://api.test/x?access_token={CANARY}&a=1",
            f"Max retries exceeded with url: /token?client_secret={CANARY} (Caused by X)",
            f"Invalid header value b'Bearer {CANARY}\\n'",
            f"sent Proxy-Authorization: Basic {CANARY}\nand failed",
            f"login(user='me', password='{CANARY}')",
            f"refused {{'refresh_token': '{CANARY}', 'n': 1}}",
        ],
        ids=["userinfo", "query", "relative", "bearer", "header", "argument", "dict"],
    )
    def test_credentials_are_removed(self, text: str) -> None:
        """Neither the message nor the text of a wrapped exception shows a credential."""
        as_message = HttpClientException(text)
        wrapping = HttpClientException("It failed.", ThirdPartyError(text))
        shown = (as_message.message, str(as_message), repr(as_message), str(wrapping))
        assert not any(CANARY in one for one in (*shown, repr(wrapping)))
        assert all("***" in one or "https://api.test/x" in one for one in shown)

    def test_context_is_masked(self) -> None:
        """The context holds no credential, at any depth and in no request or token."""
        request = HttpRequest("GET", "/x", headers={"Authorization": f"Bearer {CANARY}"})
        context = {
            "request": request,
            "current": TokenData(CANARY),
            "sent": [{"client_secret": CANARY}],
        }
        error = HttpClientException("It failed.", context=context)
        assert CANARY not in repr(error.context) + error.context["request"].headers["Authorization"]
        assert error.context["sent"] == [{"client_secret": "***"}]
        assert error.context["request"].url == "/x"


class TestCopy:
    def test_own_instance(self) -> None:
        """A copy has the attributes and the cause, but a context of its own."""
        cause = OSError("no route")
        error = DependencyException("No token.", cause, {"a": 1}, "app")
        error.retry_at = datetime(2030, 1, 1, tzinfo=UTC)
        error.__cause__ = cause
        twin = copy.copy(error)
        twin.context["b"] = 2
        assert type(twin) is DependencyException
        assert (str(twin), twin.service_name, twin.retry_at) == (
            str(error),
            "app",
            datetime(2030, 1, 1, tzinfo=UTC),
        )
        assert twin.__cause__ is twin.original_exception is cause
        assert error.context == {"a": 1}

    def test_deep_copy(self) -> None:
        """A deep copy is an equal error, too."""
        error = MaxRetryTimeoutException("Gave up.", 2, TimeoutException("late"))
        twin = copy.deepcopy(error)
        assert (str(twin), twin.attempts) == (str(error), 2)


class TestPickle:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_attributes(self, protocol: int) -> None:
        """Every attribute comes back, under every protocol."""
        error = CircuitOpenException(
            "Open.", context={"a": (1, 2)}, origin="https://a:443", retry_after=3.0
        )
        error.add_note("seen")
        loaded = pickle.loads(pickle.dumps(error, protocol))
        assert vars(loaded) == vars(error)
        assert str(loaded) == str(error)

    @pytest.mark.parametrize("kind", PLAIN)
    def test_plain_classes(self, kind: type[HttpClientException]) -> None:
        """Each class can be pickled with what it wraps."""
        error = through_pickle(kind("It failed.", OSError("no route"), {"a": 1}))
        assert str(error) == "It failed. | Original: OSError: no route"
        assert error.context == {"a": 1}

    @pytest.mark.parametrize("kind", WITH_ATTEMPTS)
    def test_retry_classes(self, kind: type[MaxRetryException]) -> None:
        """Attempts and history come back."""
        error = kind("Gave up.", 2, TimeoutException("second"))
        error.history = (ConnectionException("first"), TimeoutException("second"))
        loaded = through_pickle(error)
        assert isinstance(loaded, MaxRetryException)
        assert loaded.attempts == 2
        assert [str(failure) for failure in loaded.history] == ["first", "second"]

    @pytest.mark.parametrize(("kind", "status", "message"), WITH_STATUS)
    def test_status_classes(
        self, kind: type[HttpStatusException], status: int, message: str
    ) -> None:
        """Status, body and wait come back."""
        error = kind(response_body="why")  # type: ignore[call-arg]
        error.retry_after = 7.0
        loaded = through_pickle(error)
        assert isinstance(loaded, HttpStatusException)
        assert (loaded.status_code, loaded.message) == (status, message)
        assert (loaded.response_body, loaded.retry_after) == ("why", 7.0)
        assert vars(through_pickle(kind()))["response_body"] is None  # type: ignore[call-arg]

    def test_service_name(self) -> None:
        """The step and the end of its pause come back."""
        error = AuthenticationException("No token.", service_name="app")
        error.retry_at = datetime(2030, 1, 1, tzinfo=UTC)
        loaded = through_pickle(error)
        assert isinstance(loaded, AuthenticationException)
        assert (loaded.service_name, loaded.retry_at) == ("app", error.retry_at)

    def test_cause_from_original(self) -> None:
        """The original exception is the cause, even where nothing was raised from it."""
        loaded = through_pickle(HttpClientException("It failed.", ThirdPartyError("no route")))
        assert isinstance(loaded.__cause__, ThirdPartyError)
        assert loaded.__cause__ is loaded.original_exception

    def test_other_cause(self) -> None:
        """A cause that is not the original exception comes back as well."""
        error = HttpClientException("It failed.", KeyError("a"))
        error.__cause__ = ValueError("b")
        loaded = through_pickle(error)
        assert isinstance(loaded.__cause__, ValueError)
        assert isinstance(loaded.original_exception, KeyError)

    def test_chain(self) -> None:
        """The whole chain of causes comes back, through errors of ours and of others."""
        root = TimeoutException("root")
        middle = ThirdPartyError("middle")
        middle.__cause__ = OSError("below")
        middle.__cause__.__cause__ = root
        loaded = through_pickle(HttpClientException("top", middle))
        chain = []
        link: BaseException | None = loaded
        while link is not None:
            chain.append((type(link).__name__, str(link).partition(" |")[0]))
            link = link.__cause__
        assert chain == [
            ("HttpClientException", "top"),
            ("ThirdPartyError", "middle"),
            ("OSError", "below"),
            ("TimeoutException", "root"),
        ]

    def test_circular_chain(self) -> None:
        """A chain of causes that runs in a circle ends."""
        first, second = ThirdPartyError("first"), ThirdPartyError("second")
        first.__cause__, second.__cause__ = second, first
        loaded = through_pickle(HttpClientException("top", first))
        assert loaded.__cause__ is not None
        assert str(loaded.__cause__.__cause__) == "second"

    @pytest.mark.parametrize(
        "original",
        [
            AwkwardError(7, "home"),
            MuteError(),
            type("LocalError", (Exception,), {})("here"),
            FileNotFoundError(2, "No such file", "/etc/x"),
        ],
        ids=["constructor", "mute", "local", "os"],
    )
    def test_stand_in(self, original: Exception) -> None:
        """An original that cannot be rebuilt is stood in for by its type's name and its text."""
        error = HttpClientException("It failed.", original)
        loaded = through_pickle(error)
        assert str(loaded) == str(error)
        assert str(through_pickle(loaded)) == str(error)

    def test_attributes_of_original(self) -> None:
        """Plain attributes of the original come back, secret or opaque ones do not."""
        original = ThirdPartyError("no route", 7)
        original.code_name = "E7"  # type: ignore[attr-defined]
        original.password = CANARY  # type: ignore[attr-defined]
        original.connection = Opaque()  # type: ignore[attr-defined]
        error = HttpClientException("It failed.", original)
        loaded = through_pickle(error).original_exception
        assert loaded is not None
        assert (loaded.args, vars(loaded)) == (("no route", 7), {"code_name": "E7"})

    def test_opaque_context(self) -> None:
        """What cannot be pickled in a context is replaced by its text, without secrets."""
        error = HttpClientException("It failed.", context={"a": [Opaque()], "b": {1}, "c": None})
        context = through_pickle(error).context
        assert context == {"a": ["opaque with password=***"], "b": {1}, "c": None}

    def test_no_secret(self) -> None:
        """A pickle holds no credential of request, answer, body, cause or context."""
        request = HttpRequest(
            "POST",
            f"https://user:{CANARY}@api.test/x?token={CANARY}",
            headers={"X-Api-Key": CANARY},
            params=[("code", CANARY)],
            data=io.BytesIO(CANARY.encode()),
            json_data={"a": {"password": CANARY}},
            files={"f": (CANARY, b"")},
            auth=("user", CANARY),
        )
        body = json.dumps({"access_token": CANARY, "ok": True})
        response = HttpResponse(
            401, {"Set-Cookie": CANARY}, body.encode(), 1.0, f"/x?key={CANARY}", request
        )
        error = UnauthorizedException(
            response_body=body, original_exception=ThirdPartyError(f"token={CANARY}")
        )
        error.response = response
        error.context["late"] = {"jwt": CANARY, "request": request}
        dumped = pickle.dumps(error)
        assert CANARY.encode() not in dumped
        loaded = pickle.loads(dumped)
        assert json.loads(loaded.response_body) == {"access_token": "***", "ok": True}
        assert loaded.response.json() == {"access_token": "***", "ok": True}
        assert loaded.response.headers["set-cookie"] == "***"
        assert loaded.response.request.auth == ("***", "***")

    def test_plain_response(self) -> None:
        """An answer without secrets comes back as it was."""
        response = HttpResponse(404, {"A": "b"}, b"\xff no", 1.0, "/x", HttpRequest("GET", "/x"))
        error = NotFoundException(response_body=response.text)
        error.response = response
        loaded = through_pickle(error)
        assert isinstance(loaded, NotFoundException)
        assert loaded.response == response


class TestWithoutSecrets:
    def test_clean(self) -> None:
        """An error that shows no credential stays what it is."""
        error = ThirdPartyError("no route")
        error.__cause__ = TimeoutException("late")
        error.__context__ = KeyError("a")
        assert without_secrets(error) is error

    def test_text(self) -> None:
        """One that shows a credential is replaced by one of its type without it."""
        error = ThirdPartyError(f"GET /x?token={CANARY}")
        clean = without_secrets(error)
        assert type(clean) is ThirdPartyError
        assert str(clean) == "GET /x?token=***"

    def test_known_secret(self) -> None:
        """A known secret is found wherever it stands, also deep in the chain."""
        error = ThirdPartyError("top")
        error.__cause__ = OSError(f"below {CANARY}")
        error.__cause__.__cause__ = error
        clean = without_secrets(error, [CANARY])
        assert str(clean.__cause__) == "below ***"
        assert clean.__cause__ is not None
        assert clean.__cause__.__cause__ is None

    def test_context(self) -> None:
        """A secret in the implicit context drops that context."""
        error = ThirdPartyError("top")
        error.__context__ = error.__cause__ = MuteError()
        error.__context__.__context__ = ThirdPartyError(CANARY)
        clean = without_secrets(error, [CANARY])
        assert clean is not error
        assert clean.__context__ is None

    def test_cause_of_ours(self) -> None:
        """An error of the library is clean already and stays the cause."""
        error = ThirdPartyError(f"password={CANARY}")
        error.__cause__ = TimeoutException("late")
        assert without_secrets(error).__cause__ is error.__cause__
