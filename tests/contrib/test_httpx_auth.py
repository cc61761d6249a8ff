"""TokenAuth in httpx: event loops, cancelled tasks, streams, and requests sent by hand."""

import asyncio
import importlib
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from adapters import Guard, pipeline, tokens

from client_server import Reply, Server
from doubles import CountingStep
from requestforge import InMemoryTokenStorage, TokenData, TokenFetchPipeline, TokenManager
from requestforge.contrib.httpx import TokenAuth
from requestforge.interfaces import TokenManagerInterface


def test_the_event_loop_goes_on(api: Server) -> None:
    """While a token is fetched, other tasks run: here it is one of them that ends the fetch."""
    released = threading.Event()
    step = CountingStep("app")
    step.during = lambda: released.wait(10)

    async def release() -> None:
        released.set()

    async def ask() -> int:
        async with httpx.AsyncClient(auth=TokenAuth(pipeline(step))) as client:
            answer, _ = await asyncio.gather(client.get(api.url), release())
        return answer.status_code

    assert asyncio.run(ask()) == 200


def test_a_cancelled_task_does_not_wait(api: Server) -> None:
    """A task that is given up leaves the fetch to its thread, whose token serves the next one."""
    released, begun = threading.Event(), threading.Event()
    step = CountingStep("app", expires_in=600)

    def wait() -> None:
        begun.set()
        released.wait(10)

    step.during = wait
    source = pipeline(step)

    async def ask() -> int:
        async with httpx.AsyncClient(auth=TokenAuth(source)) as client:
            task = asyncio.create_task(client.get(api.url))
            assert await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not released.is_set()
            released.set()
            return (await client.get(api.url)).status_code

    assert asyncio.run(ask()) == 200
    assert step.fetches == 1


def test_one_object_serves_many_event_loops(api: Server) -> None:
    """Threads with an event loop each share the adapter and the token."""
    step = CountingStep("app", expires_in=600)
    auth = TokenAuth(pipeline(step))
    answers: list[int] = []

    async def ask() -> None:
        async with httpx.AsyncClient(auth=auth) as client:
            answers.append((await client.get(api.url)).status_code)

    threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (answers, step.fetches) == ([200] * 4, 1)


class Listening(TokenManagerInterface):
    """A manager that notes the threads in which it hears of acceptance."""

    def __init__(self) -> None:
        self.heard: list[threading.Thread] = []

    def get_token(self) -> TokenData:
        return TokenData("app-1")

    def invalidate_token(self) -> None:
        pass

    def force_refresh(self) -> TokenData:
        return self.get_token()

    def accepted(self, token: TokenData) -> None:
        self.heard.append(threading.current_thread())


def test_a_foreign_manager_is_told_in_a_thread(api: Server) -> None:
    """What a manager of others does when a token is accepted cannot block the event loop."""
    manager = Listening()

    async def ask() -> None:
        async with httpx.AsyncClient(auth=TokenAuth(manager)) as client:
            await client.get(api.url)

    asyncio.run(ask())
    [thread] = manager.heard
    assert thread is not threading.main_thread()


def _generated() -> Iterator[bytes]:
    yield b"only once"


async def _generated_async() -> AsyncIterator[bytes]:
    yield b"only once"


BODIES: dict[str, Any] = {
    "generator": lambda: {"content": _generated()},
    "file": lambda: {"content": BytesIO(b"only once")},
}


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
def test_what_is_used_up_is_not_sent_again(make: Any, api: Server) -> None:  # noqa: ANN401
    """Such a body leaves the 401 to the caller, and the new token serves the next request."""
    step = CountingStep("app")
    api.rules["/"] = Guard("app-2")
    with httpx.Client(auth=TokenAuth(pipeline(step))) as client:
        assert client.post(f"{api.url}/", **make()).status_code == 401
        assert client.post(f"{api.url}/", content=b"again").status_code == 200
    assert [seen.body for seen in api.seen] == [b"only once", b"again"]
    assert step.fetches == 2


def test_a_part_that_cannot_be_put_back(api: Server) -> None:
    """A multipart body with a pipe in it is not sent again, since the pipe would be empty."""
    api.rules["/"] = Guard("app-2")
    with httpx.Client(auth=TokenAuth(pipeline(CountingStep("app")))) as client:
        request = client.build_request("POST", f"{api.url}/", files={"file": BytesIO(b"once")})
        for part in request.stream.fields:  # type: ignore[attr-defined]
            part.file = _NoSeek(b"once")
        assert client.send(request).status_code == 401
    assert len(api.seen) == 1


class _NoSeek:
    """What has nothing but a `read`."""

    def __init__(self, content: bytes) -> None:
        self._content = BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)


def test_an_async_generator_is_not_sent_again(api: Server) -> None:
    """Nor is a body that a task makes."""
    api.rules["/"] = Guard("app-2")

    async def ask() -> int:
        auth = TokenAuth(pipeline(CountingStep("app")))
        async with httpx.AsyncClient(auth=auth) as client:
            return (await client.post(f"{api.url}/", content=_generated_async())).status_code

    assert asyncio.run(ask()) == 401
    assert len(api.seen) == 1


def test_history_and_stream(api: Server) -> None:
    """The refusal is in the history, and the answer to the replay may be read bit by bit."""
    api.rules["/"] = Guard("app-2")
    with (
        httpx.Client(auth=TokenAuth(pipeline(CountingStep("app")))) as client,
        client.stream("GET", f"{api.url}/") as answer,
    ):
        assert b"".join(answer.iter_bytes(2)) == b"here"
    assert [each.status_code for each in answer.history] == [401]


@pytest.mark.parametrize("header", ["Authorization", "X-App-Token"], ids=str.lower)
def test_a_redirect_that_is_sent_by_hand(header: str, api: Server, elsewhere: Server) -> None:
    """A client that signs all requests signs no `next_request` that leaves the origin."""
    auth = TokenAuth(pipeline(CountingStep("app")), header_name=header)
    api.rules["/"] = Reply(302, {"Location": f"{elsewhere.url}/next"})
    elsewhere.rules["/next"] = Reply(302, {"Location": f"{api.url}/end"})
    with httpx.Client(auth=auth) as client:
        answer = client.get(f"{api.url}/")
        while answer.next_request is not None:
            answer = client.send(answer.next_request)
    assert tokens(api.seen, header) == ["Bearer app-1", None]
    assert tokens(elsewhere.seen, header) == [None]


def test_extensions_stay_the_callers(api: Server, elsewhere: Server) -> None:
    """One mapping of extensions serves requests to many origins."""
    extensions = {"sni_hostname": "api.example"}
    with httpx.Client(auth=TokenAuth(pipeline(CountingStep("app")))) as client:
        for url in (api.url, elsewhere.url):
            client.send(httpx.Request("GET", url, extensions=extensions))
    assert tokens(api.seen + elsewhere.seen) == ["Bearer app-1"] * 2
    assert extensions == {"sni_hostname": "api.example"}


def test_an_origin_that_is_hard_to_read() -> None:
    """A host that two readers may take for two hosts gets the token if the caller asks for it."""
    told: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        told.append(request.headers.get("Authorization"))
        return httpx.Response(200)

    with httpx.Client(
        transport=httpx.MockTransport(answer), auth=TokenAuth(pipeline(CountingStep("app")))
    ) as client:
        client.get("http://a%20b.example/")
    assert told == ["Bearer app-1"]


def test_the_headers_show_another_credential(api: Server) -> None:
    """A token in a header of its own is seen by all ways to read the headers of the request."""
    auth = TokenAuth(pipeline(CountingStep("app")), header_name="X-App-Token", header_prefix="")
    with httpx.Client(auth=auth, headers={"x-app-token": "mine", "X-Other": "1"}) as client:
        headers = client.get(api.url).request.headers
    assert headers["x-app-token"] == "app-1"
    assert headers.get_list("X-App-Token") == ["app-1"]
    assert "X-App-Token" in headers
    assert (b"X-App-Token", b"app-1") in headers.raw
    assert ("x-app-token", "app-1") in headers.items()
    assert ("x-app-token", "app-1") in headers.multi_items()
    assert "x-app-token" in list(headers)
    assert "app-1" in headers.values()
    assert len(headers) == len(headers.raw)
    assert "app-1" not in httpx.Headers(headers).values()


def test_an_event_hook_may_replace_the_token(api: Server) -> None:
    """Who sets the header in an event hook has it sent, and a 401 then is no refusal of ours."""
    step = CountingStep("app")
    api.rules["/"] = Guard("app-2")

    def replace(request: httpx.Request) -> None:
        request.headers["Authorization"] = "Bearer mine"

    hooks: Any = {"request": [replace]}
    with httpx.Client(auth=TokenAuth(pipeline(step)), event_hooks=hooks) as client:
        assert client.get(f"{api.url}/").status_code == 401
    assert (tokens(api.seen), step.fetches) == (["Bearer mine"], 1)


def test_a_path_that_refuses_for_ever(api: Server) -> None:
    """A redirect within the origin that is refused with its token, too, ends in the 401."""
    api.rules["/"] = Reply(302, {"Location": "/next"})
    api.rules["/next"] = Reply(401)
    manager = TokenManager(_SameToken())
    auth = TokenAuth(manager, header_name="X-App-Token")
    with httpx.Client(auth=auth, follow_redirects=True) as client:
        assert client.get(f"{api.url}/").status_code == 401
    assert tokens(api.seen, "X-App-Token") == ["Bearer same", None, "Bearer same"]


class _SameToken:
    """A provider whose server gives the same token for ever."""

    service_name = "same"

    def fetch_token(self) -> TokenData:
        return TokenData("same")

    def refresh_token(self, current_token: TokenData) -> TokenData:
        return self.fetch_token()


def test_without_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the module without httpx says what to install."""
    monkeypatch.delitem(sys.modules, "requestforge.contrib.httpx")
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=r"pip install 'requestforge\[httpx\]'"):
        importlib.import_module("requestforge.contrib.httpx")


def test_a_tenant_is_a_source(api: Server) -> None:
    """The view of a pipeline for one tenant gives that tenant's tokens."""
    tenants = TokenFetchPipeline([CountingStep("app")], InMemoryTokenStorage(), "shop")
    for tenant in ("acme", "umbrella"):
        with httpx.Client(auth=TokenAuth(tenants.for_tenant(tenant))) as client:
            client.get(api.url)
    assert tokens(api.seen) == ["Bearer app-1", "Bearer app-2"]
