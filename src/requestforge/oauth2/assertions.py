"""Grants that are bought with the word of another: a signed assertion, or another token."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from requestforge._references import StepToken, StepValue
from requestforge._token_endpoint.client_auth import ClientAuth
from requestforge._token_endpoint.grants import GrantFetcher, Text, Texts, check_text
from requestforge._token_endpoint.replies import no_token
from requestforge._token_endpoint.signing import Key, Signer
from requestforge._token_endpoint.steps import Context
from requestforge.interfaces import RetryStrategyInterface

__all__ = ["JwtBearerFetcher", "TokenExchangeFetcher"]

_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class JwtBearerFetcher(GrantFetcher):
    """A step whose token an assertion buys, a JWT that others trust (RFC 7523 section 2.1).

    Give the assertion, or what one is to be signed with for each attempt: it names the issuer, the
    subject and, as its audience, the token URL, and lives for 60 seconds.

    Args:
        name: name of the step, unique in its pipeline.
        token_url: absolute URL of the token endpoint.
        client_id: the client.
        assertion: the JWT, or a callable that makes one of the tokens of earlier steps by name.
        key: the issuer's private key: text in PEM, a JWK as mapping, or a key of joserfc.
        issuer: who signs.
        subject: whom the token is to speak for.
        client_auth: how the client shows who it is; None: it cannot, and sends its id alone.
        scope: scopes to ask for, separated by blanks, or several.
        audience: whom the token is for; one or several, under the name that some servers know.
        resource: URI of what the token is for, one or several (RFC 8707).
        extra_params: further fields to send; they override the standard ones.
        require_scopes: whether a grant of fewer scopes than were asked for is a failure.
        ttl: how long a token is used, at most, from sending; None: as long as the server says.
        depends_on: names of the steps whose tokens the fetch needs, beside those referred to.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        verify_ssl: whether to verify certificates, or the path of a CA bundle.
        retry_strategy: when a failed attempt is made again; None: never.

    Raises:
        ImportError: there is a key, and the extra `jwt` is not installed.
        ValueError: neither an assertion nor key, issuer and subject, or both; or another argument
            that cannot be used; it names the step and the argument.
        TypeError: an argument of a type that cannot be used.
    """

    def __init__(
        self,
        name: str,
        token_url: str | StepValue,
        client_id: str,
        *,
        assertion: Text | Callable[[Context], str] | None = None,
        key: Key | None = None,
        issuer: str | None = None,
        subject: str | None = None,
        client_auth: ClientAuth | None = None,
        scope: Texts = None,
        audience: Texts = None,
        resource: Texts = None,
        extra_params: Mapping[str, Any] | None = None,
        require_scopes: bool = False,
        ttl: timedelta | None = None,
        depends_on: Iterable[str] | None = None,
        timeout: float = 30.0,
        verify_ssl: bool | str = True,
        retry_strategy: RetryStrategyInterface | None = None,
    ) -> None:
        given = dict(locals())
        whose = f"Step {name!r}"
        signed = [part for part in (key, issuer, subject) if part]
        if (len(signed), bool(assertion)) not in {(0, True), (3, False)}:
            raise ValueError(f"{whose} needs either an assertion, or key, issuer and subject.")
        for party in (issuer, subject):
            if not isinstance(party, str | None):
                raise TypeError(f"issuer and subject of {whose} must be strings.")
        fields: dict[str, Any] = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
        self._maker: Callable[[Context], object] | None = None
        if callable(assertion):
            self._maker = assertion
        elif key is not None:
            self._signer = Signer(key, None, whose)
            self._parties = {"issuer": str(issuer), "subject": str(subject)}
        else:
            check_text("assertion", assertion, whose)
            fields["assertion"] = assertion
        super().__init__(given, fields, "assertion", "key")

    def _build_request_data(self, context: Context) -> dict[str, Any]:
        data = super()._build_request_data(context)
        return data if "assertion" in data else {**data, "assertion": self._made(context)}

    def _made(self, context: Context) -> Any:  # noqa: ANN401 - a text, or what makes one
        if self._maker is None:
            audience = self._filled_base()
            return partial(self._signer.assertion, **self._parties, audience=audience)
        made = self._maker(context)
        if not isinstance(made, str) or not made:
            raise no_token(self._name, ValueError("Its assertion is no text."))
        return made


class TokenExchangeFetcher(GrantFetcher):
    """A step whose token the token of an earlier step is exchanged for (RFC 8693).

    Args:
        name: name of the step, unique in its pipeline.
        token_url: absolute URL of the token endpoint.
        client_id: the client.
        subject_step: name of the step whose token says whom the new one is to speak for.
        subject_token_type: what kind of token that is, a URI of RFC 8693 section 3.
        actor_step: name of the step whose access token says who acts for them; None: nobody.
        requested_token_type: what kind of token to ask for, a URI; None: the server chooses.
        client_auth: how the client shows who it is; None: it cannot, and sends its id alone.
        scope: scopes to ask for, separated by blanks, or several.
        audience: name of whom the token is for; one or several.
        resource: URI of what the token is for, one or several (RFC 8707).
        extra_params: further fields to send; they override the standard ones.
        require_scopes: whether a grant of fewer scopes than were asked for is a failure.
        ttl: how long a token is used, at most, from sending; None: as long as the server says.
        depends_on: names of the steps whose tokens the fetch needs, beside those named here.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        verify_ssl: whether to verify certificates, or the path of a CA bundle.
        retry_strategy: when a failed attempt is made again; None: never.

    Raises:
        ValueError: an argument that cannot be used; it names the step and the argument.
        TypeError: an argument of a type that cannot be used.
    """

    def __init__(
        self,
        name: str,
        token_url: str | StepValue,
        client_id: str,
        *,
        subject_step: str,
        subject_token_type: str,
        actor_step: str | None = None,
        requested_token_type: str | None = None,
        client_auth: ClientAuth | None = None,
        scope: Texts = None,
        audience: Texts = None,
        resource: Texts = None,
        extra_params: Mapping[str, Any] | None = None,
        require_scopes: bool = False,
        ttl: timedelta | None = None,
        depends_on: Iterable[str] | None = None,
        timeout: float = 30.0,
        verify_ssl: bool | str = True,
        retry_strategy: RetryStrategyInterface | None = None,
    ) -> None:
        given = dict(locals())
        whose = f"Step {name!r}"
        check_text("subject_token_type", subject_token_type, whose)
        if requested_token_type is not None:
            check_text("requested_token_type", requested_token_type, whose)
        fields: dict[str, Any] = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": StepToken(subject_step),
            "subject_token_type": subject_token_type,
            "requested_token_type": requested_token_type,
        }
        if actor_step is not None:
            fields |= {"actor_token": StepToken(actor_step), "actor_token_type": _ACCESS_TOKEN}
        super().__init__(given, fields)
