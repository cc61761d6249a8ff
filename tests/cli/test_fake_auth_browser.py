"""A real browser at the pages of `requestforge fake-auth serve`."""

from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from standalone import serving

from browser import browser

PASSWORD = "canary-alices-password"

FILE = f"""
[oauth2]
clients = {{ app = "canary-app-secret" }}
users = {{ alice = "{PASSWORD}" }}

[[resource]]
at = "GET /callback"
json = "welcome back"

[[resource]]
at = "GET /me"
needs = "oauth2"
"""


def test_a_user_signs_in(tmp_path: Path) -> None:
    """The page takes the password, the browser goes back to the client, its code buys a token."""
    with serving(tmp_path, FILE) as server, browser() as page:
        callback = f"{server.url}/callback"
        query = urlencode({"response_type": "code", "client_id": "app", "redirect_uri": callback})
        page.open(f"{server.url}/oauth2/authorize?{query}")
        page.type("input[name=username]", "alice")
        page.type("input[name=password]", PASSWORD)
        page.click("button[value=allow]")

        assert "welcome back" in page.run("document.body.innerText")
        code = parse_qs(urlsplit(page.run("location.href")).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": callback}
        auth = ("app", "canary-app-secret")
        tokens = server.ask("POST", "/oauth2/token", data=form, auth=auth).json()
        assert server.get("/me", tokens["access_token"]) == 200
        assert PASSWORD not in server.end()
