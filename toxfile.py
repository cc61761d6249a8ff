"""Shows tox every Python that pyenv has installed, not only the active one."""

import os
from pathlib import Path

_versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
os.environ["PATH"] = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), *sorted(map(str, _versions.glob("3.*/bin")))]
)
