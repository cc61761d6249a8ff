"""The server behind a RedisTokenStorage: what reaches it, and how its failures are told."""

import inspect
import re
import weakref
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

from requestforge._fork import importing, renew_after_fork
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import real_monotonic
from requestforge.storage._redis_wire import Packer

if TYPE_CHECKING:
    import redis

_PAUSE = 1.0
"""Seconds after a lost connection in which the server is not asked again."""

_TIMEOUT = 1.0
"""Seconds to connect, and to wait for an answer, where the URL says nothing else."""

# Redis repeats the arguments of a command that it does not know, and the client what it cannot
# read; both may be a token.
_REPEATED = re.compile(r", with args beginning with:|(?<=Protocol Error):")


class _Client(Protocol):
    def execute_command(self, *args: Any, **options: Any) -> Any: ...  # noqa: ANN401 - as there


class RedisServer:
    """A client of redis-py that tells each failure as a TokenStorageException.

    A lost connection is not tried again for a second: until then every command fails at once. After
    it one command tries, while the others still fail at once.

    Args:
        client: a client to use, which stays its owner's; None: one of its own for the URL.
        url: where the server is.

    Raises:
        ImportError: redis-py is not installed.
        TypeError: the client is one for asyncio.
        ValueError: there are both client and URL, or neither, or the URL is none of Redis.
    """

    def __init__(self, client: "redis.Redis | redis.RedisCluster | None", url: str | None) -> None:
        try:
            with importing:
                import redis
        except ImportError as error:
            msg = "RedisTokenStorage needs redis-py: pip install 'requestforge[redis]'."
            raise ImportError(msg) from error
        if (client is None) == (url is None):
            msg = "RedisTokenStorage takes either client or url, and exactly one of them."
            raise ValueError(msg)
        self._url = url or ""
        self._own: redis.Redis | None = None
        if client is None:
            client = self._open()
        self._client: _Client = client
        if inspect.iscoroutinefunction(self._client.execute_command):
            msg = "client must be a redis.Redis or redis.RedisCluster, but is one for asyncio."
            raise TypeError(msg)
        self.is_cluster = isinstance(client, redis.RedisCluster)
        """Whether the keys of one command have to be of one slot."""
        errors = redis.exceptions
        self._lost = (errors.ConnectionError, errors.TimeoutError, errors.RedisClusterException)
        # Told by the client alone, so it says nothing about the server.
        self._own_limit = errors.MaxConnectionsError
        # Real monotonic seconds; 0: the last command reached the server.
        self._paused_until = 0.0
        renew_after_fork(self)

    def run(
        self,
        attempt: str,
        keys: Collection[str],
        /,
        *command: bytes | str | int,
        **options: object,
    ) -> Any:  # noqa: ANN401 - an answer is of any type
        """The server's answer to a command.

        Args:
            attempt: what the command does with the keys, as the message of an error says it.
            keys: those of the storage.
            command: its name and arguments.
            options: what redis-py takes beside them.

        Raises:
            TokenStorageException: the server cannot be reached, or has refused.
        """
        if self._paused_until:
            self._pass_or_fail(attempt, keys)
        return self.insist(attempt, keys, *command, **options)

    def insist(
        self,
        attempt: str,
        keys: Collection[str],
        /,
        *command: bytes | str | int,
        **options: object,
    ) -> Any:  # noqa: ANN401
        """The same, even within a second after a lost connection."""
        try:
            answer = self._client.execute_command(*command, **options)
        except Exception as error:
            if self._is_lost(error):
                self._paused_until = real_monotonic() + _PAUSE
            _cut(error)
            subject = _named(keys)
            msg = f"Redis failed to {attempt} {subject}. Check the server and how it is reached."
            raise TokenStorageException(msg, error) from error
        self._paused_until = 0.0
        return answer

    def may_have_done(self, error: TokenStorageException) -> bool:
        """Whether the server may have got a command that failed so."""
        return self._is_lost(error.original_exception)

    def close(self) -> None:
        """Close the connections of a client of its own."""
        if self._own is not None:
            self._own.close()

    def after_fork(self) -> None:
        """Take new connections and locks: nobody here would release one that was held."""
        if self._own is None:
            return
        # Whoever lets go of the parent's client would close it, for which it takes those locks.
        self._own.auto_close_connection_pool = False
        self._closing.detach()
        self._client = self._open()

    def _open(self) -> "redis.Redis":
        self._own = _opened(self._url)
        # Its own `__del__` comes too late where it is part of a circle: after those of its sockets.
        self._closing = weakref.finalize(self, self._own.close)
        return self._own

    def _is_lost(self, error: BaseException | None) -> bool:
        return isinstance(error, self._lost) and not isinstance(error, self._own_limit)

    def _pass_or_fail(self, attempt: str, keys: Collection[str]) -> None:
        moment = real_monotonic()
        if moment < self._paused_until:
            msg = (
                f"Redis could not be reached less than {_PAUSE:g} s ago, so it was not asked to "
                f"{attempt} {_named(keys)}."
            )
            raise TokenStorageException(msg)
        # Of all who come now the first one tries. Should two be the first, both do.
        self._paused_until = moment + _PAUSE


def _opened(url: str) -> "redis.Redis":
    from redis import Redis, exceptions
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        return Redis.from_url(
            url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            # Once more on a new connection: the server was restarted, or is a replica by now. Not
            # after a timeout, which would double what a dead server costs.
            retry=Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
            retry_on_error=[exceptions.ReadOnlyError],
            command_packer=Packer(),
        )
    except ValueError:
        pass  # its text may be a part of the password
    msg = (
        "url must be redis://, rediss:// or unix:// with what redis-py takes; special characters "
        "in a user name or password are percent-encoded."
    )
    raise ValueError(msg)


def _named(keys: Collection[str]) -> str:
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{next(iter(keys))}{more}"


def _cut(error: Exception) -> None:
    """Take from an error what it may repeat of a record, in place: it stays in the context."""
    text = str(error)
    head = _REPEATED.split(text)[0]
    if head != text:
        error.args = (head,)
