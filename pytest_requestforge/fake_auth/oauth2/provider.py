"""A whole OAuth 2 and OpenID provider, as the test that stands it up sees it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.checks import Check
from pytest_requestforge.fake_auth.endpoints import Demands, Endpoint, TokenEndpoint
from pytest_requestforge.fake_auth.incoming import FORM
from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.authorization import Authorization
from pytest_requestforge.fake_auth.oauth2.breaking import Flaws
from pytest_requestforge.fake_auth.oauth2.browsing import Browsing
from pytest_requestforge.fake_auth.oauth2.device import decide, start
from pytest_requestforge.fake_auth.oauth2.grants import granted
from pytest_requestforge.fake_auth.oauth2.inspection import introspect, revoke, userinfo
from pytest_requestforge.fake_auth.oauth2.metadata import metadata
from pytest_requestforge.fake_auth.oauth2.records import Minted
from pytest_requestforge.fake_auth.oauth2.wire import Params, Part, Refused, served

_DEMANDS = Demands(media_types=(FORM,))


class OAuth2Provider(TokenEndpoint):
    """An OAuth 2 and OpenID provider; made by `FakeAuth.oauth2`.

    It is its own token endpoint: `url`, faults, `hold`, `revoke` and `expire` are that one's, and
    `needs=` and `requires=` take it for its access tokens.

    Attributes:
        parts: the other endpoints, for faults and `hold`: "authorize", "sign_in" (the form of the
            page at authorize), "device", "device_authorization", "introspect", "jwks", "metadata",
            "revoke" and "userinfo".
    """

    parts: Mapping[str, Endpoint]

    def __init__(self, authority: Authority, origin: str, path: str) -> None:
        super().__init__(
            authority.name, "POST", origin, f"{path}/token", _DEMANDS,
            server=authority.server, lifetime=authority.lifetime,
        )  # fmt: skip
        self._authority = authority
        self._path = path
        named = list(self._parts())
        self.all_parts: tuple[Part, ...] = tuple(part for _, part in named)
        self.parts = MappingProxyType({name: part for name, part in named if name})
        # Browsers ask for it unbidden, and that ought not to be an unmatched request.
        self.icon: Part = self._page("GET", "/favicon.ico", _no_icon)

    @property
    def issuer(self) -> str:
        """Its issuer identifier, the start of all its URLs.

        Raises:
            RuntimeError: on loopback, the server has not been started yet.
        """
        return self._authority.url()

    @property
    def audience(self) -> str:
        """Whom its access tokens are for unless their client asks for another one: itself."""
        return self.issuer

    def authorize(self, authorization_url: str, *, sub: str | None) -> str:
        """The URL that the provider redirects the user to, as if they had signed in in a browser.

        Args:
            authorization_url: that the client sends the user to.
            sub: the user, who need not be among `users`; None: nobody consents.

        Returns:
            The redirect URI with a code, or with the error of a request that is refused.

        Raises:
            ValueError: the URL is not that of the authorization endpoint, or its client or redirect
                URI is wrong, so that nobody is redirected.
        """
        place, endpoint = authorization_url.partition("?")[0], self.parts["authorize"]
        if unquote(urlsplit(place).path) != endpoint.path:
            raise ValueError(
                f"The authorization endpoint is {endpoint.url}; this URL leads to {place}."
            )
        with self.server.lock:
            try:
                request = Authorization.read(self._authority, Params.of_url(authorization_url))
            except Refused as refused:
                raise ValueError(
                    f"The provider redirects nobody for this URL: {refused.problem.said}."
                ) from refused
            outcome = request.flaw()
            if outcome is None and sub is None:
                outcome = request.refuse("access_denied", "the user has refused")
            elif outcome is None:
                outcome = request.grant(str(sub), self.server.now())
            return outcome.url

    def approve(self, user_code: str, *, sub: str) -> None:
        """Let that user approve the device that shows this code.

        Raises:
            LookupError: no device waits with it.
        """
        with self.server.lock:
            decide(self._authority, user_code, sub, self.server.now())

    def deny(self, user_code: str) -> None:
        """Let the user refuse the device that shows this code.

        Raises:
            LookupError: no device waits with it.
        """
        with self.server.lock:
            decide(self._authority, user_code, None, self.server.now())

    def issue(
        self,
        *,
        sub: str | None = None,
        client_id: str | None = None,
        scope: str = "",
        expired: bool = False,
        tampered: bool = False,
        issuer: str | None = None,
        audience: str | None = None,
        missing: str | Collection[str] = (),
    ) -> str:
        """An access token without a request, whole or broken on purpose.

        Args:
            sub: whom it speaks for; None: the first of `users`, without any the client.
            client_id: to whom it was given; None: the first of `clients`.
            scope: that it has, joined by blanks.
            expired: whether its life has ended a second ago.
            tampered: whether its signature does not fit; an opaque one is then unlike any other.
            issuer: that it names instead of the provider.
            audience: whom it is for; None: the provider itself.
            missing: claims that it lacks.

        Raises:
            ValueError: a claim of `missing` is none that it would have.
        """
        flaws = Flaws(
            expired=expired,
            tampered=tampered,
            issuer=issuer,
            missing=(missing,) if isinstance(missing, str) else tuple(missing),
        )
        with self.server.lock:
            client = client_id or next(iter(self._authority.clients), "client")
            user = sub or next(iter(self._authority.users), client)
            token = flaws.token(self._authority, client, user, scope, audience)
            self._issued.append(token)
            return token.text

    def rotate_keys(self, *, keep_old: bool = True) -> None:
        """Sign with a new key from now on.

        Args:
            keep_old: whether the older keys stay in the JWK set, as they do while tokens of theirs
                live; else these tokens are refused from now on.
        """
        with self.server.lock:
            self._authority.rotate_keys(keep_old=keep_old)

    def revoke_all(self) -> None:
        """Withdraw all its tokens, refresh tokens included."""
        with self.server.lock:
            for token in self._authority.minted:
                token.revoked = True

    def answer(self, check: Check) -> Answer:
        """What the token endpoint says."""
        answer = served(partial(granted, self._authority), check)
        if isinstance(answer.issued, Minted):
            self._issued.append(answer.issued)
        return answer

    def _parts(self) -> Iterator[tuple[str, Part]]:
        """The other endpoints; those with a name are in `parts`."""
        at, browsing = self._path, Browsing(self._authority)
        yield from (
            ("metadata", self._part("GET", f"{at}/.well-known/openid-configuration", _metadata)),
            # RFC 8414 section 3.1 puts the path of the issuer last; some clients put it first.
            ("", self._part("GET", f"/.well-known/oauth-authorization-server{at}", _metadata)),
            ("jwks", self._part("GET", f"{at}/jwks", _jwks)),
            ("authorize", self._page("GET", f"{at}/authorize", browsing.authorize)),
            ("sign_in", self._page("POST", f"{at}/authorize", browsing.authorize)),
            ("device", self._page("GET", f"{at}/device", browsing.device)),
            ("", self._page("POST", f"{at}/device", browsing.device)),
            ("device_authorization", self._part("POST", f"{at}/device_authorization", start)),
            ("introspect", self._part("POST", f"{at}/introspect", introspect)),
            ("revoke", self._part("POST", f"{at}/revoke", revoke)),
            ("userinfo", self._part("GET", f"{at}/userinfo", userinfo)),
            ("", self._part("POST", f"{at}/userinfo", userinfo)),
        )
        if at:
            other = f"{at}/.well-known/oauth-authorization-server"
            yield "", self._part("GET", other, _metadata)

    def _part(self, method: str, path: str, serve: Callable[[Authority, Check], Answer]) -> Part:
        return self._page(method, path, partial(serve, self._authority))

    def _page(self, method: str, path: str, serve: Callable[[Check], Answer]) -> Part:
        name = f"{method} {path}"
        return Part(name, method, self.origin, path, _DEMANDS, serve, server=self.server)


def _no_icon(_: Check) -> Answer:
    return Answer(204, b"", reason="there is no icon", media_type="image/x-icon")


def _metadata(authority: Authority, _: Check) -> Answer:
    return Answer(200, metadata(authority), reason="served")


def _jwks(authority: Authority, _: Check) -> Answer:
    return Answer(200, authority.keys.public(), reason="served")
