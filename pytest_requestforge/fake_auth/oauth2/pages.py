"""The few pages that a person sees: plain HTML, without script."""

from html import escape

from pytest_requestforge.fake_auth.answers import Answer

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>{title}</title>
<h1>{title}</h1>
<p>{text}</p>
{form}
</html>
"""
_FORM = """<form method="post" action="{action}">
{fields}
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>"""


def sign_in_page(
    action: str, text: str, *, user_code: str | None = None, username: str = "", status: int = 200
) -> Answer:
    """A page that asks for user name and password, and for consent.

    Args:
        action: where the form goes.
        text: what is asked for.
        user_code: of a device, which the user may change; None: it is not asked for.
        username: that is there already.
        status: of the answer.
    """
    fields = [
        _field("username", "User name", username, "text"),
        _field("password", "Password", "", "password"),
    ]
    if user_code is not None:
        fields.insert(0, _field("user_code", "Code", user_code, "text"))
    form = _FORM.format(action=escape(action), fields="\n".join(fields))
    return _page("Sign in", text, form, status=status)


def message_page(title: str, text: str, *, status: int = 200) -> Answer:
    """A page that only says something."""
    return _page(title, text, "", status=status)


def _field(name: str, label: str, value: str, kind: str) -> str:
    return (
        f'<p><label>{label} <input name="{name}" type="{kind}" value="{escape(value)}"></label></p>'
    )


def _page(title: str, text: str, form: str, *, status: int) -> Answer:
    content = _PAGE.format(title=escape(title), text=escape(text), form=form).encode()
    return Answer(
        status,
        content,
        {"Cache-Control": "no-store"},
        media_type="text/html; charset=utf-8",
    )
