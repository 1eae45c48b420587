"""Draw `images/report.png`: the report of catalog's tests, as Chromium shows it.

    moon run docs:image

Needs `chromium` in PATH.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import sync_playwright

IMAGE: Final = Path(__file__).parent / "images" / "report.png"
TESTS: Final = ["apps/catalog/tests", "-m", "not slow and not e2e", "-n", "2", "--dist=worksteal"]
OPTIONS: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    """Run the tests, and draw the upper part of their report."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("no chromium in PATH: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="db-testing-report-") as folder:
        report = Path(folder) / "report.html"
        pytest = [sys.executable, "-m", "pytest", "-q", *TESTS, f"--db-report={report}"]
        subprocess.run(pytest, check=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
            page = browser.new_page(viewport={"width": 1200, "height": 760})
            page.goto(report.as_uri())
            IMAGE.parent.mkdir(exist_ok=True)
            page.screenshot(path=IMAGE)
            browser.close()


if __name__ == "__main__":
    main()
