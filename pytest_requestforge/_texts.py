"""What people read of a value."""

__all__ = ["text_of"]


def text_of(value: object) -> str:
    """Its `str`; of an exception also those of the exceptions that led to it, and their notes."""
    if not isinstance(value, BaseException):
        return str(value)
    seen: list[BaseException] = [value]
    for error in seen:  # grows while it is walked
        further = (error.__cause__, error.__context__)
        seen.extend(each for each in further if each is not None and each not in seen)
    notes = [note for error in seen for note in getattr(error, "__notes__", ())]
    return "\n".join([*map(str, seen), *notes])
