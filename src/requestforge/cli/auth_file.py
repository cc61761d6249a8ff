"""The file that describes a fake auth server: its tables, and what is stood up by them."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth import TokenEndpoint
from requestforge.cli.faults import KINDS, Endpoint, call_for
from requestforge.cli.tables import (
    ANYTHING,
    FLAG,
    NEEDED,
    NUMBER,
    TABLE,
    TEXT,
    TEXTS,
    WHOLE,
    Key,
    WrongTable,
    check_name,
    check_value,
    check_values,
    checked,
    told_of,
)

if TYPE_CHECKING:
    from pytest_requestforge.fake_auth.oauth2 import Credentials, OAuth2Provider

LAST_PORT = 65_535
"""The highest port that there is."""

_SERVER = {"host": TEXT, "port": WHOLE, "base_url": TEXT}
_TOKEN = {
    "name": NEEDED,
    "at": NEEDED,
    "expires_in": NUMBER,
    "body": TABLE,
    "requires": TABLE,
    "in_header": TEXT,
}
_RESOURCE = {
    "at": NEEDED,
    "needs": TEXT,
    "requires": TABLE,
    "scope": TEXT,
    "audience": TEXT,
    "json": ANYTHING,
    "status": WHOLE,
}
_OAUTH2 = {
    "path": TEXT,
    "name": TEXT,
    "clients": TABLE,
    "users": TABLE,
    "claims": TABLE,
    "scopes": TEXTS,
    "issuers": TABLE,
    "jwt": Key((str, bool)),
    "rotate_refresh": FLAG,
    "expires_in": NUMBER,
    "refresh_expires_in": NUMBER,
    "device_expires_in": NUMBER,
    "interval": WHOLE,
}
CHAOS = {"rate": NUMBER, "seed": WHOLE, "kinds": TEXTS}
"""The keys of chaos."""

_TABLES = ("server", "token", "resource", "oauth2", "fault", "chaos")
_MANY = ("token", "resource", "fault")


@dataclass(frozen=True, slots=True)
class Site:
    """A fake auth server that was stood up.

    Attributes:
        auth: the server.
        endpoints: what can fail, by name: of a token, "METHOD /path" of a resource, and "name.part"
            of what else a provider has.
        tokens: what issues tokens, by name.
        providers: those of them that are OAuth 2 providers.
    """

    auth: FakeAuth
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    tokens: dict[str, TokenEndpoint] = field(default_factory=dict)
    providers: "dict[str, OAuth2Provider]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class AuthFile:
    """A file that was read; the names of its tables are right.

    Attributes:
        path: of the file.
        server: host, port and base_url, as far as the file has them.
        tables: all of it.
    """

    path: Path
    server: Mapping[str, Any]
    tables: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "AuthFile":
        """The file at that path.

        Raises:
            WrongTable: it is no TOML, or has a table or a key of [server] that does not exist.
        """
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise WrongTable(f"{path}: this cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise WrongTable(f"{path}: this is no TOML: {error}") from error
        for name in tables:
            check_name(name, _TABLES, where=str(path), what="table")
        server = checked(tables.get("server", {}), _SERVER, f"{path}: [server]")
        if server.get("port", 0) not in range(LAST_PORT + 1):
            raise WrongTable(f"{path}: [server]: port must be from 0 to {LAST_PORT}.")
        return cls(path, server, tables)

    def stand_up(self, base_url: str) -> Site:
        """The server that the file describes, which something else has to carry.

        Args:
            base_url: where clients find it.

        Raises:
            WrongTable: a table is wrong.
        """
        with told_of(f"{self.path}: base_url"):
            site = Site(FakeAuth(base_url, transport="wsgi", strict=False, unused_faults="ignore"))
        for where, table in self._each("oauth2"):
            self._provider(site, checked(table, _OAUTH2, where), where)
        for where, table in self._each("token"):
            self._token(site, checked(table, _TOKEN, where), where)
        for where, table in self._each("resource"):
            self._resource(site, checked(table, _RESOURCE, where), where)
        for where, table in self._each("fault"):
            call_for(table, site.endpoints, where)
        if "chaos" in self.tables:
            start_chaos(site, self.tables["chaos"], f"{self.path}: [chaos]")
        return site

    def _each(self, kind: str) -> list[tuple[str, object]]:
        """The tables of a kind, each with where it stands."""
        found = self.tables.get(kind, [])
        if isinstance(found, dict) and kind not in _MANY:
            return [(f"{self.path}: [{kind}]", found)]
        if not isinstance(found, list):
            raise WrongTable(f"{self.path}: write [[{kind}]], since there may be several of them.")
        return [
            (f"{self.path}: [[{kind}]] {number}{_named(table)}", table)
            for number, table in enumerate(found, 1)
        ]

    def _provider(self, site: Site, table: dict[str, Any], where: str) -> None:
        clients, issuers = table.get("clients", {}), table.get("issuers", {})
        check_values(clients, (str, dict), f"{where}: clients")
        check_values(issuers, (str, dict), f"{where}: issuers")
        check_values(table.get("users", {}), (str,), f"{where}: users")
        check_values(table.get("claims", {}), (dict,), f"{where}: claims")
        for name, given in (("clients", clients), ("issuers", issuers)):
            table[name] = {
                owner: self._credentials(value, f"{where}: {name}.{owner}")
                for owner, value in given.items()
            }
        if table.get("jwt") is True:
            raise WrongTable(f"{where}: jwt must be a text such as 'ES256', or false.")
        if table.get("jwt") is False:
            table["jwt"] = None
        with told_of(where):
            provider = site.auth.oauth2(**table)
        site.providers[provider.name] = site.tokens[provider.name] = provider
        site.endpoints[provider.name] = provider
        for name, part in provider.parts.items():
            site.endpoints[f"{provider.name}.{name}"] = part

    def _credentials(self, given: str | dict[str, Any], where: str) -> "Credentials":
        if isinstance(given, str) or "kty" in given or "keys" in given:
            return given
        table = checked(given, {"public": FLAG, "key_file": TEXT}, where)
        if table.get("public") is True and len(table) == 1:
            return None
        if "key_file" not in table or len(table) != 1:
            raise WrongTable(
                f"{where}: this is a secret, {{ public = true }}, {{ key_file = '...' }}, or a JWK."
            )
        path = self.path.parent / table["key_file"]
        with told_of(where):
            try:
                text = path.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise WrongTable(f"{where}: {path} cannot be read: {error.strerror}.") from error
            key: Credentials = json.loads(text) if text.startswith("{") else text
            return key

    def _token(self, site: Site, table: dict[str, Any], where: str) -> None:
        for name in ("body", "requires"):
            table[name] = _referred(table.get(name, {}), site, f"{where}: {name}")
        _check_headers(table["requires"], f"{where}: requires")
        with told_of(where):
            endpoint = site.auth.token(table.pop("name"), table.pop("at"), **table)
        site.endpoints[endpoint.name] = site.tokens[endpoint.name] = endpoint

    def _resource(self, site: Site, table: dict[str, Any], where: str) -> None:
        table["requires"] = _referred(table.get("requires", {}), site, f"{where}: requires")
        _check_headers(table["requires"], f"{where}: requires")
        if "needs" in table:
            check_name(table["needs"], site.tokens, where=f"{where}: needs", what="token")
            table["needs"] = site.tokens[table["needs"]]
        with told_of(where):
            endpoint = site.auth.resource(table.pop("at"), **table)
        site.endpoints[endpoint.name] = endpoint


def start_chaos(site: Site, table: object, where: str) -> None:
    """Let faults strike at random.

    Raises:
        WrongTable: the table is wrong.
    """
    given = checked(table, CHAOS, where)
    for kind in given.get("kinds", ()):
        check_name(kind, KINDS, where=f"{where}: kinds", what="fault")
    with told_of(where):
        site.auth.chaos(**given)


def _referred(value: Any, site: Site, where: str) -> Any:  # noqa: ANN401 - whatever TOML holds
    """The value, with endpoints in the places of `{ token = "name" }`."""
    if isinstance(value, list):
        return [_referred(item, site, where) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"token"} and isinstance(value["token"], str):
        check_name(value["token"], site.tokens, where=where, what="token above this one")
        return site.tokens[value["token"]]
    return {name: _referred(inner, site, f"{where}.{name}") for name, inner in value.items()}


def _check_headers(requires: Mapping[str, object], where: str) -> None:
    """See that each is a text or the endpoint of a token.

    Raises:
        WrongTable: one is not.
    """
    for name, value in requires.items():
        if not isinstance(value, TokenEndpoint):
            check_value(value, (str,), f"{where}.{name}")


def _named(table: object) -> str:
    """What tells the table from its like."""
    given = table if isinstance(table, dict) else {}
    name = given.get("name") or given.get("at") or given.get("on")
    return f" ({name})" if isinstance(name, str) else ""
