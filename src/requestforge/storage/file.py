"""FileTokenStorage: tokens in files of one directory."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from requestforge._fork import importing
from requestforge._looking import noted
from requestforge.events import StorageFailed
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import emit, now
from requestforge.interfaces import TokenStorageInterface
from requestforge.storage._files import guarded, private_directory, replace_file
from requestforge.storage._leases import LeaseFiles, leased
from requestforge.storage._readings import Readings
from requestforge.tokens import TokenData

__all__ = ["FileTokenStorage"]

_FAULTS = (OSError, RuntimeError, TypeError, ValueError)
"""What the system, filelock and json raise, and a directory that is refused."""


class FileTokenStorage(TokenStorageInterface):
    """Tokens in files, for all processes of one host that run as the same user.

    Each key has a file of its own, which only that user can read (mode 0600), in a directory that
    only they can list (mode 0700). Only one process at a time fetches a step. A file that cannot
    be understood counts as none, and is deleted.

    Args:
        directory: where the files are; made, with its parents, if it is missing. `~` stands for
            the home directory.

    Raises:
        ImportError: filelock is not installed.
        ValueError: users other than its owner may write to the directory.
        OSError: the directory cannot be made.
        TokenStorageException: at any use; the directory cannot be read or written.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        _import_filelock()
        # Wherever the process goes later, and whatever becomes of its home.
        self._directory = Path(directory).expanduser().absolute()
        private_directory(self._directory)
        self._readings: Readings[list[bytes | None]] = Readings()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._directory)!r})"

    def get(self, key: str) -> TokenData | None:
        """The token that was set, expired or not; None if there is none.

        A file that cannot be understood counts as none, and is deleted.
        """
        with self._reporting("read", key):
            token, found = self._read(key)
        if token is None and found:
            self._discard(key)
        return token

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        """The tokens of those keys that have one."""
        return dict(self.content_of(tuple(keys)))

    def content_of(self, keys: tuple[str, ...]) -> Mapping[str, TokenData]:
        """The same as `get_many`, and the same object as long as the files hold the same."""
        contents = [self._content(key) for key in keys]
        last = self._readings.last(keys)
        if last is not None and last.source == contents:
            return last.found
        found: dict[str, TokenData] = {}
        discarded = False
        for key, content in zip(keys, contents, strict=True):
            token = None if content is None else _token(key, content)
            if token is not None:
                found[key] = token
            elif content is not None:
                self._discard(key)
                discarded = True
        if not discarded:  # else the same again has to be deleted again
            self._readings.remember(keys, contents, found)
        return found

    def set(self, key: str, token: TokenData) -> None:
        """Keep the token, in place of any other under that key.

        One with a refresh token is on the disk on return; any other may be lost by a power failure.
        """
        with self._changing("write", key):
            self._write(key, token)

    def delete(self, key: str) -> None:
        """Remove the token, if there is one."""
        if self.exists(key):
            with self._changing("delete", key):
                self._file(key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """Whether an entry is present, expired or not."""
        with self._reporting("read", key):
            try:
                self._file(key).stat()
            except FileNotFoundError:
                return False
        return True

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        """Set the token if the present one has that generation, atomically; whether that is so.

        A generation of None stands for: there is no token, or one without a generation.
        """
        with self._changing("write", key):
            current, _ = self._read(key)
            if (None if current is None else current.generation) != generation:
                return False
            self._write(key, token)
            return True

    def compare_and_delete(self, key: str, generation: str | None) -> bool:
        """Remove the token if it has that generation, atomically; whether that is so."""
        with self._changing("delete", key):
            current, _ = self._read(key)
            if current is None or current.generation != generation:
                return False
            self._file(key).unlink(missing_ok=True)
            return True

    def lock(self, key: str, lease: timedelta, wait: timedelta) -> AbstractContextManager[bool]:
        """A lock on the key for all processes of this host that use the directory.

        It ends at once when the process of its holder does, and after `lease` in any case.
        """
        return self._locked(key, lease, wait)

    @contextmanager
    def _locked(self, key: str, lease: timedelta, wait: timedelta) -> Iterator[bool]:
        with ExitStack() as held:
            with self._reporting("lock", key):
                private_directory(self._directory)
                files = LeaseFiles(guard=self._file(key, ".guard"), holder=self._file(key, ".lock"))
                acquired = held.enter_context(leased(files, lease, wait))
            yield acquired

    def _read(self, key: str) -> tuple[TokenData | None, bool]:
        """The token, if it can be understood; and whether there is a file."""
        try:
            content = self._file(key).read_bytes()
        except FileNotFoundError:
            return None, False
        return _token(key, content), True

    def _content(self, key: str) -> bytes | None:
        with self._reporting("read", key):
            try:
                return self._file(key).read_bytes()
            except FileNotFoundError:
                return None

    def _write(self, key: str, token: TokenData) -> None:
        record = json.dumps({"key": key, **token.to_dict()}).encode()
        # What can be fetched again is not worth waiting for the disk.
        durable = token.refresh_token is not None
        replace_file(self._file(key), record, durable=durable)

    def _discard(self, key: str) -> None:
        """Delete a record that was not understood, unless another has come in its place."""
        if noted(key):
            return
        # Undeleted it is a miss all the same.
        with suppress(TokenStorageException), self._changing("delete", key):
            if self._read(key) == (None, True):
                self._file(key).unlink()
        error = "The file held something else than a token of that key."
        emit(StorageFailed(at=now(), pipeline="", step=key, operation="read", error=error))

    @contextmanager
    def _changing(self, attempt: str, key: str) -> Iterator[None]:
        """Keep everybody else from changing the record of the key."""
        with self._reporting(attempt, key):
            private_directory(self._directory)
            with guarded(self._file(key, ".guard")):
                yield

    @contextmanager
    def _reporting(self, attempt: str, key: str) -> Iterator[None]:
        try:
            yield
        except _FAULTS as error:
            msg = (
                f"The token directory {str(self._directory)!r} failed to {attempt} {key}. "
                "Check that it is there, that this user may write to it, and that it is not full."
            )
            raise TokenStorageException(msg, error) from error

    def _file(self, key: str, suffix: str = ".json") -> Path:
        return self._directory / f"{_file_name(key)}{suffix}"


@lru_cache(maxsize=4096)
def _file_name(key: str) -> str:
    """What the files of a key are called: a readable start, and a hash that keeps all keys apart.

    File systems differ in the characters, the lengths and the cases that they tell apart.
    """
    start = re.sub(r"[^a-z0-9-]+", "_", key[:200].lower())[:40]
    return f"{start}-{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _token(key: str, content: bytes) -> TokenData | None:
    """The token of a file, unless that is torn, foreign, or the copy of another key's."""
    try:
        record = json.loads(content)
        if isinstance(record, dict) and record.get("key") == key:
            return TokenData.from_dict(record)
    except (ValueError, RecursionError):
        pass
    return None


def _import_filelock() -> None:
    # A child that is forked during an import would wait for it for ever.
    with importing:
        try:
            import filelock  # noqa: F401
        except ImportError as error:
            msg = "FileTokenStorage needs filelock: pip install 'requestforge[file]'."
            raise ImportError(msg) from error
