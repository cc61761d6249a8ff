"""Names and values of headers, refused where they are set if they could not be sent."""

import re

# RFC 9110 section 5.6.2: a token, which the name of a header is.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5: a value is sent as latin-1 and holds no control character but the tab.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def checked_name(argument: str, name: object) -> str:
    """The name, if a header can have it.

    Raises:
        TypeError: it is no text.
        ValueError: no header can have it; it is not shown, since it may be a whole header.
    """
    text = _text(argument, name)
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{argument} must be the name of a header, such as 'X-API-Key', "
            "without blanks, colons and characters beyond ASCII."
        )
    return text


def checked_value(argument: str, value: object) -> str:
    """The value, if it can be sent.

    Raises:
        TypeError: it is no text.
        ValueError: it cannot be sent; it is not shown.
    """
    text = _text(argument, value)
    if not _VALUE.fullmatch(text):
        raise ValueError(
            f"{argument} cannot be sent: it must be text in latin-1 without control characters "
            "and line breaks."
        )
    return text


def checked_credential(argument: str, value: object) -> str:
    """The credential, if there is one and it can be sent.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or cannot be sent; it is not shown.
    """
    text = checked_value(argument, value)
    if not text.strip():
        raise ValueError(f"{argument} is empty, so requests would go without a credential.")
    return text


def _text(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a text, not a {type(value).__name__}.")
    return value
