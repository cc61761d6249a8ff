"""The sessions of a client, loaded together with `requests` when the first one is made."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from requestforge._fork import importing

if TYPE_CHECKING:
    from requestforge._transport.sessions import Session, Sessions


def open_sessions(
    supplied: "Session | None",
    *,
    pool_connections: int,
    pool_maxsize: int,
    tls: Mapping[str, Any] | None = None,
    proxies: Mapping[str, str] | None = None,
    environment: Mapping[str, bool] | None = None,
    cookies: bool = True,
) -> "Sessions":
    """Sessions as their class describes them."""
    with importing:
        from requestforge._transport.sessions import Sessions  # noqa: PLC0415 - costs a lot

    return Sessions(
        supplied,
        pool_connections=pool_connections,
        pool_maxsize=pool_maxsize,
        tls=tls,
        proxies=proxies,
        environment=environment,
        cookies=cookies,
    )
