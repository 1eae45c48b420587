"""`--db-report`: what a run leaves for the one who merges it with those of other machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .conftest import Suite

EVERY_OUTCOME = """
    import asyncio
    import pytest
    import sqlalchemy as sa
    from models import Item

    kept = []

    async def for_ever():
        await asyncio.Event().wait()

    async def test_rolled_back(db):
        db.add(Item(name="a"))
        await db.commit()

    @pytest.mark.db(isolation="commit")
    async def test_committed(db):
        await db.execute(sa.text("CREATE TABLE left_behind ()"))
        await db.commit()
        kept.append(asyncio.create_task(for_ever()))

    def test_without_database():
        pass

    def test_fails():
        assert False

    @pytest.fixture
    def broken():
        yield
        assert False

    def test_error_after_failure(broken):
        assert False

    def test_error(broken):
        pass

    def test_skipped():
        pytest.skip()

    @pytest.mark.xfail
    def test_expected():
        assert False

    @pytest.mark.xfail(strict=False)
    def test_unexpected():
        pass
"""

DISTRIBUTIONS = pytest.mark.parametrize(
    "distribution",
    [
        pytest.param((), id="sequential"),
        pytest.param(("-n", "2"), id="xdist", marks=pytest.mark.slow),
    ],
)

CAME_TO = {
    "rolled_back": ("passed", "rollback"),
    "committed": ("passed", "commit"),
    "without_database": ("passed", None),
    "fails": ("failed", None),
    "error_after_failure": ("failed", None),
    "error": ("error", None),
    "skipped": ("skipped", None),
    "expected": ("xfailed", None),
    "unexpected": ("xpassed", None),
}


def written(pytester: pytest.Pytester, name: str = "report.json") -> dict[str, Any]:
    """Read a report as any program would."""
    report: dict[str, Any] = json.loads((pytester.path / name).read_text())
    return report


def run(pytester: pytest.Pytester, *distribution: str) -> pytest.RunResult:
    """Run a suite with a report, in another process if it has xdist's workers."""
    start = pytester.runpytest_subprocess if distribution else pytester.runpytest_inprocess
    return start("--db-report=report.json", *distribution)


def outcomes(report: Mapping[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Return what each test came to and what has undone it, by its short name."""
    return {
        each["test"].partition("::test_")[2]: (each["outcome"], each["isolation"])
        for each in report["tests"]
    }


@DISTRIBUTIONS
def test_what_is_written(suite: Suite, distribution: tuple[str, ...]) -> None:
    """Every test is there once, with its outcome; and the run, with what there was to run."""
    pytester = suite(mode="auto")
    pytester.makepyfile(test_it=EVERY_OUTCOME)
    result = run(pytester, *distribution)
    report = written(pytester)
    assert outcomes(report) == CAME_TO
    assert len(report["tests"]) == len(CAME_TO)
    workers = {each["worker"] for each in report["tests"]}
    assert workers == ({"gw0", "gw1"} if distribution else {"main"})
    (whole,) = report["runs"]
    assert (whole["shard"], whole["exit_code"], whole["database_tests"]) == (None, result.ret, 2)
    assert whole["suite"]["paths"] == ["."]
    assert whole["suite"]["tests"] == len(CAME_TO)
    assert {each["run"] for each in report["tests"]} == {whole["run"]}
    assert [each["test"] for each in report["leaks"]] == ["test_it.py::test_committed"]
    assert [each["tests"] for each in report["replaced"]] == [1]
    committed = next(each for each in report["tests"] if each["isolation"] == "commit")
    assert 0 < committed["setup_seconds"] < committed["seconds"] < whole["seconds"]


@DISTRIBUTIONS
def test_run_is_that_of_its_databases(suite: Suite, distribution: tuple[str, ...]) -> None:
    """Whoever looks at the server's databases can tell which report is of them."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        def test_name(test_database_url):
            with open("database", "w") as file:
                file.write(test_database_url)
        """
    )
    run(pytester, *distribution)
    (whole,) = written(pytester)["runs"]
    assert f"_{whole['run']}_" in (pytester.path / "database").read_text()


def test_moved_test_is_reported_once(suite: Suite) -> None:
    """What auto isolation found out is there with its reason; the attempt before counts nothing."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        test_it="""
        import sqlalchemy as sa

        async def test_listens(db):
            await db.execute(sa.text("LISTEN news"))
        """
    )
    pytester.runpytest("--db-report=report.json").assert_outcomes(passed=1)
    report = written(pytester)
    assert outcomes(report) == {"listens": ("passed", "commit")}
    (moved,) = report["moved"]
    assert moved["test"] == "test_it.py::test_listens"
    assert "LISTEN" in moved["text"]


def test_shard_knows_the_whole_suite(suite: Suite) -> None:
    """Tests that another shard runs, or nobody, are counted, and are the same in every clone."""
    pytester = suite(mode="auto")
    pytester.makepyfile(test_it=EVERY_OUTCOME)
    suites = []
    for group in (1, 2):
        options = ["--splits=2", f"--group={group}", "-k", "not skipped"]
        pytester.runpytest(f"--db-report=deep/down/{group}.json", *options)
        report = written(pytester, f"deep/down/{group}.json")
        assert report["runs"][0]["shard"] == f"{group}/2"
        assert 0 < len(report["tests"]) < len(CAME_TO) - 1
        suites.append(report["runs"][0]["suite"])
    assert suites[0] == suites[1]
    assert suites[0]["tests"] == len(CAME_TO)


def test_paths_are_seen_from_the_root(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """From whatever folder of whatever clone the same tests are asked for, they are one suite."""
    pytester = suite(mode="auto")
    folder = pytester.mkdir("folder")
    (folder / "test_it.py").write_text("def test_one(): pass")
    pytester.runpytest("--db-report=1.json", "folder/test_it.py::test_one")
    monkeypatch.chdir(folder)
    pytester.runpytest("--db-report=../2.json", f"{folder}/test_it.py::test_one")
    suites = [written(pytester, name)["runs"][0]["suite"] for name in ("1.json", "2.json")]
    assert suites[0] == suites[1]
    assert suites[0]["paths"] == ["folder/test_it.py::test_one"]


def test_run_that_never_began(suite: Suite) -> None:
    """A report tells that there was nothing to run; one of an earlier run does not stay."""
    pytester = suite(mode="auto")
    pytester.makepyfile(test_it="def test_one(): pass")
    pytester.runpytest("--db-report=report.json")
    pytester.runpytest("--db-report=report.json", "not-there.py")
    report = written(pytester)
    assert report["tests"] == []
    assert (report["runs"][0]["suite"], report["runs"][0]["exit_code"]) == (None, 4)


@pytest.mark.slow
def test_test_whose_worker_crashed(suite: Suite) -> None:
    """It is there once, as failed, and so are those that another worker has taken over."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        test_it="""
        import os
        import pytest

        async def test_crash(db):
            os._exit(3)

        @pytest.mark.parametrize("n", range(3))
        def test_other(n):
            pass
        """
    )
    run(pytester, "-n", "1")
    report = written(pytester)
    assert len(report["tests"]) == 4
    assert outcomes(report)["crash"] == ("failed", None)
    assert outcomes(report)["other[2]"] == ("passed", None)
    assert report["runs"][0]["suite"]["tests"] == 4


def test_place_that_cannot_be_written(suite: Suite) -> None:
    """The run does not begin, or what it came to would be lost at its end."""
    pytester = suite(mode="auto")
    pytester.makepyfile(test_it="def test_one(): pass")
    pytester.mkdir("folder")
    for place in ("models.py/report.json", "folder"):
        result = pytester.runpytest(f"--db-report={place}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*--db-report=*{place} cannot be written: *"])


SENDS = """
    import pytest
    import sqlalchemy as sa
    from models import Item

    @pytest.fixture(scope="module")
    async def wider(db_layer):
        async with db_layer() as session:
            session.add(Item(name="wider"))
            yield

    async def test_sends(db, wider):
        db.add(Item(name="<b>bold</b>"))
        await db.commit()
        for number in range(5):
            await db.execute(sa.select(Item).where(Item.id == number))

    async def test_sends_nothing(db):
        pass
"""


@pytest.mark.parametrize("isolation", ["rollback", "commit", "database"])
def test_statements(suite: Suite, isolation: str) -> None:
    """What a test has sent is there by line, with its tables; what wider fixtures have is not."""
    pytester = suite(mode="auto")
    pytester.makepyfile(test_it=SENDS)
    options = ("--db-report=report.json", f"--db-isolation={isolation}")
    pytester.runpytest(*options).assert_outcomes(passed=2)
    report = written(pytester)
    sends, nothing = sorted(report["tests"], key=lambda each: each["test"])
    sent = [
        (each["times"], each["line"], report["queries"][each["query"]])
        for each in sends["statements"]
    ]
    (once, insert, inserted), (often, select, selected) = sent
    assert (once, often) == (1, 5)
    assert inserted["sql"].startswith("INSERT INTO item")
    assert selected["sql"].startswith("SELECT item.id")
    assert inserted["tables"] == selected["tables"] == ["item"]
    assert [insert, select] == ["test_it.py:13", "test_it.py:15"]
    assert nothing["statements"] == []
    assert 0 < sends["isolation_seconds"] < sends["seconds"]


def test_page(suite: Suite) -> None:
    """A run writes a page, which loads nothing, and tells what it comes to in ten lines."""
    pytester = suite(mode="auto")
    pytester.makepyfile(test_it=SENDS)
    result = pytester.runpytest("--db-report=report.html")
    page = (pytester.path / "report.html").read_text()
    for told in ("test_it.py:15", "SELECT item.id", "test_sends_nothing", "Idle between"):
        assert told in page
    assert "http" not in page.replace("http-equiv", "")
    result.stdout.fnmatch_lines(
        [
            "*db-testing report*",
            "1 run, 2 tests: 2 passed",
            "database: 6 statements, *",
            "statements repeated by one line: in 1 test; 5 times at test_it.py:15 in *test_sends",
        ]
    )


def test_report_without_what_it_needs(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run does not begin, and the one error has the command that installs it."""
    pytester = suite(mode="auto")
    pytester.makepyfile(test_it="def test_one(): pass")
    monkeypatch.setattr("db_testing._report._page.NEEDED", ("jinja2", "not_there"))
    result = pytester.runpytest("--db-report=report.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*report.html: reports need not_there, *: pip install 'db-testing?report?'"]
    )


def test_no_report_calls_nothing(suite: Suite) -> None:
    """Without a report no hook is registered, and the drivers' methods are their own."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        test_it="""
        from db_testing._isolation import _listening

        async def test_one(db, request):
            assert not _listening._replaced
            assert not request.config.pluginmanager.has_plugin("db_testing_measurement")

        """
    )
    pytester.runpytest().assert_outcomes(passed=1)
    pytester.runpytest("--db-report=report.json").assert_outcomes(failed=1)


@pytest.mark.parametrize(("failing", "code"), [("pass", 1), ("pytest.exit(returncode=3)", 3)])
def test_report_that_cannot_be_written(suite: Suite, failing: str, code: int) -> None:
    """What the tests came to is said all the same; the run has failed, if it had not."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        test_it=f"""
        import pytest
        import shutil

        def test_removes():
            shutil.rmtree("out")

        def test_other():
            {failing}
        """
    )
    result = pytester.runpytest("--db-report=out/report.html", "-v")
    assert result.ret == code
    result.stdout.fnmatch_lines(["*test_removes PASSED*"])
    if code == 1:  # else pytest prints no summary
        result.stdout.fnmatch_lines(
            ["the report could not be written: *out/report.html*", "*2 passed*"]
        )


@pytest.mark.parametrize("name", ["report.html", "report.json"])
def test_text_that_is_not_unicode(suite: Suite, name: str) -> None:
    """A statement with a lone surrogate, and a folder whose name is not UTF-8, are reported."""
    pytester = suite(mode="auto")
    folder = pytester.path / "caf\udce9"
    folder.mkdir()
    (folder / "test_it.py").write_text(
        """
import pytest

def test_refused(db_sync_engine):
    with db_sync_engine.connect() as connection, pytest.raises(UnicodeEncodeError):
        connection.exec_driver_sql("SELECT '\\udc80' FROM somewhere")
"""
    )
    result = pytester.runpytest(f"--db-report={name}", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert "somewhere" in (pytester.path / name).read_text()


@pytest.mark.parametrize("option", ["--collect-only", "--help", "--version", "--fixtures"])
def test_run_without_tests_leaves_the_last_report(suite: Suite, option: str) -> None:
    """What only shows something is no run, and comes to nothing that could be reported."""
    pytester = suite(mode="auto", more="addopts = --db-report=report.json")
    pytester.makepyfile(test_it="def test_one(): pass")
    pytester.runpytest()
    before = (pytester.path / "report.json").read_text()
    pytester.runpytest(option)
    assert (pytester.path / "report.json").read_text() == before


def test_report_by_a_link(suite: Suite) -> None:
    """A link stays one, and what it leads to is written; so does a device such as /dev/stdout."""
    pytester = suite(mode="auto")
    pytester.makepyfile(test_it="def test_one(): pass")
    link = pytester.path / "report.json"
    link.symlink_to("real.json")
    pytester.runpytest("--db-report=report.json").assert_outcomes(passed=1)
    assert link.is_symlink()
    assert len(written(pytester, "real.json")["tests"]) == 1
