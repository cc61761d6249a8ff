"""TLS contexts: complete when they are made, one for each set of files, and never changed."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from requests.adapters import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from requestforge._fork import renew_after_fork

_CERT_AND_KEY = 2
_MOST_CONTEXTS = 64

Certificate = str | tuple[str, ...]
"""Path of a client's certificate; or that, the path of its key, and the key's password if any."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TlsSettings:
    """What a client was told of TLS.

    Attributes:
        ca: path of the certificates to trust, in place of the usual ones.
        client_cert: the certificate to show.
        min_version: the oldest version of TLS to speak; None: 1.2.
        ssl_context: stands in the place of all of these.
    """

    ca: str | None = None
    client_cert: Certificate | None = None
    min_version: ssl.TLSVersion | None = None
    ssl_context: ssl.SSLContext | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Self:
        """The settings of a client's configuration; None: as requests has them."""
        return cls() if given is None else cls(**given)

    def check_for_supplied(self) -> None:
        """Refuse what a session of the caller, with an adapter of its own, cannot be told.

        Raises:
            ValueError: there is more than a bundle and a certificate without a password.
        """
        has_password = isinstance(self.client_cert, tuple) and len(self.client_cert) > _CERT_AND_KEY
        if self.ssl_context is not None or self.min_version is not None or has_password:
            raise ValueError(
                "tls: a session that is supplied can be given ca and client_cert alone, the latter "
                "without a password: mount an adapter with an ssl_context on the session."
            )

    def pool_settings(self, verify: bool | str, cert: Certificate | None) -> dict[str, Any]:
        """What a pool of urllib3 is made with, in the place of what requests would give it.

        Args:
            verify: False, True, or the path of the certificates to trust.
            cert: the certificate to show, where these settings have none.

        Raises:
            OSError: one of the files cannot be loaded.
        """
        if self.ssl_context is not None:
            given = _contexts.given(self.ssl_context)
            # None: where the context leaves the name to be compared by nobody, so does urllib3.
            return {"ssl_context": given, "assert_hostname": given.check_hostname and None}
        ca = (self.ca or DEFAULT_CA_BUNDLE_PATH) if verify is True else verify or None
        context = _contexts.of(ca, self.client_cert or cert, self.min_version)
        try:
            context.complete()
        except ssl.SSLError as error:
            # It is the setting that is at fault, and not the line.
            raise OSError(str(error)) from None
        # For http by way of a proxy that is spoken to by TLS, urllib3 has a context of its own.
        is_directory = ca is not None and Path(ca).is_dir()
        return {"ssl_context": context, "ca_cert_dir" if is_directory else "ca_certs": ca}


class SealedContext:
    """What urllib3 takes for an SSLContext, and tries in vain to change.

    It would load the certificates anew for each connection, and set what other threads use.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    @property
    def verify_mode(self) -> ssl.VerifyMode:
        """Whether the peer has to show a certificate."""
        return self._context.verify_mode

    @verify_mode.setter
    def verify_mode(self, mode: ssl.VerifyMode) -> None:
        """Leave it: urllib3 sets the mode of its pool for each connection."""

    @property
    def check_hostname(self) -> bool:
        """Whether OpenSSL compares the name in the certificate."""
        return self._context.check_hostname

    @check_hostname.setter
    def check_hostname(self, check: bool) -> None:
        """Leave it: urllib3 clears it where it is told not to compare either."""

    def wrap_socket(self, sock: socket.socket, server_hostname: str | None) -> ssl.SSLSocket:
        """The socket after the handshake."""
        return self.complete().wrap_socket(sock, server_hostname=server_hostname)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:  # noqa: ANN401
        """TLS within the TLS of a proxy."""
        return self.complete().wrap_bio(*args, **kwargs)

    def set_alpn_protocols(self, protocols: list[str]) -> None:
        """Leave them: they are set."""

    def load_verify_locations(self, *locations: object) -> None:
        """Leave them: they are loaded."""

    def load_cert_chain(self, *files: object) -> None:
        """Leave it: it is loaded."""

    def for_proxy(self) -> "SealedContext":
        """The context for a proxy that is spoken to by TLS, on the way to where this one leads."""
        return self

    def complete(self) -> ssl.SSLContext:
        """The context itself.

        Raises:
            ssl.SSLError: it cannot be had of its files.
        """
        return self._context


class _ContextOfFiles(SealedContext):
    """A context that is made anew when one of its files has changed.

    Connections that are open by then stay as they are.
    """

    def __init__(
        self, ca: str | None, cert: Certificate | None, min_version: ssl.TLSVersion | None
    ) -> None:
        self._ca = ca
        self._cert = (cert,) if isinstance(cert, str) else cert
        self._min_version = min_version
        self._made: tuple[object, ssl.SSLContext] | None = None
        super().__init__(
            create_urllib3_context(
                cert_reqs=ssl.CERT_NONE if ca is None else ssl.CERT_REQUIRED,
                ssl_minimum_version=min_version,
            )
        )
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """A thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def for_proxy(self) -> SealedContext:
        """One of the same certificates to trust, which shows none: that is for the origin."""
        return _contexts.of(self._ca, None, self._min_version)

    def complete(self) -> ssl.SSLContext:
        """As described for the class it stands for."""
        # Locked as a whole, so that connections that begin together load the files once.
        with self._lock:
            stamps = self._stamps()
            if self._made is None or self._made[0] != stamps:
                self._made = stamps, self._make()
            return self._made[1]

    def _stamps(self) -> object:
        """What tells one state of the files from the next."""
        paths = self._ca, *(self._cert or ())[:_CERT_AND_KEY]
        return [_stamp(path) for path in paths if path is not None]

    def _make(self) -> ssl.SSLContext:
        context = create_urllib3_context(
            cert_reqs=self.verify_mode, ssl_minimum_version=self._min_version
        )
        context.set_alpn_protocols(["http/1.1"])
        if self._ca is not None:
            _trust(context, self._ca)
        if self._cert is not None:
            _show(context, *self._cert)
        return context


def _trust(context: ssl.SSLContext, ca: str) -> None:
    try:
        if Path(ca).is_dir():
            context.load_verify_locations(capath=ca)
        else:
            context.load_verify_locations(cafile=ca)
    except OSError as error:
        raise ssl.SSLError(f"The CA bundle {ca} cannot be loaded: {error}") from None


def _show(
    context: ssl.SSLContext, cert: str, key: str | None = None, password: str | None = None
) -> None:
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(cert, key, password or _no_password)
    except OSError as error:
        raise ssl.SSLError(f"The client certificate {cert} cannot be loaded: {error}") from None


def _no_password() -> NoReturn:
    raise ssl.SSLError("its key is encrypted, and there is no password")


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a tenth of the time
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class _Contexts:
    """The contexts of this process, so that no two of them are made of the same files."""

    def __init__(self) -> None:
        self._made: dict[object, SealedContext] = {}
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """A thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def given(self, context: ssl.SSLContext) -> SealedContext:
        """The one for a context of the caller."""
        return self._remembered(context, lambda: SealedContext(context))

    def of(
        self, ca: str | None, cert: Certificate | None, min_version: ssl.TLSVersion | None
    ) -> SealedContext:
        """The one that is made of these files."""
        key = ca, cert, min_version
        return self._remembered(key, lambda: _ContextOfFiles(ca, cert, min_version))

    def _remembered(self, key: object, make: Callable[[], SealedContext]) -> SealedContext:
        with self._lock:
            if key not in self._made:
                if len(self._made) >= _MOST_CONTEXTS:
                    del self._made[next(iter(self._made))]
                self._made[key] = make()
            return self._made[key]


_contexts = _Contexts()
