"""Steps with refresh tokens that rotate, and a provider that detects their second use."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any, Self

import requests

from doubles import CountingStep
from pytest_requestforge import FakeAuth
from requestforge.exceptions import AuthenticationException, BadRequestException
from requestforge.oauth2 import ClientSecretBasic, PasswordFetcher
from requestforge.tokens import TokenData

LIMIT = 30.0
"""Seconds after which a wait counts as a hang."""

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CLIENT = ClientSecretBasic("canary-client-5ecret")


def refusal(code: str, status: int = 400) -> AuthenticationException:
    """What a fetcher raises for an error answer of its token endpoint."""
    answer = BadRequestException(f"status {status}: {code}", context={"error": code})
    answer.status_code = status
    error = AuthenticationException("No token.", answer, service_name="app")
    error.__cause__ = answer
    return error


class RotatingStep(CountingStep):
    """A step whose n-th token brings the refresh token `r<n>`, whichever grant gave it.

    `redeemed`: the refresh tokens that were used; `refusals`: raised by the next of these uses;
    `brings`: whether there are refresh tokens at all; `rotates`: whether a use gives a new one;
    `while_redeeming`: called within each use.
    """

    def __init__(self, name: str = "app", *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(name, *args, **{"expires_in": 60, **options})
        self.redeemed: list[str | None] = []
        self.refusals: list[Exception] = []
        self.brings = self.rotates = True
        self.issued = 0
        self.while_redeeming: Callable[[], object] | None = None

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        return self._with_refresh_token(super().fetch(context))

    def refresh(self, expired: TokenData, context: dict[str, TokenData] | None = None) -> TokenData:
        self.redeemed.append(expired.refresh_token)
        if self.while_redeeming is not None:
            self.while_redeeming()
        if self.refusals:
            raise self.refusals.pop(0)
        fetches = self.fetches
        try:
            token = super().fetch(context)
        finally:
            self.fetches = fetches
        return self._with_refresh_token(token) if self.rotates else token

    def _with_refresh_token(self, token: TokenData) -> TokenData:
        self.issued += 1
        return TokenData(
            f"{self.name}-{self.issued}",
            expires_at=token.expires_at,
            issued_at=token.issued_at,
            refresh_token=f"r{self.issued}" if self.brings else None,
        )


class Family:
    """A user's tokens at a provider that rotates refresh tokens, on a loopback socket."""

    def __init__(self, auth: FakeAuth) -> None:
        self._auth = auth
        self.idp = auth.oauth2(
            clients={"app": CLIENT.secret}, users={"alice": "canary-alices-pw"}, jwt=None
        )
        self._me = auth.resource("GET /me", needs=self.idp)

    def password_step(self, name: str = "user") -> PasswordFetcher:
        """A step with an own grant that needs no user."""
        return PasswordFetcher(
            name,
            self.idp.url,
            "app",
            username="alice",
            password="canary-alices-pw",
            client_auth=CLIENT,
        )

    def expired(self) -> TokenData:
        """A token of the user that has expired, with a refresh token that has not."""
        token = self.password_step().fetch()
        return TokenData("old", expires_at=LONG_AGO, refresh_token=token.refresh_token)

    def grants(self, kind: str) -> list[int]:
        """The statuses of the answers to requests for that grant."""
        return [e.status for e in self._auth.journal if e.body.get("grant_type") == kind]

    @property
    def redemptions(self) -> list[int]:
        """The statuses of the answers to refresh tokens."""
        return self.grants("refresh_token")

    def takes(self, access_token: str) -> bool:
        """Whether the resource server does."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return requests.get(self._me.url, headers=headers, timeout=LIMIT).status_code == 200


class Worker:
    """A process that runs rotation_worker.py."""

    def __init__(self, told: dict[str, object]) -> None:
        program = Path(__file__).with_name("rotation_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Send it a line."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(line + "\n")
        stdin.flush()

    def answer(self) -> Any:  # noqa: ANN401
        """Its next answer."""
        stdout = self._process.stdout
        assert stdout is not None
        lines: list[str] = []
        reader = Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
        reader.start()
        reader.join(LIMIT)
        assert lines, "The worker hangs."
        return json.loads(lines[0])

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self._process.kill()
        self._process.wait(LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.kill()
