"""The pages of the documentation, their code blocks, and a run of them as a reader would run them.

`python documentation.py PAGE` runs the blocks of one page in turn, in one namespace, and compares
what they print or raise with what the page shows. A block with a caption is a file of that name.
"""

import io
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from example_api import FILES, VARIABLES, standing_in
from joserfc.jwk import ECKey

from pytest_requestforge import Clock, FakeAuth

ROOT = Path(__file__).parents[2]

_DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\w+)\n"
    r"(?P<options>(?:(?P=indent)   :.*\n)*)"
    r"\n"
    r"(?P<code>(?:(?P=indent)   .*\n|\n)+)",
    flags=re.MULTILINE,
)
_FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_CAPTION = re.compile(r":caption: (\S+)")
_TEST = re.compile(r"^(def test_|class Test)", flags=re.MULTILINE)

_AUTH = "https://auth.example.com"
_API = "https://api.example.com"

_CLIENT_KEY = ECKey.generate_key("P-256")
_KEYS = {"client-key.pem": _CLIENT_KEY.as_pem(private=True).decode()}


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of a page.

    Attributes:
        page: path below the root of the repository.
        line: of the page, where its code begins.
        language: as the page says.
        code: without the page's indentation.
        output: what the page shows that it prints or raises; None: it shows nothing.
        file: name of the file that it stands for, if any.
    """

    page: str
    line: int
    language: str
    code: str
    output: str | None = None
    file: str | None = None

    @property
    def is_test(self) -> bool:
        """Whether pytest runs it."""
        return bool(_TEST.search(self.code))


def pages() -> list[str]:
    """The paths of README and all pages."""
    found = sorted((ROOT / "docs").rglob("*.rst"))
    return ["README.md", *(str(path.relative_to(ROOT)) for path in found)]


def blocks_of(page: str) -> list[Block]:
    """All code blocks of a page in turn; an output belongs to the block before it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks: list[Block] = []
    for match in (_FENCE if page.endswith(".md") else _DIRECTIVE).finditer(text):
        groups = match.groupdict("")
        code = textwrap.dedent(groups["code"]).strip("\n") + "\n"
        if ":class: output" in groups.get("options", ""):
            last = blocks.pop()
            blocks.append(Block(last.page, last.line, last.language, last.code, output=code))
        else:
            line = text.count("\n", 0, match.start("code")) + 1
            caption = _CAPTION.search(groups.get("options", ""))
            file = caption and caption[1]
            blocks.append(Block(page, line, groups["language"], code, file=file))
    return blocks


def python_blocks(page: str) -> list[Block]:
    """The blocks of Python of a page."""
    return [block for block in blocks_of(page) if block.language == "python"]


def differences(page: str) -> Iterator[str]:
    """Run the blocks of a page, but for its tests; what differs from what the page shows.

    The files that the page shows, and some that its examples read, are put into the current folder.
    """
    names: dict[str, Any] = {"__name__": "page"}
    os.environ.update(VARIABLES)
    shown_files = {block.file: block.code for block in blocks_of(page) if block.file}
    for name, content in (FILES | _KEYS | shown_files).items():
        Path(name).write_text(content, encoding="utf-8")
    with Clock(freeze=False), FakeAuth(_AUTH, seed=7) as auth, standing_in():
        _answer(auth)
        for block in python_blocks(page):
            if block.is_test:
                continue
            shown = _run(block, names)
            if shown != (block.output or ""):
                yield f"{page}:{block.line} shows\n{block.output}but gives\n{shown}"
        if auth.unmatched:
            yield auth.explain_unmatched()


def _run(block: Block, names: dict[str, Any]) -> str:
    """What the block prints, and what it raises if the page shows that."""
    # Empty lines before it, so that a traceback names the line of the page.
    code = compile("\n" * (block.line - 1) + block.code, block.page, "exec")
    printed = io.StringIO()
    with redirect_stdout(printed):
        try:
            exec(code, names)  # noqa: S102 - our own pages
        except Exception as error:
            if block.output is None:
                raise
            printed.write(f"{type(error).__name__}: {error}\n")
    return printed.getvalue()


def _answer(auth: FakeAuth) -> None:
    """Stand up what auth.example.com and api.example.com answer to the examples."""
    app = auth.token(
        "app_token",
        f"POST {_AUTH}/v1/app/token",
        body={"client_id": "app-id", "client_secret": "app-secret"},
    )
    device = auth.token(
        "device_token",
        f"POST {_AUTH}/v1/device/register",
        requires={"X-Device-ID": "device-123"},
        in_header="X-Device-Token",
    )
    app_of_device = auth.token(
        "app_token of a device",
        f"POST {_AUTH}/v1/app/token",
        body={"client_id": "app-id"},
        requires={"X-Device-Token": device},
    )
    for kind, parent in {"": app, " of a device": app_of_device}.items():
        for username, password in {"user": "pass", "admin": "secret"}.items():
            user = auth.token(
                f"user_token of {username}{kind}",
                f"POST {_AUTH}/v1/user/token",
                body={"username": username, "password": password},
                requires={"X-App-Token": parent},
            )
            auth.resource(f"GET {_API}/user/profile", needs=user, json={"name": "User"})
    auth.resource(
        f"POST {_AUTH}/v1/session", needs=app_of_device, json={"session": {"id": "a-session"}}
    )
    auth.resource(
        f"POST {_AUTH}/v1/nested/token",
        json={"data": {"tokens": {"access": "nested"}, "lifetime": 600}},
    )
    grant = auth.token(
        "oauth",
        f"POST {_AUTH}/oauth/token",
        body={"client_id": "app-id", "client_secret": "app-secret"},
        expires_in=3600,
    )
    auth.resource(f"GET {_API}/invoices", needs=grant, json=[])
    auth.oauth2(
        clients={"app-id": "app-secret", "reports-id": _CLIENT_KEY.as_dict(private=False)},
        users={"user": "pass"},
    )
    key = {"X-API-Key": "key of the application"}
    auth.resource(f"GET {_API}/orders", requires=key, json={"orders": []})
    auth.resource(f"GET {_API}/public/news", json=[])
    auth.resource(f"GET {_API}/busy", status=503)
    auth.resource(f"GET {_API}/nothing/here", status=404)


if __name__ == "__main__":
    sys.exit("\n".join(differences(sys.argv[1])) or None)
