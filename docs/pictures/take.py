"""Takes the pictures of the HTML report anew, with Chromium: `python docs/pictures/take.py`."""
# ruff: noqa: S603 - starts pytest and Chromium alone

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent

# Shows the details of a mark, as when somebody points at it.
POINTING = """
<script>
document.querySelector('details[open] .mark.fault')
  .dispatchEvent(new MouseEvent('mouseover', {bubbles: true}));
</script>
"""


def take() -> None:
    """Run the tests of the picture, and take one of the whole page and one of a mark's details."""
    chromium = shutil.which("chromium") or "google-chrome"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(HERE / "shop.py", folder / "test_shop.py")
        options = ("-p", "no:randomly", "-q", "--rf-report=report.html", "--rf-seed=7")
        # One test is to fail, so that its timeline is open.
        subprocess.run([sys.executable, "-m", "pytest", *options], cwd=folder, check=False)
        page = folder / "report.html"
        for picture, more, size in (("report", "", "1120,510"), ("details", POINTING, "1120,500")):
            page.write_text(page.read_text(encoding="utf-8") + more, encoding="utf-8")
            command = (
                *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(f"--window-size={size}", f"--screenshot={HERE / picture}.png", page.as_uri()),
            )
            subprocess.run(
                command, check=True, capture_output=True, env=os.environ | {"HOME": name}
            )


if __name__ == "__main__":
    take()
