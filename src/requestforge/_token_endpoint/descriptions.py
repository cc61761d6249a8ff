"""What a step says of itself."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from requestforge._redaction import mask_json, mask_url

_URLS = frozenset({"base_url", "device_url", "endpoint", "token_url", "url"})
_SENT = frozenset({"extra_params", "request_data", "request_headers"})


class Description(Mapping[str, Any]):
    """Facts by name; its `repr` masks the secrets that the values hold.

    Args:
        facts: the facts, which nobody else may change.
        secrets: names of facts that are secret as a whole.
    """

    __slots__ = ("_facts", "_secrets")

    def __init__(self, facts: dict[str, Any], secrets: Collection[str] = ()) -> None:
        self._facts = facts
        self._secrets = secrets

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - facts are of many types
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __repr__(self) -> str:
        shown = {
            name: "***" if name in self._secrets else _masked(name, value)
            for name, value in self._facts.items()
        }
        return f"{type(self).__name__}({shown!r})"


def _masked(name: str, value: object) -> object:
    if name in _URLS and isinstance(value, str):
        return mask_url(value)
    return mask_json(value) if name in _SENT else value
