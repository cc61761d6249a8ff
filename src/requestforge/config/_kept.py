"""What a configuration keeps of a mapping: a copy that cannot be changed, but be taken along."""

from typing import Any, NoReturn, Self

from requestforge._redaction import MASK


class Kept(dict[str, Any]):
    """A dict that refuses every change, and shows numbers alone."""

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        msg = "A configuration is read-only; make another one with dataclasses.replace."
        raise TypeError(msg)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)

    def __repr__(self) -> str:
        shown = {
            name: value if value is None or isinstance(value, int | float) else MASK
            for name, value in self.items()
        }
        return f"{type(self).__name__}({shown!r})"
