"""Paths that go without a credential, and how a URL's path is compared with them."""

import logging
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

_log = logging.getLogger("requestforge")

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


class ExcludedPaths:
    """Paths and patterns of paths.

    Args:
        paths: compared with the whole path; a slash at the end does not matter.
        patterns: shell patterns for the whole path, upper and lower case told apart.
    """

    __slots__ = ("_paths", "_patterns")

    def __init__(
        self, paths: Iterable[str] | None = None, patterns: Iterable[str] | None = None
    ) -> None:
        given = tuple(paths or ())
        for path in given:
            if "*" in path:
                _log.warning(
                    "The '*' in the excluded path %r stands for itself; "
                    "a pattern belongs into excluded_path_patterns.",
                    path,
                )
        self._paths = frozenset(_bare(normal_path(path)) for path in given)
        self._patterns = tuple(patterns or ())

    def __bool__(self) -> bool:
        return bool(self._paths or self._patterns)

    def cover(self, url: str) -> bool:
        """Whether the path of a URL, absolute or relative, is one of them."""
        path = normal_path(url)
        return _bare(path) in self._paths or any(
            fnmatchcase(path, pattern) for pattern in self._patterns
        )


def normal_path(url: str) -> str:
    """The path of a URL in one spelling: RFC 3986 sections 6.2.2.2 and 6.2.2.3.

    It starts with one slash, has no query, no fragment and no dot segments, and unreserved
    characters are not escaped.
    """
    path = urlsplit(url).path if "://" in url else re.split(r"[?#]", url, maxsplit=1)[0]
    return "/" + "/".join(_without_dots(_ESCAPE.sub(_decoded, path).lstrip("/").split("/")))


def _decoded(escape: re.Match[str]) -> str:
    char = chr(int(escape[1], 16))
    return char if _UNRESERVED.match(char) else escape[0].upper()


def _without_dots(segments: list[str]) -> list[str]:
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return kept


def _bare(path: str) -> str:
    return path.rstrip("/")
