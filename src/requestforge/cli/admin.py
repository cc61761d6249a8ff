"""What can be asked of a fake auth server from outside, under `/_rf/`."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Request, Response

from requestforge import __version__
from requestforge.cli.auth_file import Site, start_chaos
from requestforge.cli.clock import LaterClock
from requestforge.cli.faults import call_for
from requestforge.cli.tables import (
    FLAG,
    NEEDED,
    NUMBER,
    TEXT,
    Key,
    WrongTable,
    check_name,
    checked,
    told_of,
)
from requestforge.instrumentation import now

PREFIX = "/_rf"
"""Where its paths begin."""

_Fields = dict[str, Any]


class Running(Protocol):
    """The server that is looked after."""

    @property
    def site(self) -> Site:
        """What answers now."""

    @property
    def clock(self) -> LaterClock:
        """The clock that it goes by."""

    def reset(self) -> None:
        """Begin anew, as after a start."""


class Admin:
    """A WSGI application that tells of a running server, and makes things happen there.

    Requests and answers are JSON. A request that is wrong is told why, with 400.

    Args:
        running: the server.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self._calls: Mapping[tuple[str, str], Callable[[_Fields], object]] = {
            ("GET", "/"): self._overview,
            ("GET", "/journal"): self._journal,
            ("GET", "/clock"): self._clock,
            ("POST", "/clock"): self._move_clock,
            ("GET", "/faults"): self._faults,
            ("POST", "/faults"): self._add_fault,
            ("DELETE", "/faults"): self._drop_faults,
            ("POST", "/chaos"): self._chaos,
            ("POST", "/revoke"): self._revoke,
            ("POST", "/expire"): self._expire,
            ("POST", "/rotate-keys"): self._rotate_keys,
            ("POST", "/authorize"): self._authorize,
            ("POST", "/approve"): self._approve,
            ("POST", "/deny"): self._deny,
            ("POST", "/reset"): self._reset,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """Answer one request."""
        request = Request(environ)
        place = request.path.removeprefix(PREFIX) or "/"
        there = [method for method, path in self._calls if path == place]
        call = self._calls.get((request.method, place))
        if call is not None:
            try:
                status, content = 200, call(_fields(request))
            except WrongTable as error:
                status, content = 400, {"error": str(error)}
        elif there:
            status, content = 405, {"error": f"{PREFIX}{place} takes {' and '.join(there)}."}
        else:
            known = ", ".join(sorted({PREFIX + path for _, path in self._calls}))
            status, content = 404, {"error": f"There is no {PREFIX}{place}. There is: {known}."}
        answer = Response(json.dumps(content), status, content_type="application/json")
        if status == 405:  # noqa: PLR2004 - Method Not Allowed
            answer.headers["Allow"] = ", ".join(there)
        return list(answer(environ, start_response))

    @property
    def _site(self) -> Site:
        return self._running.site

    def _overview(self, given: _Fields) -> object:
        checked(given, {}, "/")
        endpoints = {
            name: {"method": each.method, "url": each.url}
            for name, each in self._site.endpoints.items()
        }
        admin = [f"{method} {PREFIX}{path}" for method, path in self._calls]
        return {
            "requestforge": __version__,
            "url": self._site.auth.url,
            "now": now().isoformat(),
            "endpoints": endpoints,
            "admin": admin,
        }

    def _journal(self, given: _Fields) -> object:
        since = checked(given, {"since": TEXT}, "journal").get("since", "0")
        if not since.isdecimal():
            raise WrongTable("journal: since must be the number of an entry, or 0.")
        journal = self._site.auth.journal
        entries = [entry.facts() for entry in journal.since(int(since))]
        return {"entries": entries, "fetch_counts": journal.fetch_counts(int(since))}

    def _clock(self, given: _Fields) -> object:
        checked(given, {}, "clock")
        return {"now": now().isoformat()}

    def _move_clock(self, given: _Fields) -> object:
        moves = checked(given, {"advance": NUMBER, "move_to": TEXT}, "clock")
        if len(moves) != 1:
            raise WrongTable("clock: give either advance, in seconds, or move_to, in ISO 8601.")
        with told_of("clock"):
            if "advance" in moves:
                by = _seconds(moves["advance"])
            else:
                by = datetime.fromisoformat(moves["move_to"]).astimezone() - now()
            self._running.clock.advance(by)
        return self._clock({})

    def _faults(self, given: _Fields) -> object:
        checked(given, {}, "faults")
        return {
            name: [fault.told() for fault in each.faults]
            for name, each in self._site.endpoints.items()
            if each.faults
        }

    def _add_fault(self, given: _Fields) -> object:
        call_for(given, self._site.endpoints, "faults")
        return self._faults({})

    def _drop_faults(self, given: _Fields) -> object:
        checked(given, {}, "faults")
        self._site.auth.chaos(rate=0)
        for each in self._site.endpoints.values():
            for fault in each.faults:
                fault.drop()
        return {}

    def _chaos(self, given: _Fields) -> object:
        start_chaos(self._site, given, "chaos")
        return {}

    def _revoke(self, given: _Fields) -> object:
        fields = checked(given, {"on": NEEDED, "all": FLAG}, "revoke")
        check_name(fields["on"], self._site.tokens, where="revoke", what="token")
        token = self._site.tokens[fields["on"]]
        with told_of("revoke"):
            if fields.get("all"):
                token.revoke_all()
            else:
                token.revoke()
        return {}

    def _expire(self, given: _Fields) -> object:
        fields = checked(given, {"on": NEEDED}, "expire")
        check_name(fields["on"], self._site.tokens, where="expire", what="token")
        self._site.tokens[fields["on"]].expire()
        return {}

    def _rotate_keys(self, given: _Fields) -> object:
        keep_old = checked(given, {"keep_old": FLAG}, "rotate-keys").get("keep_old", True)
        self._site.auth.rotate_keys(keep_old=keep_old)
        return {}

    def _authorize(self, given: _Fields) -> object:
        provider, fields = self._provider(given, {"url": NEEDED, "sub": TEXT}, "authorize")
        with told_of("authorize"):
            url = self._site.providers[provider].authorize(fields["url"], sub=fields.get("sub"))
        return {"location": url}

    def _approve(self, given: _Fields) -> object:
        provider, fields = self._provider(given, {"user_code": NEEDED, "sub": NEEDED}, "approve")
        with told_of("approve"):
            self._site.providers[provider].approve(fields["user_code"], sub=fields["sub"])
        return {}

    def _deny(self, given: _Fields) -> object:
        provider, fields = self._provider(given, {"user_code": NEEDED}, "deny")
        with told_of("deny"):
            self._site.providers[provider].deny(fields["user_code"])
        return {}

    def _reset(self, given: _Fields) -> object:
        checked(given, {}, "reset")
        self._running.reset()
        return {}

    def _provider(self, given: _Fields, keys: Mapping[str, Key], where: str) -> tuple[str, _Fields]:
        """The name of the provider that is meant, by default the first, and the fields."""
        fields = checked(given, {"on": TEXT, **keys}, where)
        name = fields.get("on", next(iter(self._site.providers), ""))
        check_name(name, self._site.providers, where=where, what="provider")
        return name, fields


def _fields(request: Request) -> _Fields:
    """What a request says: its query, or its body, a JSON object whatever its type."""
    if request.method == "GET":
        return request.args.to_dict()
    try:
        fields = json.loads(request.get_data() or "{}")
    except ValueError as error:
        raise WrongTable("The body of this request is no JSON.") from error
    if not isinstance(fields, dict):
        raise WrongTable("The body of this request is JSON, but no object.")
    return fields


def _seconds(seconds: float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError as error:
        raise WrongTable(f"clock: there is no date {seconds} seconds from now.") from error
