"""`python -m db_testing report merge`: one report of those of several machines."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from db_testing import cli
from db_testing._report import _results, _summary
from db_testing._report._results import Remark, Replaced, Report, Result, Run, Suite
from db_testing.errors import ReportError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [f"tests/test_a.py::test_{number}" for number in range(6)]
COUNTS = [
    "moved to commit isolation: 3",
    "left behind by tests: 3",
    "new databases after commit isolation: 6",
]
SUITE = Suite.of(["tests"], NAMES)


def run(name: str, suite: Suite | None = SUITE, *, exit_code: int = 0) -> Run:
    """Return a run of a shard."""
    return Run(
        run=name,
        shard=None,
        machine=f"host-{name}",
        server="postgresql://u:***@h/x",
        suite=suite,
        exit_code=exit_code,
        seconds=float(len(name)),
        database_tests=2,
        isolation_seconds=0.25,
    )


def report(name: str, *tests: int, suite: Suite | None = SUITE, exit_code: int = 0) -> Report:
    """Return the report of a run of some of the tests."""
    results = [
        Result(
            test=NAMES[number],
            run=name,
            worker="gw0",
            outcome="failed" if number == 5 else "passed",
            isolation="rollback" if number % 2 else None,
            seconds=1.5,
            setup_seconds=0.5,
        )
        for number in tests
    ]
    return Report(
        runs=(run(name, suite, exit_code=exit_code),),
        tests=tuple(results),
        moved=(Remark(NAMES[tests[0]], "it listens"),) if tests else (),
        leaks=(Remark(NAMES[tests[0]], "a task"),) if tests else (),
        replaced=(Replaced("DDL", len(tests)),),
    )


def named(**reports: Report) -> list[_results.Named]:
    """Return reports with the names of their files."""
    return [(f"{name}.json", each) for name, each in reports.items()]


def test_nothing_is_lost_in_a_file(tmp_path: Path) -> None:
    """What is read is what was written."""
    one = report("r", 0, 5)
    one.write(tmp_path / "one.json")
    assert _results.read(tmp_path / "one.json") == one


def test_shards_become_one_report() -> None:
    """Every test and every run is in it; what was counted is added."""
    merged = _results.merge(named(a=report("aa", 4, 0, 1), b=report("b", 2, 3), c=report("c", 5)))
    assert [result.test for result in merged.tests] == NAMES
    assert [each.run for each in merged.runs] == ["aa", "b", "c"]
    assert merged.replaced == (Replaced("DDL", 6),)
    assert {remark.test for remark in merged.leaks} == {NAMES[4], NAMES[2], NAMES[5]}
    assert _summary.summary(merged) == [
        "3 runs, 6 tests: 5 passed, 1 failed",
        "tests: all 6 ran",
        "the longest took 2.0 s: aa on host-aa",
        "isolation: 3 rollback; 0.75 s",
        "; ".join(COUNTS),
    ]


def test_order_and_steps_of_merging_do_not_matter() -> None:
    """A merged report can be merged with others."""
    a, b, c = report("a", 0, 1), report("b", 2), report("c", 3)
    steps = _results.merge(named(ab=_results.merge(named(a=a, b=b)), c=c))
    assert steps == _results.merge(named(a=a, b=b, c=c))
    assert _results.merge(named(c=c, b=b, a=a)).tests == steps.tests


def test_tests_that_ran_nowhere_are_counted() -> None:
    """A shard that is missing, and one that ended early, show in the summary."""
    merged = _results.merge(named(a=report("a", 0, 1), b=report("b", exit_code=3, suite=None)))
    lines = _summary.summary(merged)
    assert "tests: 4 of 6 ran nowhere" in lines
    assert "did not end as a run should (exit code): b on host-b (3)" in lines


def test_test_in_two_reports_is_refused() -> None:
    """It ran twice, so another may have run nowhere: the error names it and both files."""
    with pytest.raises(ReportError) as caught:
        _results.merge(named(a=report("a", 0, 1), b=report("b", 2), c=report("c", 1)))
    assert f"{NAMES[1]} ran in both a.json and c.json" in str(caught.value)
    assert "--randomly-seed" in str(caught.value)


def test_report_that_is_given_twice_is_refused() -> None:
    """Also when the second has come into another merged one; the error names both files."""
    a, b = report("a", 0), report("b", 1)
    with pytest.raises(ReportError, match=r"a\.json and ab\.json both hold the run a\."):
        _results.merge(named(a=a, ab=_results.merge(named(a=a, b=b))))


def test_other_state_of_a_suite_is_refused() -> None:
    """Shards of two commits are no suite: the error names both files and what differs."""
    other = Suite.of(["tests"], NAMES[:5])
    with pytest.raises(ReportError) as caught:
        _results.merge(named(a=report("a", 0), b=report("b", 1, suite=other)))
    assert "a.json and b.json are of different suites: of tests the first" in str(caught.value)
    assert "the first knows 6 tests, the second 5 tests" in str(caught.value)


def test_suites_of_several_projects_are_merged() -> None:
    """Where each machine tests other projects, each suite is counted by itself."""
    reports = {
        f"p{number}": dataclasses.replace(
            report(f"p{number}", suite=Suite.of([f"apps/{number}"], [f"{number}::test", "x"])),
            tests=(Result(f"{number}::test", f"p{number}", "main", "passed", None, 0, 0),),
        )
        for number in range(5)
    }
    merged = _results.merge(named(**reports, whole=report("whole", *range(6), exit_code=2)))
    lines = _summary.summary(merged)
    assert lines[:4] == [
        "6 runs, 11 tests: 10 passed, 1 failed",
        "apps/0: 1 of 2 ran nowhere",
        "apps/1: 1 of 2 ran nowhere",
        "... and 4 suites more",
    ]
    assert len(lines) <= 10


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads files, writes one and prints the figures."""
    for name, tests in (("a", (0, 1, 2)), ("b", (3, 4, 5))):
        report(name, *tests).write(tmp_path / name)
    files = [str(tmp_path / name) for name in ("a", "b", "merged")]
    assert cli.main(["report", "merge", *files[:2], "-o", files[2]]) == 0
    assert capsys.readouterr().out.startswith("2 runs, 6 tests: 5 passed, 1 failed\n")
    assert len(_results.read(tmp_path / "merged").tests) == 6


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is no report of db-testing (FileNotFoundError"),
        ("{", "is no report of db-testing (JSONDecodeError"),
        ("[]", "is no report of db-testing (TypeError"),
        ('{"version": 2}', "is no report of db-testing (TypeError"),
        ('{"version": 99}', "is a report of format 99, and this db-testing reads 2."),
    ],
)
def test_file_that_is_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, reason: str
) -> None:
    """The one message names the file."""
    file = tmp_path / "file.json"
    if content is not None:
        file.write_text(content)
    assert cli.main(["report", "merge", str(file), "-o", str(tmp_path / "merged")]) == 1
    assert capsys.readouterr().err.startswith(f"db-testing: {file} {reason}")


def test_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one message names it."""
    report("a", 0).write(tmp_path / "a")
    merged = tmp_path / "not-there" / "merged"
    assert cli.main(["report", "merge", str(tmp_path / "a"), "-o", str(merged)]) == 1
    assert f"{merged} cannot be written: No such file" in capsys.readouterr().err


def test_results_of_a_field_that_is_not_known_are_refused(tmp_path: Path) -> None:
    """Nothing of a newer report is left out in silence."""
    file = tmp_path / "file.json"
    report("a", 0).write(file)
    content = json.loads(file.read_text())
    content["tests"][0]["new"] = 1
    file.write_text(json.dumps(content))
    with pytest.raises(ReportError, match=r"file\.json is no report .*'new'"):
        _results.read(file)
