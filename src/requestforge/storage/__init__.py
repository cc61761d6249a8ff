"""Where tokens live: in this process, or in a cache of Django."""

from requestforge.storage.django import DjangoCacheTokenStorage
from requestforge.storage.memory import InMemoryTokenStorage

__all__ = ["DjangoCacheTokenStorage", "InMemoryTokenStorage"]
