"""A report as one page for a browser, which needs nothing else and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import importlib.util
from typing import TYPE_CHECKING, Final

from ..errors import ReportError
from ..report import one_line
from . import _findings, _summary

if TYPE_CHECKING:
    from pathlib import Path

    from ._results import Report

HTML: Final = (".html", ".htm")
SHOWN: Final = 100
"""Rows of the tables of statements. JSON has all."""
NEEDED: Final = ("jinja2", "sqlglot")


def check_installed() -> None:
    """Check what reports need.

    Raises:
        ReportError: it is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ReportError(
            f"reports need {' and '.join(missing)}, not installed here: "
            f"pip install 'db-testing[report]'"
        )


def write(report: Report, path: Path) -> None:
    """Write a page, if the file's name ends in .html, or else JSON.

    Raises:
        ReportError: what that needs is not installed.
        OSError: it cannot be written.
    """
    if path.suffix.lower() in HTML:
        path.write_text(render(report), encoding="utf-8", errors="backslashreplace")
    else:
        report.write(path)


def render(report: Report) -> str:
    """Return the page.

    Raises:
        ReportError: what it needs is not installed.
    """
    check_installed()
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__name__.rpartition(".")[0]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ms"] = lambda seconds: f"{seconds * 1000:,.1f}"
    environment.filters["line"] = one_line
    folder = importlib.resources.files(__package__ or "") / "templates"
    style, script = [(folder / name).read_text("utf-8") for name in ("report.css", "report.js")]
    return environment.get_template("report.html").render(
        report=report,
        findings=_findings,
        summary=_summary.summary(report),
        shown=SHOWN,
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {_hashed(style)}; script-src {_hashed(script)}; "
        f"base-uri 'none'; form-action 'none'",
    )


def _hashed(text: str) -> str:
    """Name a text in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
