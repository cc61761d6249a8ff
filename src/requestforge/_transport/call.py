"""The client's side of the transport: what is sent, what comes back, all without `requests`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from requestforge._headers import Headers
from requestforge.models.response import Body


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Call:
    """A request in the form in which it is sent.

    Attributes:
        method: its method.
        url: its absolute URL.
        headers: its headers, beyond those of the session.
        params: its query, as requests takes it.
        data: its body, as requests takes it.
        json_data: its body as a JSON value; `data` has precedence.
        files: parts of its body, as requests takes them.
        auth: the caller's pair of user and password, or auth object.
        timeout: seconds to connect and to read.
        verify: False, the path of a CA bundle, or True: as the session and the environment say.
        max_redirects: how many redirects are followed; None: the first one is the answer.
        is_credential: whether a header of this name, in lower case, may not leave its origin.
        uses_session_login: whether the session's own credentials may be sent.
        uses_found_login: whether a login in the URL or in the netrc file may be sent.
        rewind: makes the body readable again; whether that worked.
        seconds: real seconds for all of the exchange, redirects and the last byte of the body
            included; None: no bound but `timeout`.
        max_size: the most bytes that the decoded body may have; None: any number.
        streams: whether the body is left unread.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    params: Any
    data: Any
    json_data: Any
    files: Any
    auth: Any
    timeout: tuple[float, float]
    verify: bool | str
    max_redirects: int | None
    is_credential: Callable[[str], bool]
    uses_session_login: bool
    uses_found_login: bool
    rewind: Callable[[], bool]
    seconds: float | None = None
    max_size: int | None = None
    streams: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Answer:
    """The last answer.

    Attributes:
        status_code: its status.
        headers: its headers.
        content: its whole body, decoded as Content-Encoding says; empty where `body` holds it.
        url: where it came from, less any userinfo.
        encoding: the charset that its Content-Type names, if any.
        left_origin: whether a redirect led to it across an origin, and credentials stayed behind.
        changed_method: whether a redirect led to it that has asked for another method.
        body: the body of an answer to a `Call` that streams, else None.
    """

    status_code: int
    headers: Headers
    content: bytes
    url: str
    encoding: str | None
    left_origin: bool
    changed_method: bool
    body: Body | None = None
