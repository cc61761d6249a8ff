"""Transports that others can read or change, and the one warning for each."""

import ipaddress
import warnings

from requestforge._origins import Origin
from requestforge.exceptions import InsecureTransportWarning

_warned: set[tuple[Origin, str]] = set()


def insecurity(origin: Origin, verify: bool | str) -> str | None:
    """Why credentials are not safe on the way to this origin; None if they are."""
    if origin.scheme == "http" and not is_loopback(origin.host):
        return (
            f"{origin} is reached without TLS, so that others on the way can read and change "
            "what is sent: use https."
        )
    if verify is False:
        return unverified(origin)
    return None


def unverified(origin: Origin) -> str:
    """What it means that the certificate of an origin is not verified."""
    return (
        f"The certificate of {origin} is not verified, so that others on the way can pose as it: "
        "give `verify_ssl` the path of a CA bundle in place of False."
    )


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in a URL, is this machine (RFC 6761 section 6.3)."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def warn_once(origin: Origin, reason: str, stacklevel: int = 2) -> None:
    """Warn of the insecurity, unless this process has warned of it for this origin.

    Args:
        origin: where the credentials go.
        reason: what is wrong.
        stacklevel: as for `warnings.warn`, from the caller.
    """
    if (origin, reason) not in _warned:
        _warned.add((origin, reason))
        warnings.warn(reason, InsecureTransportWarning, stacklevel=stacklevel + 1)
