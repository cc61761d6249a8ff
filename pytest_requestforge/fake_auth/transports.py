"""How requests reach a FakeAuth: in the place of the network, over a socket, or by another way."""

from typing import TYPE_CHECKING, Literal, Protocol

from pytest_requestforge.fake_auth.loopback import Loopback

if TYPE_CHECKING:
    from pytest_requestforge.fake_auth.app import App

Transport = Literal["inprocess", "loopback", "wsgi"]


class Carrier(Protocol):
    """Brings requests to an app while it is started."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """End."""
        ...


class _Elsewhere:
    """Leaves it to somebody else to bring requests to the app."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


def make_carrier(transport: Transport, app: "App", origin: str) -> Carrier:
    """What brings requests to the app over that transport.

    Args:
        transport: its name.
        app: the app.
        origin: of the base URL.

    Raises:
        ImportError: the package `responses` is not installed, and the transport needs it.
        ValueError: there is no such transport.
    """
    if transport == "loopback":
        loopback = Loopback(app)
        app.carrier = lambda: loopback.origin
        return loopback
    if transport == "wsgi":
        app.carrier = lambda: origin
        return _Elsewhere()
    if transport != "inprocess":
        raise ValueError(f"transport must be 'inprocess', 'loopback' or 'wsgi', not {transport!r}.")
    try:
        # Here, since the command `requestforge` comes without `responses` and needs loopback only.
        from pytest_requestforge.fake_auth.inprocess import InProcess  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "The fake auth server answers in process through the package `responses`, which is "
            "not installed; pip install 'requestforge[testing]'."
        ) from error
    return InProcess(app)
