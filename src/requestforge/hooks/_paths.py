"""Paths that go without a credential."""

import logging
from collections.abc import Iterable
from fnmatch import fnmatchcase

from requestforge._origins import AddressedUrl, normal_path

_log = logging.getLogger("requestforge")


class ExcludedPaths:
    """Paths and patterns of paths.

    Args:
        paths: compared with the whole path; a slash at the end does not matter.
        patterns: shell patterns for the whole path, upper and lower case told apart.

    Raises:
        ValueError: a text where several belong.
    """

    __slots__ = ("_paths", "_patterns")

    def __init__(
        self, paths: Iterable[str] | None = None, patterns: Iterable[str] | None = None
    ) -> None:
        for name, value in (("excluded_paths", paths), ("excluded_path_patterns", patterns)):
            if isinstance(value, str):
                raise ValueError(f"{name} must be several texts, such as a list, not {value!r}.")  # noqa: TRY004 - as in a configuration
        given = tuple(paths or ())
        for path in given:
            if "*" in path:
                _log.warning(
                    "The '*' in the excluded path %r stands for itself; "
                    "patterns belong into excluded_path_patterns.",
                    path,
                )
        self._paths = frozenset(normal_path(path).rstrip("/") for path in given)
        self._patterns = tuple(patterns or ())

    def cover(self, url: str) -> bool:
        """Whether the path of a URL, in full or below the client's base URL, is one of them."""
        if not self._paths and not self._patterns:
            return False
        paths = url.paths if isinstance(url, AddressedUrl) else (normal_path(url),)
        return any(
            path.rstrip("/") in self._paths
            or any(fnmatchcase(path, pattern) for pattern in self._patterns)
            for path in paths
        )
