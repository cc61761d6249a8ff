"""What a client asks a user for, and the code that it gets (RFC 6749 section 4.1, RFC 7636)."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode, urlsplit

from pytest_requestforge.fake_auth.checks import Problem
from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.clients import Client
from pytest_requestforge.fake_auth.oauth2.encoding import base64url
from pytest_requestforge.fake_auth.oauth2.records import Code, Grant
from pytest_requestforge.fake_auth.oauth2.wire import Params, Refused, refuse

CHALLENGE_METHODS = ("S256", "plain")

_CODE_LIFETIME = timedelta(seconds=60)
# RFC 7636 sections 4.1 and 4.2.
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """How an authorization ended.

    Attributes:
        url: that takes the user back to the client.
        reason: for the journal.
        code: that the URL holds; None: it holds an error.
    """

    url: str
    reason: str
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class Authorization:
    """A request whose client and redirect URI are good, so that its outcome may go there.

    Attributes:
        authority: that is asked.
        params: of the request.
        client: that has sent the user.
        redirect_uri: where the user goes back to.
        state: that goes back with the user; None: there was none.
    """

    authority: Authority
    params: Params
    client: Client
    redirect_uri: str
    state: str | None

    @classmethod
    def read(cls, authority: Authority, params: Params) -> "Authorization":
        """The request that has these parameters.

        Raises:
            Refused: nobody can be redirected (RFC 6749 section 4.1.2.1).
        """
        client = authority.clients.get(params.need("client_id"))
        if client is None:
            refuse("invalid_request", "unknown client")
        redirect_uri = params.need("redirect_uri")
        # RFC 6749 section 3.1.2; any other is taken.
        if not urlsplit(redirect_uri).scheme or "#" in redirect_uri:
            refuse("invalid_request", "field redirect_uri is no absolute URI without fragment")
        return cls(authority, params, client, redirect_uri, params.get("state"))

    def flaw(self) -> Outcome | None:
        """What the request ends with before a user is asked; None: nothing is wrong with it."""
        try:
            self._grant("", None)
            self._challenge()
        except Refused as refused:
            return self._failed(refused.problem)
        return None

    def grant(self, sub: str, now: datetime) -> Outcome:
        """What it ends with when that user consents; `flaw` has found none."""
        challenge, method = self._challenge()
        book, step = self.authority.server.book, f"{self.authority.name}.code"
        code = Code(
            book.text(), step, book.number(step), now + _CODE_LIFETIME,
            grant=self._grant(sub, now), redirect_uri=self.redirect_uri,
            challenge=challenge, method=method,
        )  # fmt: skip
        book.record(code)
        return Outcome(self._url(code=code.text), f"issued {code.label}", code)

    def refuse(self, error: str, reason: str) -> Outcome:
        """What it ends with when no user consents."""
        return self._failed(Problem(400, error, reason, reason))

    def _grant(self, sub: str, now: datetime | None) -> Grant:
        params = self.params
        if params.need("response_type") != "code":
            refuse("unsupported_response_type", "field response_type is not code")
        if params.get("response_mode") not in (None, "query"):
            refuse("invalid_request", "field response_mode is not query")
        for name in ("request", "request_uri"):  # OpenID Connect Core section 3.1.2.6
            if params.get(name) is not None:
                refuse(f"{name}_not_supported", f"field {name} is not supported")
        return Grant(
            client_id=self.client.id,
            sub=sub,
            scope=self.authority.scope(params),
            audience=self.authority.audience(params),
            is_user=True,
            signed_in_at=now,
            nonce=params.get("nonce"),
        )

    def _challenge(self) -> tuple[str | None, str]:
        challenge = self.params.get("code_challenge")
        method = self.params.get("code_challenge_method") or "plain"
        if challenge is None:
            if self.client.is_public:  # RFC 9700 section 2.1.1
                refuse("invalid_request", "code challenge required")
        elif method not in CHALLENGE_METHODS:
            refuse("invalid_request", "transform algorithm not supported")
        elif not _VERIFIER.fullmatch(challenge):
            refuse("invalid_request", "field code_challenge is malformed")
        return challenge, method

    def _failed(self, problem: Problem) -> Outcome:
        url = self._url(error=problem.error, error_description=problem.said)
        return Outcome(url, f"refused: {problem.reason}")

    def _url(self, **fields: str) -> str:
        parts = urlsplit(self.redirect_uri)
        fields["iss"] = self.authority.url()  # RFC 9207
        if self.state is not None:
            fields["state"] = self.state
        query = [*parse_qsl(parts.query, keep_blank_values=True), *fields.items()]
        return parts._replace(query=urlencode(query)).geturl()


def check_verifier(code: Code, verifier: str | None) -> None:
    """See that who redeems the code is who has asked for it (RFC 7636 section 4.6).

    Raises:
        Refused: it is not.
    """
    if code.challenge is None:
        if verifier is not None:  # RFC 9700 section 4.8.2
            reason = f"{code.label} was asked for without a code challenge"
            refuse("invalid_grant", reason, said="there was no code challenge")
        return
    if verifier is None:
        reason = f"{code.label} needs its code_verifier"
        refuse("invalid_grant", reason, said="field code_verifier is missing")
    made = verifier
    if code.method == "S256":
        made = base64url(sha256(verifier.encode()).digest())
    if not _VERIFIER.fullmatch(verifier) or made != code.challenge:
        reason = f"code_verifier does not fit the challenge of {code.label}"
        refuse("invalid_grant", reason, said="field code_verifier does not fit")
