"""How Sphinx builds this documentation."""

import re
import sys
from importlib.metadata import metadata

from sphinx.application import Sphinx

_distribution = metadata("requestforge")

project = "requestforge"
author = "The requestforge authors"
project_copyright = "2026, The requestforge authors"
release = _distribution["Version"]
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
nitpicky = True
# Types outside of the two packages are named without a link: the build reads no other site.
_elsewhere = "|".join(
    sorted(
        re.escape(name)
        for name in sys.stdlib_module_names
        | {"click", "django", "faker", "freezegun", "pytest", "redis", "requests", "responses"}
        | {"httpx", "opentelemetry", "prometheus_client"}
        | {"urllib3", "werkzeug"}
    )
)
nitpick_ignore_regex = [
    (r"py:.*", rf"({_elsewhere})\..+"),
    # What requests has, as the client names it.
    (r"py:class", r"Session|BaseAdapter"),
    # And what the observers are given.
    (r"py:class", r"TracerProvider|MeterProvider|CollectorRegistry"),
    # Types of arguments that nobody has to name: a type variable, and protocols.
    (r"py:class", r"requestforge\.models\.response\.Body"),
    (r"py:class", r"requestforge\._token_endpoint\.client_auth\.ClientAuth"),
    (r"py:class", r"requestforge\.instrumentation\.(Clock|Observer)T"),
    (r"py:class", r"pytest_requestforge\._witness\.\w+"),
    # A dict that says more when a comparison with it fails.
    (r"py:class", r"pytest_requestforge\.assertions\.(Assertions|FetchCounts)"),
    (r"py:class", r"pytest_requestforge\.fake_auth\.serving\.Pipeline"),
    # Fields of endpoints, which FakeAuth fills in.
    (
        r"py:class",
        r"pytest_requestforge\.fake_auth\.endpoints\.(Demands|Endpoint|Server|TokenPlace)",
    ),
]

# A name between single backticks is code, in the docstrings as elsewhere.
default_role = "code"

python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"requestforge {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]


def setup(app: Sphinx) -> None:
    """Put in what no setting does."""
    # Before napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)
    app.connect("autodoc-process-signature", _write_factories)


def _keep_colons(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Begin with an empty comment: napoleon takes what precedes a colon in the first for a type."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]


def _write_factories(
    _app: Sphinx,
    _what: str,
    _name: str,
    _obj: object,
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Show a default that is made at each call as dots: what Python shows is no expression."""
    return signature and signature.replace("<factory>", "..."), returns
