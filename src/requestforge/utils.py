"""Small tools around requests."""

from requestforge.models import HttpRequest

__all__ = ["to_curl"]


def to_curl(request: HttpRequest, mask_secrets: bool = False) -> str:
    """The request as one curl command, quoted for a POSIX shell.

    Warning:
        It shows passwords, tokens and other secrets, unless `mask_secrets` is set.

    Args:
        request: what to send.
        mask_secrets: put `***` in the place of secrets.
    """
    return request.to_curl(mask_secrets)
