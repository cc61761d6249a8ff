"""Storages that have the four basic methods alone, and no base class of ours."""

from typing import Any

from requestforge.interfaces import TokenStorageInterface


def adapted(storage: object) -> TokenStorageInterface:
    """The storage itself if it has the whole interface, else one that asks its four methods."""
    return storage if isinstance(storage, TokenStorageInterface) else _Basic(storage)


def tells_content(storage: TokenStorageInterface) -> bool:
    """Whether `content_of` of that storage is made for it.

    A subclass that overrides `get_many` alone wants that to be asked.
    """
    methods = {"content_of", "get_many"}
    for kind in type(storage).__mro__:
        if methods & vars(kind).keys():
            return kind is not TokenStorageInterface and "content_of" in vars(kind)
    return False  # a stand-in that has neither in its class


def _passed_on(name: str) -> Any:  # noqa: ANN401 - one for four signatures
    def call(self: "_Basic", key: str, *token: object) -> object:
        return getattr(self.storage, name)(key, *token)

    return call


class _Basic(TokenStorageInterface):
    """A storage that has the four basic methods alone."""

    def __init__(self, storage: object) -> None:
        self.storage = storage

    get, set, delete, exists = map(_passed_on, ("get", "set", "delete", "exists"))
