"""What a pipeline must be given."""

from datetime import timedelta


def check_storage(storage: object) -> None:
    """Refuse to go without a storage.

    Raises:
        TypeError: there is none.
    """
    if storage is None:
        msg = "A pipeline needs a storage; InMemoryTokenStorage() is one."
        raise TypeError(msg)


def check_switches(**switches: object) -> None:
    """Refuse what is neither True nor False.

    Raises:
        TypeError: a switch is neither.
    """
    for name, switch in switches.items():
        if not isinstance(switch, bool):
            msg = f"{name} must be True or False, not {type(switch).__name__}."
            raise TypeError(msg)


def check_durations(**durations: object) -> None:
    """Refuse what is no duration; None stands for a default.

    Raises:
        TypeError: one is no timedelta.
        ValueError: one is not positive.
    """
    for name, duration in durations.items():
        if duration is None:
            continue
        if not isinstance(duration, timedelta):
            msg = f"{name} must be a timedelta or None, not {type(duration).__name__}."
            raise TypeError(msg)
        if duration <= timedelta(0):
            msg = f"{name} must be positive, but is {duration}."
            raise ValueError(msg)
