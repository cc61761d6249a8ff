"""What a WWW-Authenticate header says of the token that it refuses (RFC 9110 section 11.6.1)."""

import re

_PARAMETER = r"""[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s,"]*)"""
_BEARER = re.compile(rf"(?:^|,)\s*bearer\s+({_PARAMETER}(?:\s*,\s*{_PARAMETER})*)", re.IGNORECASE)
_PAST_HELP = re.compile(
    r'(?:^|,)\s*error\s*=\s*"?(?:insufficient_scope|invalid_request)(?![\w-])', re.IGNORECASE
)


def is_past_refreshing(challenges: str) -> bool:
    """Whether a Bearer challenge says that another token would be refused, too.

    That is its error `insufficient_scope` or `invalid_request` (RFC 6750 section 3.1).

    Args:
        challenges: the value of the header, all challenges joined by commas.
    """
    return any(_PAST_HELP.search(found[1]) for found in _BEARER.finditer(challenges))
