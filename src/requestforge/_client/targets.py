"""Where the requests of one client lead."""

from requestforge._origins import AddressedUrl, Target, normal_path, origin_of, resolve


class Targets:
    """Where requests lead that are asked for below one base URL.

    Args:
        base_url: absolute; empty: there is none.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._base = base_url.rstrip("/")
        self._origin = origin_of(base_url)
        self._text = str(self._origin)
        self._base_has_path = normal_path(base_url) != "/"

    def of(self, url: str) -> Target:
        """Where a URL leads, as `resolve` finds it.

        Raises:
            RequestBuildException: as `resolve`.
        """
        # A plain path is by far the most frequent one, and needs no parsing.
        is_plain = url[:1] == "/" != url[1:2] and url.isascii() and url.isprintable()
        if is_plain and self._origin is not None:
            return Target(self._base + url, self._origin, self._text)
        return resolve(self._base_url, url)

    def addressed(self, url: str, target: Target) -> str:
        """The URL for auth hooks, which tells both its paths where there are two."""
        return AddressedUrl(url, target.url, self._base_url) if self._base_has_path else url
