"""`db-testing doctor`: whether tests can run here, and what to do where they cannot."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Final

import typer
from rich.text import Text

from ..errors import SetupError
from . import choice, package_checks, server_checks, suite_checks
from .choice import Option as ServerOption
from .console import OUT, WRONG, Json, doing, show_json
from .findings import Finding, Level

SIGNS: Final[dict[Level, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("warning", "yellow"),
    "error": ("error", "bold red"),
}


def doctor(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGUMENTS]", help="Of pytest, such as a folder of tests."),
    ] = None,
    server: ServerOption = None,
    *,
    as_json: Json = False,
) -> None:
    """Look whether tests can run here: server, versions, room, event loop, other plugins, schema.

    Each finding has its remedy. The project's pytest collects its tests and runs none; the server
    is started, and templates that are missing are built. Exit code 1: there is an error.
    """
    findings: list[Finding] = []
    with doing("looking at packages ...") as progress:
        findings += package_checks.check()
        try:
            chosen = choice.choose(server)
        except SetupError as error:
            remedy = "As it says; then run doctor again."
            findings.append(Finding("configuration", "error", str(error), remedy))
        else:
            progress("looking at the server ...")
            findings += server_checks.check(chosen)
            progress("collecting the tests ...")
            findings += suite_checks.check(chosen, arguments or (), progress)
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        found = [dataclasses.asdict(finding) for finding in findings]
        show_json({"ok": not errors, "findings": found})
    else:
        for finding in findings:
            _show(finding)
        OUT.print(_verdict(errors), style="bold red" if errors else "bold green")
    if errors:
        raise typer.Exit(WRONG)


def _show(finding: Finding) -> None:
    sign, style = SIGNS[finding.level]
    OUT.print(Text.assemble((f"{sign:<8}", style), (f"{finding.check}: ", "bold"), finding.found))
    if finding.remedy is not None:
        OUT.print(Text(f"        -> {finding.remedy}"))


def _verdict(errors: int) -> str:
    if not errors:
        return "Tests can run."
    return f"{errors} {'error' if errors == 1 else 'errors'}: tests cannot run as they should."
