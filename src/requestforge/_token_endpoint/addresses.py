"""Base URLs and endpoints that hold a value of the tenant: checked formats, safely filled."""

import re
from urllib.parse import quote

from requestforge._origins import Origin, origin_of
from requestforge._redaction import mask_url
from requestforge._references import StepValue, value_of
from requestforge._transport.insecure import insecurity, warn_once
from requestforge.exceptions import RequestBuildException

_PLACE = "{}"
_AUTHORITY = re.compile(r"[^:/?#]*://([^/?#]*)")
# Labels of a domain (RFC 952, RFC 1123), with nothing that could end the host or begin a port.
_LABELS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_]))*")
_DOTS = frozenset({".", ".."})


def shown(address: str | StepValue) -> str:
    """An address as it is shown, the names of values in their places."""
    if not isinstance(address, StepValue):
        return address
    return address.format.replace(_PLACE, f"{{{address.name}}}")


def checked_base(base_url: object, whose: str) -> Origin | None:
    """Where a base URL leads; None: where a value says.

    Raises:
        ValueError: it is no absolute http or https URL, or a value in it could choose more than it
            seems to.
    """
    if isinstance(base_url, StepValue):
        _check_format(base_url, whose)
        return None
    return _checked_origin(base_url, whose)


def filled_base(base_url: StepValue, step: str) -> str:
    """The base URL of the tenant that this thread fetches for.

    Args:
        base_url: a format that `checked_base` has passed.
        step: name of the step.

    Raises:
        DependencyException: there is no such value.
        RequestBuildException: it makes no absolute http or https URL, or another host than the
            format has.
    """
    value = value_of(base_url, step)
    if base_url.format == _PLACE:
        url = value
    elif _PLACE in _authority(base_url.format):
        if not _LABELS.fullmatch(value):
            raise RequestBuildException(
                f"The value {base_url.name!r} of the tenant cannot be part of the host in "
                "base_url, which takes letters, digits, '-', '_' and single points."
            )
        url = base_url.format.replace(_PLACE, value)
    else:
        url = _with_value(base_url, value, safe="")
    if origin_of(url) is None or not url.isprintable():
        # The value is not shown: it may hold a password.
        raise RequestBuildException(
            f"The value {base_url.name!r} of the tenant makes no base_url, which must be an "
            "absolute http or https URL."
        )
    return url


def check_transport(
    url: str, verify: bool | str, *, require_tls: bool, stacklevel: int = 2
) -> None:
    """Warn of an insecure way to a URL, once for each origin.

    Args:
        url: of an endpoint, or a tenant's base URL.
        verify: whether certificates are verified, or against what.
        require_tls: whether such a way is refused.
        stacklevel: as for `warnings.warn`, from here.

    Raises:
        RequestBuildException: there is one, and it is to be refused.
    """
    origin = origin_of(url)
    reason = None if origin is None else insecurity(origin, verify)
    if origin is None or reason is None:
        return
    if require_tls:
        raise RequestBuildException(f"The step has require_tls, but: {reason}")
    warn_once(origin, reason, stacklevel)


def filled_endpoint(endpoint: str | StepValue, step: str) -> str:
    """The endpoint for the tenant that this thread fetches for.

    A value is percent-encoded, so that it stays within its part of the path or query; one that is
    the whole endpoint keeps its slashes.

    Raises:
        DependencyException: there is no such value.
        RequestBuildException: the value would lead out of its part of the path.
    """
    if not isinstance(endpoint, StepValue):
        return endpoint
    safe = "/" if endpoint.format == _PLACE else ""
    return _with_value(endpoint, value_of(endpoint, step), safe=safe)


def _checked_origin(base_url: object, whose: str) -> Origin:
    origin = origin_of(base_url) if isinstance(base_url, str) else None
    if origin is None or not str(base_url).isprintable():
        text = mask_url(str(base_url))
        raise ValueError(
            f"base_url of {whose} is {text!r}; it must be an absolute http or https URL."
        )
    return origin


def _check_format(base_url: StepValue, whose: str) -> None:
    if base_url.format == _PLACE:
        return
    _checked_origin(base_url.format.replace(_PLACE, "x"), whose)
    authority = _authority(base_url.format)
    before, place, after = authority.partition(_PLACE)
    if place and not (after.startswith(".") or (not before and after[:1] in {"", ":"})):
        raise ValueError(
            f"base_url of {whose} has its value at the end of the host, where a value could lead "
            f"anywhere: {authority!r}. Put the fixed part of the domain behind {_PLACE}, or a "
            "slash before it."
        )


def _authority(text: str) -> str:
    found = _AUTHORITY.match(text)
    return found[1] if found else ""


def _with_value(reference: StepValue, value: str, *, safe: str) -> str:
    """The format with the value, percent-encoded, in its place."""
    encoded = None if _is_torn(value) else quote(value, safe=safe)
    filled = reference.format.replace(_PLACE, encoded or "")
    # Servers and clients resolve these even where they are percent-encoded.
    if encoded is None or _dots(filled) > _dots(reference.format):
        raise RequestBuildException(
            f"The value {reference.name!r} of the tenant cannot be part of a URL: it holds '.' or "
            "'..' as a step of the path, or text that is not Unicode."
        )
    return filled


def _is_torn(value: str) -> bool:
    """Whether the text holds half of a surrogate pair."""
    return any("\ud800" <= character <= "\udfff" for character in value)


def _dots(text: str) -> int:
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    return sum(part in _DOTS for part in path.split("/"))
