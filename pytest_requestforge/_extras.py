"""What becomes of a package that is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needed_by"]


@contextmanager
def needed_by(user: str) -> Iterator[None]:
    """Say how to install a package that is imported in the block and missing.

    Raises:
        ImportError: with the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{user} needs the package {error.name}, which is not installed. "
            "Install it with: pip install 'requestforge[testing]'",
            name=error.name,
        ) from error
