"""The isolation `auto`: a test that cannot be rolled back is run again, and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db_testing._plugin import _markers
from db_testing.errors import SetupError

if TYPE_CHECKING:
    from .conftest import Suite

MOVED = 5


@pytest.mark.parametrize(
    "distribution",
    [
        pytest.param((), id="sequential"),
        pytest.param(("-n", "2", "--dist", "worksteal"), id="xdist", marks=pytest.mark.slow),
    ],
)
def test_moved_tests_pass_once(suite: Suite, distribution: tuple[str, ...]) -> None:
    """Only the last attempt is reported; a failure of the test's own is not run again."""
    pytester = suite("ladder", mode="auto", more="db_isolation = auto")
    result = pytester.runpytest_subprocess("-v", *distribution, timeout=120)
    result.assert_outcomes(passed=8, failed=2)
    moved = [line for line in result.outlines if "PASSED (commit isolation)" in line]
    assert len(moved) == MOVED
    result.stdout.fnmatch_lines(
        [
            f"db-testing: under commit*: {MOVED} tests ({MOVED} found out *--db-explain says why",
        ]
    )
    # The second time they begin there, and nothing is run twice.
    again = pytester.runpytest_subprocess("--db-explain", *distribution, timeout=120)
    again.assert_outcomes(passed=8, failed=2)
    again.stdout.fnmatch_lines(
        [
            f"db-testing: under commit isolation*: {MOVED} tests (0 found out in this run)",
            "test_ladder.py::TestGroup::test_two_loops: *used the database from two event loops*",
            "test_ladder.py::test_serializable: *serializable*",
        ]
    )
    again.stdout.no_fnmatch_line("test_ladder.py::test_fits: *")


def test_first_failure_does_not_stop_the_run(suite: Suite) -> None:
    """With -x an attempt that is not reported is no failure, and junit's file has one result."""
    pytester = suite("ladder", mode="auto", more="db_isolation = auto")
    result = pytester.runpytest(
        "-x", "--junitxml=report.xml", "-p", "no:randomly", "-k", "serializable or swallowed"
    )
    result.assert_outcomes(passed=2, deselected=8)
    report = (pytester.path / "report.xml").read_text()
    assert report.count('name="test_serializable"') == 1
    assert 'failures="0"' in report


def test_changed_test_is_tried_again(suite: Suite) -> None:
    """What was remembered of a test holds for its source; and nothing without a cache."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    source = """
        from sqlalchemy import text

        async def test_change(db):
            with open("attempts", "a") as file:
                file.write("x")
            await db.execute(text("{statement}"))
    """
    pytester.makepyfile(test_it=source.format(statement="LISTEN news"))
    pytester.runpytest("-p", "no:cacheprovider").stdout.fnmatch_lines(["*1 found out in this run*"])
    attempts = pytester.path / "attempts"
    for found, needed in ((1, 2), (0, 1)):
        attempts.write_text("")
        result = pytester.runpytest()
        result.assert_outcomes(passed=1)
        assert len(attempts.read_text()) == needed
        result.stdout.fnmatch_lines([f"*: 1 test ({found} found out in this run)*"])
    pytester.makepyfile(test_it=source.format(statement="SELECT 1 -- other"))
    for _ in range(2):
        result = pytester.runpytest()
        result.assert_outcomes(passed=1)
        result.stdout.no_fnmatch_line("*found out in this run*")


def test_changed_doctest_is_tried_again(suite: Suite) -> None:
    """What was remembered of a test that is no function holds for its file."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    for number, statement in enumerate(("LISTEN news", "SELECT 1")):
        pytester.makepyfile(
            helper=f"""
            def execute(session):
                '''Send a statement.

                >>> execute(getfixture("db_sync"))
                '''
                from sqlalchemy import text

                session.execute(text("{statement}"))
            """
        )
        result = pytester.runpytest("-v", "--doctest-modules")
        result.assert_outcomes(passed=1)
        assert ("(commit isolation)" in result.stdout.str()) is (number == 0)


def test_schema_that_depends_on_transaction_identity(suite: Suite) -> None:
    """Tests of such a schema begin under commit isolation, once it is known."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makeconftest(
        """
        import pytest
        from models import Base
        from sqlalchemy import DDL, event
        from db_testing import Schema

        event.listen(Base.metadata, "after_create", DDL(
            "CREATE FUNCTION mine() RETURNS xid LANGUAGE sql AS 'SELECT xmin FROM item LIMIT 1'"
        ))

        @pytest.fixture(scope="session")
        def db_schema():
            return Schema.from_metadata(Base.metadata)
        """
    )
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import text

        @pytest.mark.parametrize("time", range(3))
        async def test_row(db, time):
            db.add(Item(name="a"))
            await db.flush()
            own = text("SELECT xmin = pg_current_xact_id()::xid FROM item")
            assert await db.scalar(own)
        """
    )
    result = pytester.runpytest("-p", "no:randomly", "--db-explain")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        ["*test_row[[]1]: the schema depends on transaction identity (function mine())"]
    )


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest 8 has no subtests")
def test_subtests_of_the_attempt_that_counts(suite: Suite) -> None:
    """Of a test that is moved only the last attempt's are reported; no other's are lost."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        from sqlalchemy import text

        async def test_moved(db, subtests):
            with subtests.test("refused"):
                await db.execute(text("LISTEN news"))
            with subtests.test("passes"):
                await db.execute(text("SELECT 1"))

        async def test_fails_by_itself(db, subtests):
            with subtests.test("fails"):
                assert await db.scalar(text("SELECT 1")) == 2
            with subtests.test("passes"):
                assert await db.scalar(text("SELECT 1")) == 1
        """
    )
    result = pytester.runpytest("-vv", "-p", "no:randomly")
    # Each test with a subtest that has failed fails as well.
    assert result.parseoutcomes() == {"passed": 1, "failed": 2, "subtests": 3}
    result.stdout.fnmatch_lines(["*test_moved PASSED (commit isolation)*"])


def test_output_of_the_attempt_that_counts(suite: Suite) -> None:
    """What a test prints and records for its report before it is moved is not said twice."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        from sqlalchemy import text

        async def test_moved(db, record_property):
            record_property("attempts", 1)
            print("out" + "put")
            await db.execute(text("LISTEN news"))
            raise LookupError
        """
    )
    result = pytester.runpytest("--junitxml=report.xml", "-o", "junit_family=xunit1")
    result.assert_outcomes(failed=1)
    assert result.outlines.count("output") == 1
    assert (pytester.path / "report.xml").read_text().count('name="attempts"') == 1


def test_markers_are_written(suite: Suite) -> None:
    """`--db-explain=apply` marks the tests; then `auto` has nothing to find out."""
    pytester = suite("ladder", mode="auto", more="db_isolation = auto")
    pytester.runpytest_subprocess("--db-explain=apply", timeout=120)
    result = pytester.runpytest_subprocess("--db-explain=apply", timeout=120)
    result.assert_outcomes(passed=8, failed=2)
    result.stdout.no_fnmatch_line("*found out in this run*")
    source = (pytester.path / "test_ladder.py").read_text()
    assert source.count('@pytest.mark.db(isolation="commit")\n') == MOVED


def test_markers_of_tests_whose_names_say_more(suite: Suite) -> None:
    """Parameters may hold anything, and xdist adds the group of a test."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("host", ["::1"])
        async def test_parameter(db, host):
            await db.execute(text("LISTEN news"))

        @pytest.mark.xdist_group("listeners")
        async def test_group(db):
            await db.execute(text("LISTEN news"))
        """
    )
    result = pytester.runpytest_subprocess(
        "-n1", "--dist=loadgroup", "--db-explain=apply", timeout=120
    )
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*not marked*")
    [module] = pytester.path.glob("test_*.py")
    assert module.read_text().count('@pytest.mark.db(isolation="commit")\n') == 2


def test_markers_of_parameters_hold(suite: Suite) -> None:
    """Beside a marker for the function, which others of its parameters needed, too."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    path = pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text

        PRIVATE = pytest.mark.db(isolation="database")
        CLONES = "SELECT count(*) FROM pg_database WHERE datname LIKE 'dbt_' || :own || '%own'"

        @pytest.mark.parametrize("private", [False, pytest.param(True, marks=PRIVATE)])
        async def test_it(db, private, request):
            await db.execute(text("LISTEN news"))
            own = {"own": request.config.rootpath.name[:12]}
            assert await db.scalar(text(CLONES), own) == private
        """
    )
    for _ in range(2):
        result = pytester.runpytest("--db-explain=apply")
        result.assert_outcomes(passed=2)
        assert path.read_text().count('@pytest.mark.db(isolation="commit")') == 1


def test_nearest_marker_holds(suite: Suite) -> None:
    """Of parameters' markers the innermost, unless a hook has put one before all of them."""
    pytester = suite(mode="auto")
    conftest = (pytester.path / "conftest.py").read_text()
    pytester.makeconftest(
        f"""{conftest}
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        if item.originalname == "test_hook":
            item.add_marker(pytest.mark.db(isolation="commit"), append=False)
"""
    )
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text

        def marked(isolation):
            return pytest.param(isolation, marks=pytest.mark.db(isolation=isolation))

        @pytest.mark.parametrize("outer", [marked("commit")])
        class TestIt:
            @pytest.mark.parametrize("inner", [marked("rollback")])
            async def test_parameters(self, db, inner, outer):
                with pytest.raises(Exception, match="LISTEN"):
                    await db.execute(text("LISTEN news"))

            @pytest.mark.db(isolation="rollback")
            @pytest.mark.parametrize("inner", [marked("rollback")])
            async def test_hook(self, db, inner, outer):
                await db.execute(text("LISTEN news"))
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_markers_that_cannot_be_written(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said beside what else the run has to say, and its report is written."""

    def lack() -> None:
        message = "no libcst"
        raise SetupError(message)

    monkeypatch.setattr(_markers, "_require_libcst", lack)
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        from sqlalchemy import text

        async def test_listens(db):
            await db.execute(text("LISTEN news"))

        def test_fails():
            assert 1 == 2
        """
    )
    options = ("--db-explain=apply", "--cache-clear")
    result = pytester.runpytest(*options, "--db-report=report.json")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*= FAILURES =*", "db-testing: not marked: no libcst"])
    assert (pytester.path / "report.json").exists()
    result = pytester.runpytest(*options, "-k", "listens")
    result.assert_outcomes(passed=1, deselected=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_moved_test_that_should_fail(suite: Suite) -> None:
    """Under the isolation that it needed it passes, which is as unexpected as anywhere else."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.xfail
        async def test_listens(db):
            await db.execute(text("LISTEN news"))
        """
    )
    pytester.runpytest().assert_outcomes(xpassed=1)
    pytester.runpytest().assert_outcomes(xpassed=1)


def test_reruns_of_another_plugin(suite: Suite) -> None:
    """What pytest-rerunfailures would run again has been tried in both isolations."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        from sqlalchemy import text

        async def test_listens(db):
            await db.execute(text("LISTEN news"))
        """
    )
    result = pytester.runpytest_subprocess("--reruns", "2", timeout=120)
    result.assert_outcomes(passed=1)
    result.stdout.no_re_match_line(r".*\d rerun")


def test_reruns_of_failures_of_its_own(suite: Suite) -> None:
    """pytest-rerunfailures runs again what fails by itself, as often as asked, wherever it runs."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        from collections import Counter
        from sqlalchemy import text

        RUNS = Counter()

        async def test_fails_once(db):
            RUNS["rollback"] += 1
            await db.execute(text("INSERT INTO item (name) VALUES ('a')"))
            await db.commit()
            assert RUNS["rollback"] == 2

        async def test_fails_once_where_it_is_moved(db):
            RUNS["commit"] += 1
            await db.execute(text("LISTEN news"))
            assert (await db.execute(text("SELECT count(*) FROM item"))).scalar_one() == 0
            assert RUNS["commit"] == 3

        async def test_fails_always(db):
            with open("attempts", "a") as file:
                file.write("x")
            await db.execute(text("SELECT 1"))
            raise ValueError

        async def test_is_not_to_be_run_again(db):
            await db.execute(text("SELECT 1"))
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly", "--reruns", "2", timeout=120)
    assert result.parseoutcomes() == {"passed": 3, "failed": 1, "rerun": 4}
    assert (pytester.path / "attempts").read_text() == "xxx"
    result.stdout.fnmatch_lines(["*: 1 test (1 found out in this run)*"])


INCREMENTAL = """

import pytest

def pytest_runtest_makereport(item, call):
    if call.excinfo is not None:
        item.parent._previousfailed = item

def pytest_runtest_setup(item):
    previous = getattr(item.parent, "_previousfailed", None)
    if previous is not None:
        pytest.xfail(f"previous test failed ({previous.name})")
"""
"""What pytest's documentation calls incremental testing, for every class and module."""


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param('await db.execute(text("LISTEN news"))', id="raised"),
        pytest.param('assert await status(db, "LISTEN news") == 200', id="answered"),
    ],
)
def test_hooks_do_not_see_the_attempt_that_is_not_reported(suite: Suite, statement: str) -> None:
    """A conftest that lets tests fail after one that has failed hears of what is reported only."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    with (pytester.path / "conftest.py").open("a") as conftest:
        conftest.write(INCREMENTAL)
    pytester.makepyfile(
        f"""
        from sqlalchemy import text

        async def status(db, statement):
            try:
                await db.execute(text(statement))
            except Exception:
                return 500
            return 200

        class TestSteps:
            async def test_listens(self, db):
                {statement}

            async def test_passes(self, db):
                await db.execute(text("SELECT 1"))

            async def test_fails(self, db):
                assert await db.scalar(text("SELECT 1")) == 2

            async def test_is_not_to_be_run(self, db):
                raise LookupError
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=2, failed=1, xfailed=1)


def test_conftests_of_other_folders_hear_of_nothing(suite: Suite) -> None:
    """Neither of the attempt that is not reported nor of the one that is."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    for name in ("one", "other"):
        folder = pytester.mkdir(name)
        (folder / "conftest.py").write_text(
            "import pathlib\n"
            "def pytest_runtest_makereport(item, call):\n"
            "    assert pathlib.Path(__file__).parent in item.path.parents\n"
        )
        (folder / f"test_{name}.py").write_text(
            "from sqlalchemy import text\n"
            "async def test_listens(db):\n"
            "    await db.execute(text('LISTEN news'))\n"
        )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=2)


def test_reports_that_a_plugin_makes_known_itself(suite: Suite) -> None:
    """They are reported as they were then, as pytest-retry does before it tries again."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        conftest=(pytester.path / "conftest.py").read_text()
        + """

import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed:
        item.ihook.pytest_runtest_logreport(report=report)
        report.outcome = "passed"
    return report
""",
        test_it="""
        from sqlalchemy import text

        async def test_fails_at_first(db):
            await db.execute(text("SELECT 1"))
            raise LookupError
        """,
    )
    pytester.runpytest().assert_outcomes(passed=1, failed=1)


def test_attempt_whose_fixture_is_refused(suite: Suite) -> None:
    """Plugins that keep what they hear of each phase, as pytest-rerunfailures, hear of all."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        import pytest_asyncio
        from sqlalchemy import text

        @pytest_asyncio.fixture
        async def listening(db):
            await db.execute(text("LISTEN news"))

        async def test_listens(listening, db):
            await db.execute(text("SELECT 1"))
        """
    )
    pytester.runpytest_subprocess("--reruns", "1", timeout=60).assert_outcomes(passed=1)


def test_debugger_is_not_entered_for_the_attempt_that_is_not_reported(suite: Suite) -> None:
    """With --pdb pytest stops in failures that it reports, and in no others."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    with (pytester.path / "conftest.py").open("a") as conftest:
        conftest.write(
            "\n\ndef pytest_exception_interact(node):\n    print(f'{node.name} is looked at')\n"
        )
    pytester.makepyfile(
        """
        from sqlalchemy import text

        async def test_listens(db):
            await db.execute(text("LISTEN news"))

        async def test_fails(db):
            assert await db.scalar(text("SELECT 1")) == 2
        """
    )
    result = pytester.runpytest("-p", "no:randomly", "-s")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*test_listens is looked at*")
    result.stdout.fnmatch_lines(["*test_fails is looked at*"])


def test_wider_fixtures_outlive_the_attempt_that_is_not_reported(suite: Suite) -> None:
    """They are built once and end when their last test has, whether or not it was moved."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        conftest=(pytester.path / "conftest.py").read_text()
        + """

import pytest

def note(what):
    with open("noted", "a") as file:
        file.write(what + " ")

def noted(name, scope):
    @pytest.fixture(scope=scope, name=name)
    def fixture():
        note(name)
        yield
        note("-" + name)
    return fixture

run, file, each = noted("run", "session"), noted("file", "module"), noted("each", "function")
""",
        test_a="""
        from sqlalchemy import text

        async def test_is_last_of_its_module(run, file, each, db):
            await db.execute(text("LISTEN news"))
        """,
        test_b="""
        from sqlalchemy import text

        async def test_stays(run, file, each, db):
            await db.execute(text("SELECT 1"))
        """,
        test_c="""
        from sqlalchemy import text

        async def test_is_last_of_the_run(run, file, each, db):
            await db.execute(text("LISTEN news"))
        """,
    )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=3)
    assert (pytester.path / "noted").read_text().split() == [
        *("run", "file", "each", "-each", "each", "-each", "-file"),
        *("file", "each", "-each", "-file"),
        *("file", "each", "-each", "each", "-each", "-file", "-run"),
    ]


def test_nothing_is_left_of_the_attempt_that_is_not_reported(suite: Suite) -> None:
    """What it was about to close or await is nobody's failure, and none of the test's leaks."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        import asyncio

        import pytest
        from sqlalchemy import text

        async def work():
            pass

        async def use(session):
            file, work_to_do = open(__file__), work()
            await session.execute(text("LISTEN news"))
            await work_to_do
            file.close()

        @pytest.fixture
        async def used(db):
            await use(db)

        async def test_is_refused(db):
            await use(db)

        async def test_whose_fixture_is_refused(used):
            pass

        async def test_is_refused_before_it_closes(db_sessionmaker):
            session = db_sessionmaker()
            await session.execute(text("LISTEN news"))
            await session.close()
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*left behind*")


def test_test_that_asks_as_it_runs(suite: Suite) -> None:
    """A test that takes the database by `getfixturevalue` is said to have moved as well."""
    pytester = suite(mode="auto", more="db_isolation = auto")
    pytester.makepyfile(
        """
        from sqlalchemy import text

        def test_it(request):
            request.getfixturevalue("db_sync").execute(text("LISTEN news"))
        """
    )
    result = pytester.runpytest("-v")
    result.stdout.fnmatch_lines(["*::test_it PASSED (commit isolation)*"])
