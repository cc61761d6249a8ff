"""How requests reach a FakeAuth: in the place of the network, or over a socket."""

from typing import TYPE_CHECKING, Literal, Protocol

from pytest_requestforge.fake_auth.loopback import Loopback

if TYPE_CHECKING:
    from pytest_requestforge.fake_auth.app import App

Transport = Literal["inprocess", "loopback"]


class Carrier(Protocol):
    """Brings requests to an app while it is started."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """End."""
        ...


def make_carrier(transport: Transport, app: "App") -> Carrier:
    """What brings requests to the app over that transport.

    Raises:
        ImportError: the package `responses` is not installed, and the transport needs it.
        ValueError: there is no such transport.
    """
    if transport == "loopback":
        loopback = Loopback(app)
        app.carrier = lambda: loopback.origin
        return loopback
    if transport != "inprocess":
        raise ValueError(f"transport must be 'inprocess' or 'loopback', not {transport!r}.")
    try:
        # Here, since the command `requestforge` comes without `responses` and needs loopback only.
        from pytest_requestforge.fake_auth.inprocess import InProcess  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "The fake auth server answers in process through the package `responses`, which is "
            "not installed; pip install 'requestforge[testing]'."
        ) from error
    return InProcess(app)
