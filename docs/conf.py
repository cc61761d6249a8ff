"""How Sphinx builds this documentation."""

import re
import sys
from importlib.metadata import metadata

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
        | {"urllib3", "werkzeug"}
    )
)
nitpick_ignore_regex = [(r"py:.*", rf"({_elsewhere})\..+")]

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"requestforge {release}"
