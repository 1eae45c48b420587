"""`db-testing bench`: what each way of isolating tests costs with the project's own schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from ..errors import SuiteError
from . import measuring, strategies, suite
from .choice import Option as ServerOption
from .console import OUT, Json, doing, show_json, show_table

BY_HAND: Final = (strategies.TRUNCATE, strategies.ANEW)


@dataclass(frozen=True, slots=True)
class Tests:
    """How many tests a suite has, and who says so."""

    number: int
    source: str


def bench(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGUMENTS]", help="Of pytest, such as a folder of tests."),
    ] = None,
    server: ServerOption = None,
    tests: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many tests the suite has. Default: as many as ask for the database, or, "
            "before any does, all.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=300, help="How long to measure each schema.")
    ] = 20,
    *,
    as_json: Json = False,
) -> None:
    """Measure what each way of isolating tests costs with this project's own schema.

    A test that writes a row and reads one is run with each of db-testing's isolations, with
    TRUNCATE, and with the schema built anew, in turn, beside the same test without any. None of
    the project's tests is run. The databases are dropped again.
    """
    with doing("collecting the tests ...") as progress:
        answer = suite.ask(
            arguments or (),
            work=measuring.BENCH,
            argument=seconds,
            server=server,
            progress=progress,
        )
    answer.check()
    if not answer.results:
        raise SuiteError(
            f"pytest has collected {answer.facts['tests']} tests in {answer.facts['root']}, and so "
            f"there is no db_schema to measure. Run this where the tests are, or name them after "
            f"--."
        )
    found = [
        {"where": where} | result | estimate(result, count(answer.facts, where, tests))
        for where, result in answer.results.items()
    ]
    if as_json:
        show_json({"benchmarks": found})
        return
    for each in found:
        _show(each)


def count(facts: Mapping[str, Any], where: str, given: int | None) -> Tests:
    """Say how many tests would be isolated so."""
    if given is not None:
        return Tests(given, "--tests")
    ask = next((each["tests"] for each in facts["schemas"] if each["where"] == where), 0)
    if ask:
        return Tests(ask, "as many ask for the database")
    return Tests(facts["tests"], "all there are, since none asks for the database yet")


def estimate(result: Mapping[str, Any], tests: Tests) -> dict[str, Any]:
    """Add what a suite would spend in being isolated, one test after the other."""
    return {
        "tests": tests.number,
        "tests_from": tests.source,
        "strategies": [
            dict(each)
            | {
                "suite_seconds": None
                if each["over_ms"] is None
                else round(max(0.0, each["over_ms"]) * tests.number / 1e3, 3)
            }
            for each in result["strategies"]
        ],
    }


def _show(found: Mapping[str, Any]) -> None:
    OUT.print(f"{found['schema']}, {found['where']}", markup=False)
    OUT.print(f"{did(found)}: {found['nothing_ms']:.2f} ms without isolation.", markup=False)
    rows = [
        (each["name"], "fails", "")
        if each["fails"]
        else (each["name"], f"{each['over_ms']:+.2f} ms", shown(each["suite_seconds"]))
        for each in found["strategies"]
    ]
    show_table(("isolation", "for each test", f"{found['tests']} tests"), rows)
    for line in conclusions(found):
        OUT.print(line, markup=False)


def did(found: Mapping[str, Any]) -> str:
    """Say what the tests did that were measured."""
    if found["row"] is not None:
        return f"Each test inserts a row into {found['row']} and reads one"
    if found["tables"]:
        return "Each test deletes nothing and reads a row, since no table takes a made-up row"
    return "Each test only begins and commits, since there is no table"


def conclusions(found: Mapping[str, Any]) -> Iterator[str]:
    """Say what that comes to."""
    for each in found["strategies"]:
        if each["fails"]:
            yield f"{each['name']} fails: {each['fails']}"
    yield f"{found['tests']} tests, one after the other ({found['tests_from']})."
    seconds = {each["name"]: each["suite_seconds"] for each in found["strategies"]}
    by_hand = [
        f"{shown(seconds[name])} with {'a ' * (name == strategies.ANEW)}{name}"
        for name in BY_HAND
        if seconds.get(name) is not None
    ]
    if by_hand and seconds["rollback"] is not None:
        ours, theirs = shown(seconds["rollback"]), " and ".join(by_hand)
        yield f"To isolate them takes {ours} with rollback isolation, beside {theirs}."


def shown(seconds: float) -> str:
    """Return a time as people read it."""
    if seconds >= 120:  # noqa: PLR2004  # two minutes
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"  # noqa: PLR2004
