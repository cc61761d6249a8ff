"""The OAuth 2 providers of a FakeAuth."""

from abc import abstractmethod
from collections.abc import Collection, Container, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote

from pytest_requestforge._extras import needed_by
from pytest_requestforge.fake_auth.app import App
from pytest_requestforge.fake_auth.definitions import lifetime, located, step_name
from pytest_requestforge.fake_auth.incoming import origin_of

if TYPE_CHECKING:
    from pytest_requestforge.fake_auth.oauth2 import Credentials, KeyLike, OAuth2Provider

_HOUR = timedelta(hours=1)
_TEN_MINUTES = timedelta(minutes=10)


class Providers:
    """Stands up whole providers."""

    _app: App
    _base: SplitResult
    _providers: list["OAuth2Provider"]

    @property
    @abstractmethod
    def base_url(self) -> str:
        """Where endpoints given as a path are found."""

    @property
    @abstractmethod
    def endpoints(self) -> Container[str]:
        """The token endpoints by name."""

    def oauth2(
        self,
        path: str = "/oauth2",
        *,
        clients: "Mapping[str, Credentials] | None" = None,
        users: Mapping[str, str] | None = None,
        name: str | None = None,
        claims: Mapping[str, Mapping[str, Any]] | None = None,
        scopes: Collection[str] | None = None,
        issuers: "Mapping[str, KeyLike] | None" = None,
        jwt: str | None = "ES256",
        rotate_refresh: bool = True,
        expires_in: float | timedelta = _HOUR,
        refresh_expires_in: float | timedelta | None = None,
        device_expires_in: float | timedelta = _TEN_MINUTES,
        interval: int = 5,
    ) -> "OAuth2Provider":
        """Stand up an OAuth 2 and OpenID provider; its metadata tell where everything is.

        Its issuer identifier is `url` and the path. Grants: client credentials, password,
        authorization code with PKCE (RFC 7636), refresh token, device code (RFC 8628), JWT bearer
        (RFC 7523) and token exchange (RFC 8693). Any redirect URI is taken.

        Example:
            >>> with FakeAuth("https://auth.example.com") as auth:
            ...     idp = auth.oauth2(clients={"app": "secret"}, users={"alice": "pw"})
            ...     me = auth.resource("GET https://api.example.com/me", needs=idp, scope="read")

        Args:
            path: below the base URL.
            clients: by id: the secret, the public key for private_key_jwt (in PEM, as JWK or JWK
                set, or a key of joserfc), or None for a public client.
            users: password of each user; the name is the `sub` of the tokens.
            name: of its token endpoint, in the journal and the assertions; None: from the path.
            claims: of each user, for ID tokens and userinfo.
            scopes: that can be granted; None: all.
            issuers: public keys of others whose assertions are taken (JWT bearer), by issuer.
            jwt: algorithm that tokens are signed with; None: access tokens are opaque, and ID
                tokens signed with ES256.
            rotate_refresh: whether a refresh token is replaced when it is used. A second use of the
                old one revokes all tokens of the grant (RFC 9700 section 4.14.2).
            expires_in: life of access and ID tokens, in seconds or as timedelta.
            refresh_expires_in: life of refresh tokens; None: they live until revoked.
            device_expires_in: life of device codes.
            interval: seconds between two polls of a device.

        Raises:
            ImportError: the package joserfc is not installed.
            TypeError: a lifetime is neither number nor timedelta, or `scopes` is one text.
            ValueError: the path is none, it or the name is taken, a lifetime is negative, a key
                cannot be read, a secret is empty, or the algorithm is unknown.
        """
        with needed_by("FakeAuth.oauth2"):
            # Here, since only tests that need a provider ought to load cryptography.
            from pytest_requestforge.fake_auth.oauth2.authority import Authority  # noqa: PLC0415
            from pytest_requestforge.fake_auth.oauth2.clients import clients_of  # noqa: PLC0415
            from pytest_requestforge.fake_auth.oauth2.keys import KeyRing, keys_of  # noqa: PLC0415
            from pytest_requestforge.fake_auth.oauth2.provider import (  # noqa: PLC0415
                OAuth2Provider,
            )
        if isinstance(scopes, str):
            raise TypeError(f"scopes is a list such as ['read', 'write'], not {scopes!r}.")
        if path.strip("/") and not path.startswith("/"):
            raise ValueError(f"The path of a provider is one below the base URL, not {path!r}.")
        _, place = located(f"POST {path or '/'}", self._base)
        at = unquote(place.path).rstrip("/")
        authority = Authority(
            name=step_name(_named(path) if name is None else name, self.endpoints),
            server=self._app,
            url=lambda: self.base_url + at.removeprefix(self._base.path.rstrip("/")),
            clients=clients_of(clients or {}),
            issuers={issuer: keys_of(key) for issuer, key in (issuers or {}).items()},
            users=dict(users or {}),
            claims=dict(claims or {}),
            scopes=None if scopes is None else frozenset(scopes),
            keys=KeyRing(jwt or "ES256", place.geturl()),
            signs_access_tokens=jwt is not None,
            rotates=rotate_refresh,
            lifetime=lifetime(expires_in) or timedelta(0),
            refresh_lifetime=lifetime(refresh_expires_in),
            device_lifetime=lifetime(device_expires_in) or timedelta(0),
            interval=interval,
        )
        provider = OAuth2Provider(authority, origin_of(place), at)
        self._open(provider)
        for client in authority.clients.values():
            self._app.learn({"client_secret": client.secret or ""}, owner=client.id)
        for user, password in authority.users.items():
            self._app.learn({"password": password}, owner=user)
        return provider

    def rotate_keys(self, *, keep_old: bool = True) -> None:
        """Let every provider sign with a new key from now on.

        Args:
            keep_old: whether the older keys stay in the JWK set, as they do while tokens of theirs
                live; else these tokens are refused from now on.
        """
        for provider in self._providers:
            provider.rotate_keys(keep_old=keep_old)

    def _open(self, provider: "OAuth2Provider") -> None:
        for endpoint in (provider, *provider.all_parts):
            self._app.add(endpoint)
        if not self._app.knows(provider.origin, provider.icon.path):
            self._app.add(provider.icon)
        self._providers.append(provider)


def _named(path: str) -> str:
    return path.strip("/").replace("/", ".") or "oauth2"
