"""A real browser, headless, driven over the pipe of its DevTools protocol."""

import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # root has none, and it opens our own pages alone
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)


def program() -> str:
    """The path of a browser; without one the test is skipped, but fails in CI."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is not None:
        return found
    missing = (
        "There is no Chromium on PATH, so no test can run in a real browser. "
        "Install it, for example with `apt-get install chromium`."
    )
    if os.environ.get("CI"):
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


class Page:
    """One tab."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = os.fdopen(reading, "rb", buffering=0)
        self._writing = os.fdopen(writing, "wb", buffering=0)
        self._numbers = count(1)
        self._rest = b""
        self._messages: deque[dict[str, Any]] = deque()
        self._events: list[str] = []
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")

    def open(self, url: str) -> None:
        """Go to the URL, and wait until it has loaded."""
        with self.loading():
            self._call("Page.navigate", url=url)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Wait until the page has loaded that the block leads to."""
        self._events.clear()
        yield
        while "Page.loadEventFired" not in self._events:
            self._next()

    def type(self, selector: str, text: str) -> None:
        """Put the text into a field, as a keyboard does."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self._call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click, and wait until the page has loaded that this leads to."""
        with self.loading():
            self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def run(self, script: str) -> Any:  # noqa: ANN401 - whatever the script gives
        """The value of a script."""
        return self._call("Runtime.evaluate", expression=script)["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        self._session = None
        with suppress(OSError, EOFError):
            self._call("Browser.close")
        self._reading.close()
        self._writing.close()

    def _call(self, method: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._writing.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "result" in answer, answer
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = self._reading.read(65_536)
            if not read:
                raise EOFError("The browser has ended.")
            self._rest += read
        text, _, self._rest = self._rest.partition(b"\0")
        message = dict(json.loads(text))
        if "method" in message:
            self._events.append(message["method"])
        return message


@contextmanager
def browser() -> Iterator[Page]:
    """A tab of a browser that was started for it, and ends with it."""
    path = program()
    # The browser reads its orders from 3, and answers on 4.
    orders, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = os.posix_spawn(
            path,
            [path, *_OPTIONS, f"--user-data-dir={folder}"],
            {**os.environ, "HOME": folder},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, orders, 30),
                (os.POSIX_SPAWN_DUP2, answers, 40),
                (os.POSIX_SPAWN_DUP2, 30, 3),
                (os.POSIX_SPAWN_DUP2, 40, 4),
                (os.POSIX_SPAWN_CLOSE, 30),
                (os.POSIX_SPAWN_CLOSE, 40),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        os.close(orders)
        os.close(answers)
        page = Page(from_browser, to_browser)
        try:
            yield page
        finally:
            page.close()
            os.waitpid(process, 0)
