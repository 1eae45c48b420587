"""What is read from a statement's text before it runs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from db_testing._statements import _setting_statements, _statements
from db_testing._statements._setting_statements import Many, made_by
from db_testing._statements._statements import Control


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SAVEPOINT a", Control("savepoint", "a")),
        ("savepoint SA_1;", Control("savepoint", "sa_1")),
        ('SAVEPOINT "Quoted ""name"""', Control("savepoint", 'Quoted "name"')),
        ("/* hi */ -- there\n savepoint a", Control("savepoint", "a")),
        ("SAVEPOINT a /* trace=1 */", Control("savepoint", "a")),
        ("SAVEPOINT a -- last words", Control("savepoint", "a")),
        ("RELEASE a", Control("release", "a")),
        ("release savepoint a", Control("release", "a")),
        ("ROLLBACK TO a", Control("rollback_to", "a")),
        ("rollback work to savepoint A", Control("rollback_to", "a")),
        ("ROLLBACK TRANSACTION TO SAVEPOINT a", Control("rollback_to", "a")),
        ("BEGIN", Control("boundary", "BEGIN")),
        ("begin isolation level serializable", Control("boundary", "BEGIN ISOLATION")),
        ("START TRANSACTION", Control("boundary", "START TRANSACTION")),
        (";; commit", Control("boundary", "COMMIT")),
        ("COMMIT AND CHAIN", Control("boundary", "COMMIT AND")),
        ("end", Control("boundary", "END")),
        ("Rollback;", Control("boundary", "ROLLBACK")),
        ("ABORT", Control("boundary", "ABORT")),
        ("PREPARE TRANSACTION 'x'", Control("boundary", "PREPARE TRANSACTION")),
        ("COMMIT PREPARED 'x'", Control("boundary", "COMMIT PREPARED")),
        ("/* a /* nested */ comment */ COMMIT", Control("boundary", "COMMIT")),
        ("INSERT INTO t VALUES (1); COMMIT; BEGIN", Control("boundary", "COMMIT")),
        ("SELECT ';'; commit", Control("boundary", "COMMIT")),
        ("SAVEPOINT a; SELECT 1", Control("script", "a")),
        ("SELECT 'COMMIT'", None),
        ("SELECT $$;COMMIT;$$", None),
        ("SELECT $tag$;COMMIT;$tag$", None),
        ("SELECT E'\\';COMMIT;'", None),
        ('SELECT ";COMMIT"', None),
        ("SELECT 1; -- COMMIT", None),
        ("SELECT 1 /* ; COMMIT", None),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", None),
        ("commits", None),
        ("PREPARE p AS SELECT 1", None),
        ("", None),
    ],
)
def test_control(sql: str, expected: Control | None) -> None:
    """Transaction control is recognised wherever it stands, and nothing else is taken for it."""
    assert _statements.control(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "  -- a comment\nselect 1",
        "/* a /* nested */ comment */ SELECT 1",
        "(SELECT 1) UNION (SELECT 2)",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "VALUES (1)",
        "TABLE author",
        "SHOW search_path",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "FETCH 10 FROM c",
        "SELECT updated_at, deleted FROM t",
        "SELECT 'insert into' || $$delete$$ -- update",
        "SELECT harmless(1)",
        "SELECT 1; (SELECT 2); ",
        ";",
        "",
    ],
)
def test_a_statement_that_reads(sql: str) -> None:
    """What can be shown to change nothing takes no turn."""
    assert _statements.reads_only(sql, _statements.routine_calls(["writes", "my func"]))


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "WITH new AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM new",
        "with gone as (delete from t returning *) select * from gone",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED",
        "SELECT * FROM t FOR SHARE",
        "SELECT 1 INTO t",
        "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
        "EXPLAIN ANALYZE EXECUTE p",
        "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
        "EXPLAIN ANALYZE REFRESH MATERIALIZED VIEW v",
        "SELECT 1; TRUNCATE t",
        "SELECT 1; DO $$ BEGIN END $$",
        "SELECT 1; SET work_mem = '1MB'; SELECT 2",
        "SELECT set_config('a.b', '1', false)",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SELECT pg_notify('c', '')",
        "SELECT lo_create(1)",
        "SELECT lowrite(0, '')",
        "SELECT dblink_exec('...')",
        "SELECT writes(1)",
        "SELECT public.WRITES (1)",
        'SELECT "my func"(1)',
        "SELECT writes /* so it does */ (1)",
        "SELECT 'a'; INSERT INTO t VALUES (1)",
        "SET work_mem = '1MB'",
        "CREATE TABLE t ()",
        "DO $$ BEGIN END $$",
        "DECLARE c CURSOR FOR SELECT 1",
        "EXECUTE p",
        "COPY",
    ],
)
def test_a_statement_that_may_write(sql: str) -> None:
    """What may change rows, locks or settings counts as a write."""
    assert not _statements.reads_only(sql, _statements.routine_calls(["writes", "my func"]))


def test_no_routine_may_write() -> None:
    """Without routines there is no pattern, and calls are harmless."""
    assert _statements.routine_calls([]) is None
    assert _statements.reads_only("SELECT anything(1)", None)


def test_any_call() -> None:
    """When it is not known which functions write, any call may."""
    assert not _statements.reads_only("SELECT f(1)", _statements.ANY_CALL)
    assert _statements.reads_only("SELECT 1, (2)", _statements.ANY_CALL)


@pytest.mark.parametrize(
    ("sql", "refused"),
    [
        ("LISTEN channel", True),
        ("/* hi */ listen channel", True),
        ("SELECT 'LISTEN'", False),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", True),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED", False),
        ("SET default_transaction_isolation = 'repeatable read'", True),
        ("set default_transaction_isolation to 'read committed';", False),
        ("SET default_transaction_read_only = on", True),
        ("SET default_transaction_read_only = off", False),
        ("SHOW default_transaction_isolation", False),
        ("UNLISTEN *", False),
    ],
)
def test_refusal(sql: str, *, refused: bool) -> None:
    """What an outer transaction cannot honour is refused, unless it asks for what is so anyway."""
    assert (_statements.refusal(sql) is not None) == refused


@pytest.mark.parametrize(
    ("sql", "args", "names"),
    [
        ("SET LOCAL work_mem = '1MB'", (), {"work_mem"}),
        ("set local App.Tenant to 1", (), {"app.tenant"}),
        ("SET LOCAL ROLE reader", (), {"role"}),
        ("SET LOCAL SESSION AUTHORIZATION reader", (), {"session_authorization"}),
        ("SET LOCAL TIME ZONE 'UTC'", (), {"timezone"}),
        ("SET LOCAL a.b = 1; SET LOCAL c.d = 2", (), {"a.b", "c.d"}),
        ("SET work_mem = '1MB'", (), set()),
        ("SET LOCAL transaction_read_only = on", (), set()),
        ("SELECT 'SET LOCAL work_mem'", (), set()),
        ("SELECT set_config('app.tenant', '1', true)", (), {"app.tenant"}),
        ("SELECT set_config('app.tenant', '1', false)", (), set()),
        ("SELECT set_config($1::VARCHAR, $2, $3::BOOLEAN)", ("a.b", "1", True), {"a.b"}),
        ("SELECT set_config($1, $2, $3)", ("a.b", "1", False), set()),
        ("SELECT set_config($1, $2, $3)", (), set()),
        ("SELECT set_config('a.b', concat('x,y)', f(1, 2)), 't')", (), {"a.b"}),
        ("SELECT set_config(CAST($1 AS text), $2, CAST('t' AS bool))", ("a.b", "1"), {"a.b"}),
        ("SELECT set_config($$a.b$$, $x$1$x$, true), set_config('c', '', true)", (), {"a.b", "c"}),
        ("SELECT set_config($1, $2, true)", Many([("a.b", "1"), ("c.d", "2")]), {"a.b", "c.d"}),
        ("SELECT set_config($1, $2, true)", (None, "1"), set()),
        ("DO $x$ BEGIN PERFORM set_config('a.b', '1', true); END $x$", (), {"a.b"}),
        (
            "DO $x$ BEGIN END $x$; SET LOCAL a.b = 1; DO 'BEGIN SET LOCAL c = 1; END'",
            (),
            {"a.b", "c"},
        ),
        ("SELECT pg_catalog.set_config(/* x, y */ 'a.b', $1, true -- local\n)", ("1",), {"a.b"}),
        ("SELECT set_config('a.b', 'a=>b', true)", (), {"a.b"}),
        ("SELECT set_config('a.b', ARRAY['x', 'y']::text, true)", (), {"a.b"}),
        ("SELECT set_config(E'a.b', '', (true))", (), {"a.b"}),
        ('SELECT set_config($1::varchar(50), $2, $3::"bool")', ("a.b", "1", True), {"a.b"}),
        (
            "SELECT set_config(new_value => '', is_local => true, setting_name => 'a.b')",
            (),
            {"a.b"},
        ),
        ("SELECT set_config(", (), set()),
        ("SELECT set_config(/* a /* b */ , */ 'a.b', '1', true)", (), {"a.b"}),
        ("/* a /* b */ set_config('c', '1', true) */ SELECT set_config", (), set()),
        ("SELECT \"pg_catalog\" . \"set_config\"('a.b', '1', true)", (), {"a.b"}),
        ("SELECT \"pg_catalog\".set_config('a.b', '1', true)", (), {"a.b"}),
        ("SELECT app.\"set_config\"('a.b', '1', true)", (), set()),
        ("SELECT \"app\".set_config('a.b', '1', true)", (), set()),
        ("DO LANGUAGE plpgsql E'BEGIN\\nSET LOCAL a.b TO \\'1\\'; END'", (), {"a.b"}),
        ("DO $x$ BEGIN EXECUTE E'SELECT set_config(''a'', ''1'', true)'; END $x$", (), {"a"}),
        ("/* don't */ DO/**/$x$ BEGIN SET LOCAL a.b = 1; END $x$", (), {"a.b"}),
        ("DO $$ BEGIN END $$; INSERT INTO t VALUES ('SET LOCAL a.b = 1')", (), set()),
        ("SELECT 'SET LOCAL a.b = 1'; DO $$ BEGIN SET LOCAL c = 1; END $$", (), {"c"}),
        ("DO $$ BEGIN END $$ /* 'SET LOCAL a.b = 1' */", (), set()),
        ("SELECT 1", (), set()),
    ],
)
def test_local_settings(sql: str, args: tuple[Any, ...], names: set[str]) -> None:
    """Settings that end with their transaction are found, also where they are arguments."""
    assert made_by(sql, args).local == names


@pytest.mark.parametrize(
    ("sql", "args", "untold"),
    [
        ("SELECT set_config('app.' || $1, $2, true)", ("a", "1"), True),
        ("SELECT set_config(k, v, true) FROM jsonb_each_text($1) AS e(k, v)", ("{}",), True),
        ("SELECT set_config('a.b', $1, 1 = 1)", ("1",), True),
        ("SELECT set_config(new_value => '', is_local => true, setting_name => x)", (), True),
        ("DO $x$ BEGIN EXECUTE 'SELECT 1'; PERFORM set_config(x, '1', true); END $x$", (), True),
        ("SELECT set_config('app.' || $1, $2, false)", ("a", "1"), False),
        ("SELECT 'set_config(x, y, true)', $$set_config(x, y, true)$$", (), False),
        ("/* set_config(x, y, true) */ SELECT 1 -- set_config(x, y, true)", (), False),
        ("CREATE FUNCTION f() RETURNS void AS 'SELECT set_config(x, y, true)'", (), False),
        ("SELECT set_config($1, $2, $3)", (), False),
        ("SELECT app.set_config(x, y, z), set_config(x, y)", (), False),
        ("REVOKE ALL ON FUNCTION set_config(text, text, boolean) FROM PUBLIC", (), False),
    ],
)
def test_untold_settings(sql: str, args: tuple[Any, ...], *, untold: bool) -> None:
    """Where the text does not say what is set until a transaction ends, that is known."""
    assert made_by(sql, args).untold == untold


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SET work_mem = '1MB'", {"work_mem"}),
        ("SET SESSION AUTHORIZATION reader", {"session_authorization"}),
        ("SET SESSION work_mem = '1MB'; RESET a.b", {"work_mem", "a.b"}),
        ("RESET ALL", {"all"}),
        ("RESET TIME ZONE", {"timezone"}),
    ],
)
def test_lasting_settings(sql: str, names: set[str]) -> None:
    """Settings that outlive their transaction are found."""
    assert made_by(sql).lasting == names


def test_a_text_is_searched_for_settings_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a statement sets is remembered; only the arguments of its calls are looked at anew."""
    lasts, calls = "SET LOCAL only.here = 1", "SELECT set_config($1, 'only here', true)"
    assert made_by(lasts).local == {"only.here"}
    assert made_by(calls, ("a.b",)).local == {"a.b"}
    monkeypatch.delattr(_setting_statements, "skeleton_of")
    monkeypatch.delattr(_setting_statements, "_arguments")
    assert made_by(lasts).local == {"only.here"}
    assert made_by(calls, ("c.d",)).local == {"c.d"}


@pytest.mark.parametrize(
    ("sql", "changes"),
    [
        ("CREATE TABLE t ()", True),
        ("alter table t add a int", True),
        ("DO $$ ... $$", True),
        ("SET search_path = a", True),
        ("SELECT created_at FROM t", False),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", False),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO\nUPDATE SET b = 1", False),
    ],
)
def test_changes_schema(sql: str, *, changes: bool) -> None:
    """What may change the meaning of names is noticed."""
    assert _statements.changes_schema(sql) == changes


@pytest.mark.parametrize(
    ("sql", "defines"),
    [
        ("CREATE OR REPLACE FUNCTION f() ...", True),
        ("DO $$ BEGIN EXECUTE 'create procedure p() ...'; END $$", True),
        ("CREATE TABLE t ()", False),
    ],
)
def test_defines_routine(sql: str, *, defines: bool) -> None:
    """A new routine is noticed, also in a string that is going to be executed."""
    assert _statements.defines_routine(sql) == defines


def test_sets_isolation() -> None:
    """SET TRANSACTION is told from other settings."""
    assert _statements.sets_isolation("set transaction isolation level serializable")
    assert not _statements.sets_isolation("SET work_mem = 1")


def test_names_of_routines_are_taken_literally() -> None:
    """A name with characters that mean something in a pattern means itself."""
    pattern = _statements.routine_calls(["a.b"])
    assert isinstance(pattern, re.Pattern)
    assert pattern.search("axb(") is None
    assert pattern.search('"a.b"(') is not None
