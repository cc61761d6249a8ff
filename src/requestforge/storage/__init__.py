"""Where tokens live: in this process, in files, in Redis, a cache of Django; sealed if need be."""

from requestforge.storage.django import DjangoCacheTokenStorage
from requestforge.storage.encrypted import EncryptedTokenStorage
from requestforge.storage.file import FileTokenStorage
from requestforge.storage.memory import InMemoryTokenStorage
from requestforge.storage.redis import RedisTokenStorage

__all__ = [
    "DjangoCacheTokenStorage",
    "EncryptedTokenStorage",
    "FileTokenStorage",
    "InMemoryTokenStorage",
    "RedisTokenStorage",
]
