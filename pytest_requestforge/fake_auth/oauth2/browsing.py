"""What a person meets in a browser: signing in for a client, and for a device."""

from dataclasses import dataclass, replace

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.checks import Check
from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.authorization import Authorization, Outcome
from pytest_requestforge.fake_auth.oauth2.device import decide
from pytest_requestforge.fake_auth.oauth2.pages import message_page, sign_in_page
from pytest_requestforge.fake_auth.oauth2.wire import Params, Refused

_WRONG = "User name or password is wrong."


@dataclass(frozen=True, slots=True)
class Browsing:
    """The endpoints of one provider that answer with pages."""

    authority: Authority

    def authorize(self, check: Check) -> Answer:
        """The page at which the user signs in, unless the request is wrong already.

        A request may come as a form, too (OpenID Connect Core section 3.1.2.1); its parameters are
        in the URL of the page's own form then.
        """
        query, form = Params.of_url(check.incoming.url), Params(check.incoming.fields or {})
        params, is_answer = (query, True) if query.get("client_id") else (form, False)
        try:
            request = Authorization.read(self.authority, params)
        except Refused as refused:
            page = message_page("Authorization failed", refused.problem.said, status=400)
            return replace(page, reason=f"refused: {refused.problem.reason}")
        flaw = request.flaw()
        if flaw is not None:
            return _redirect(flaw)
        if is_answer and check.incoming.method == "POST":
            return self._signed_in(request, form, check)
        if params.get("prompt") == "none":  # OpenID Connect Core section 3.1.2.6
            return _redirect(request.refuse("login_required", "the user has to sign in"))
        return self._ask(request)

    def device(self, check: Check) -> Answer:
        """The page at which the user signs in for a device (RFC 8628 section 3.3)."""
        form = Params(check.incoming.fields or {})
        user_code = form.get("user_code") or ""
        page = sign_in_page("device", "A device asks to sign in.", user_code=user_code)
        if check.incoming.method == "GET":
            return replace(page, reason="asked to sign in")
        is_allowed = form.get("decision") != "deny"
        sub = self._user(form)
        if sub is None:
            page = sign_in_page("device", _WRONG, user_code=user_code, status=403)
            return replace(page, reason="refused: wrong user name or password")
        try:
            code = decide(self.authority, user_code, sub if is_allowed else None, check.now)
        except LookupError:
            page = sign_in_page("device", "No device has this code.", status=404, user_code="")
            return replace(page, reason="refused: no device waits with this code")
        said = "The device is signed in." if is_allowed else "The device is not signed in."
        return replace(message_page("Done", said), reason=f"{code.state} {code.label}")

    def _signed_in(self, request: Authorization, form: Params, check: Check) -> Answer:
        if form.get("decision") == "deny":
            return _redirect(request.refuse("access_denied", "the user has refused"))
        sub = self._user(form)
        if sub is not None:
            return _redirect(request.grant(sub, check.now))
        page = self._ask(request, wrong=True)
        return replace(page, status=403, reason="refused: wrong user name or password")

    def _ask(self, request: Authorization, *, wrong: bool = False) -> Answer:
        scope = request.params.get("scope") or "no scope"
        text = f"{request.client.id} asks for {scope}."
        page = sign_in_page(
            f"?{request.params.query()}",
            f"{_WRONG} {text}" if wrong else text,
            username=request.params.get("login_hint") or "",
        )
        return replace(page, reason="asked to sign in")

    def _user(self, form: Params) -> str | None:
        name = form.get("username") or ""
        password = self.authority.users.get(name)
        return name if password is not None and password == form.get("password") else None


def _redirect(outcome: Outcome) -> Answer:
    headers = {"Location": outcome.url, "Cache-Control": "no-store"}
    return Answer(
        303, b"", headers, outcome.reason, outcome.code, media_type="text/plain; charset=utf-8"
    )
