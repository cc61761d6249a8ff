"""What urllib3 logs of the library's exchanges, without the secrets in URLs."""

import logging

from requestforge._redaction import mask_url
from requestforge._transport.attempt import current_attempt

_LOGGERS = ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry")


def mask_logs_of_urllib3() -> None:
    """Mask the URLs in its records from within an `Attempt`, this one's and later ones alike."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_mask)


def _mask(record: logging.LogRecord) -> bool:
    # At DEBUG it logs each request with its query, which is where a GET carries its data.
    if current_attempt() is not None and isinstance(record.args, tuple):
        record.args = tuple(_masked(value) for value in record.args)
        record.exc_info = None
    return True


def _masked(value: object) -> object:
    if isinstance(value, BaseException):  # quotes headers that it could not read
        return type(value).__name__
    return mask_url(value) if isinstance(value, str) else value
