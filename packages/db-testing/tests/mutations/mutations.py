"""Break each invariant of the design in a copy of the source, and see a test fail.

As a program: run every mutation, or those whose number is given, and fail if one survives or no
longer applies; with `--table`, write `README.md`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]
SOURCE: Final = TESTS.parent / "src" / "db_testing"
README: Final = TESTS / "README.md"
BOUND: Final = 180.0
"""Seconds within which the named tests have failed or passed."""

TEST_BOUND: Final = 30
"""Seconds for one test: some mutations let it wait for ever."""

INTRODUCTION: Final = """\
# Tests of db-testing

`sandbox/` and `sandbox_sync/` test rollback isolation without pytest's machinery, `semantics/`
compares it with production row by row (and writes `docs/semantics.md`), `sweep/` tests commit
isolation on servers of its own, `schema/` and `server/` test what stands beneath, also for runs on
several machines, `plugin/` and `cli/` run small suites (`suites/`) as a user does, `page/` reads
the report's page in a browser. `versions/` runs them on other versions of PostgreSQL,
`distribution/` uses the wheel where nothing else is installed.

## Mutations

Each invariant of the design, and how to break it. `moon run db-testing:mutations` does so, one at a
time in a copy of the source, and fails when the named tests do not notice, or the source has moved.
This table is written by `uv run python packages/db-testing/tests/mutations/mutations.py --table`.

| invariant | what is broken | file | caught by |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Mutation:
    """One way of breaking an invariant."""

    invariant: int
    breaks: str
    file: str
    original: str
    replacement: str
    caught_by: str


MUTATIONS: Final = (
    Mutation(
        0,
        "a failure does not say that the schema depends on transaction identity",
        "_statements/_transaction_identity.py",
        "    if not found:",
        "    if found:",
        "plugin/test_transaction_identity.py",
    ),
    Mutation(
        0,
        "columns of rows' transactions are not found in expressions",
        "_statements/_transaction_identity.py",
        ":varattno -[24]",
        ":varattno -99",
        "sandbox/test_transaction_identity.py",
    ),
    Mutation(
        1,
        "nobody waits for a transaction that has written",
        "_sandbox/_turns.py",
        "                return other\n",
        "                return None\n",
        "sandbox/test_turns.py",
    ),
    Mutation(
        1,
        "a wait has no bound",
        "_sandbox/_turns.py",
        "(holder.ended, holder.task, patience)",
        "(holder.ended, holder.task, None)",
        "sandbox/test_turns.py::test_deadlock_names_both_sides",
    ),
    Mutation(
        1,
        "a rollback takes another transaction's committed rows with it",
        "_sandbox/_layers.py",
        '                    return f"{layer.foreign} has written"',
        "                    continue",
        "sandbox/test_turns.py",
    ),
    Mutation(
        1,
        "a transaction's error takes what another has committed above it",
        "_sandbox/_layers.py",
        "            and self.foreign is None\n",
        "",
        "sandbox/test_grounds.py",
    ),
    Mutation(
        2,
        "a commit checks no deferred constraint",
        "_sandbox/_transaction_end.py",
        "        if check is not None:",
        "        if check is None:",
        "sandbox/test_commit.py",
    ),
    Mutation(
        2,
        "constraints do not return to their initial modes",
        "_statements/_catalog.py",
        "SET CONSTRAINTS ALL IMMEDIATE;SET CONSTRAINTS ALL DEFERRED",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "sandbox/test_commit.py",
    ),
    Mutation(
        2,
        "a commit resets the modes that another transaction has set",
        "_sandbox/_transaction_end.py",
        "*_modes_besides(live, transaction)",
        "",
        "sandbox/test_commit.py",
    ),
    Mutation(
        2,
        "a commit keeps what ends with its transaction",
        "_sandbox/_transaction_end.py",
        "        if endings:",
        "        if not endings:",
        "sandbox/test_endings.py",
    ),
    Mutation(
        3,
        "another transaction builds on an aborted layer",
        "_sandbox/_wire.py",
        "            self.layers.aborted = True",
        "            self.layers.aborted = False",
        "sandbox/test_errors.py",
    ),
    Mutation(
        3,
        "a statement runs in a layer that is not its transaction's",
        "_sandbox/_layers.py",
        "            and self.frame is frame\n",
        "",
        "sandbox/test_errors.py",
    ),
    Mutation(
        4,
        "sequences keep their positions",
        "_statements/_catalog.py",
        "EXECUTE db_testing_reset;ROLLBACK;",
        "ROLLBACK;",
        "sandbox/test_reset.py::test_rows_and_ids",
    ),
    Mutation(
        4,
        "currval() is defined in the next test",
        "_statements/_catalog.py",
        "DISCARD SEQUENCES",
        "",
        "sandbox/test_reset.py::test_currval_and_lastval",
    ),
    Mutation(
        4,
        "advisory locks of the session stay",
        "_statements/_catalog.py",
        "pg_advisory_unlock_all()",
        "NULL",
        "sandbox/test_reset.py::test_advisory_locks",
    ),
    Mutation(
        4,
        "what a transaction set for itself stays after it",
        "_sandbox/_transaction_end.py",
        "        await wire.execute(_PUT_BACK",
        "        await wire.fetch(_PUT_BACK[:0] + 'SELECT $1::text[], $2::text[]'",
        "semantics/test_session.py",
    ),
    Mutation(
        5,
        "LISTEN is believed",
        "_statements/_statements.py",
        "    if any(map(_LISTEN.match, parts)):",
        "    if False:",
        "sandbox/test_refusals.py",
    ),
    Mutation(
        5,
        "COMMIT in raw SQL is no error",
        "_sandbox/_virtual.py",
        "        if control.kind in _steering.REFUSED:",
        '        if control.kind == "boundary":\n            return control.name\n'
        "        if control.kind in _steering.REFUSED:",
        "sandbox/test_refusals.py",
    ),
    Mutation(
        5,
        "isolation levels are believed",
        "_sandbox/_virtual.py",
        "        if isolation not in _LEVELS:",
        "        if False:",
        "sandbox/test_refusals.py::test_levels",
    ),
    Mutation(
        5,
        "SKIP LOCKED does not see who holds locks",
        "_sandbox/_inspection.py",
        "        if asks and",
        "        if False and",
        "semantics/test_concurrency.py",
    ),
    Mutation(
        6,
        "a commit that escaped is not noticed",
        "_sandbox/_wire.py",
        "not self.wire.is_in_transaction()",
        "False",
        "sandbox/test_refusals.py",
    ),
    Mutation(
        6,
        "a statement that outlives its test keeps its locks",
        "_sandbox/_wires.py",
        "        self._state.discarded.append(live.pid)",
        "        self._state.discarded.clear()",
        "sandbox/test_reset.py::test_a_statement_that_outlives_its_test",
    ),
    Mutation(
        6,
        "a statement that waited for its turn runs in the next test",
        "_sandbox/_sandbox.py",
        "            if epoch != self._epoch:\n                raise SandboxClosedError(",
        "            if epoch is None:\n                raise SandboxClosedError(",
        "sandbox/test_reset.py",
    ),
    Mutation(
        7,
        "one test may use two event loops",
        "_sandbox/_sandbox.py",
        "        if live.loop is not loop:",
        "        if live.loop is None:",
        "sandbox/test_loops.py::test_two_loops_in_one_test",
    ),
    Mutation(
        7,
        "a wire is not closed with its event loop",
        "_sandbox/_wires.py",
        "            await anext(live.guard)\n",
        "            live.guard = None\n",
        "sandbox/test_loops.py",
    ),
    Mutation(
        7,
        "tests are left on event loops of their own",
        "_plugin/_loops.py",
        '"loop_scope": "session"}',
        "}",
        "plugin/test_loops.py::test_nothing_configured",
    ),
    Mutation(
        4,
        "the sweep forgets sequences",
        "_isolation/sweep.sql",
        "            sequences := sequences || it.relation;",
        "            NULL;",
        "sweep/test_rows.py",
    ),
    Mutation(
        4,
        "the sweep believes that catalogs are as they were",
        "_isolation/sweep.sql",
        "        reason := 'the schema was changed (' || it.name || ')';\n        RETURN;",
        "        CONTINUE;",
        "sweep/test_rows.py",
    ),
    Mutation(
        4,
        "connections do not hand their counters in",
        "_isolation/_real.py",
        "SELECT pg_stat_force_next_flush();",
        "",
        "sweep/test_rows.py",
    ),
    Mutation(
        4,
        "connections of others are not seen by the sweep",
        "_isolation/_sweep.py",
        'if answer["others"]:',
        'if not answer["others"]:',
        "plugin/test_commit_isolation.py",
    ),
    Mutation(
        4,
        "an advisory lock that an idle connection keeps is not looked for",
        "_isolation/_sweep.py",
        " OR locks IS NOT NULL)",
        ")",
        "sweep/test_rows.py::test_advisory_lock_that_is_kept",
    ),
    Mutation(
        4,
        "advisory locks of wider fixtures are taken for a test's",
        "_isolation/_isolation.py",
        "            self._sweep.spare()\n",
        "",
        "plugin/test_commit_isolation.py::test_sweep_undoes_whatever_the_test_does",
    ),
    Mutation(
        4,
        "rows are put back with no path for the functions of constraints",
        "_isolation/sweep.sql",
        "    others bigint;\nBEGIN\n    PERFORM set_config(",
        "    others bigint;\nBEGIN\n    PERFORM concat(",
        "sweep/test_rows.py::test_sweep_restores",
    ),
    Mutation(
        4,
        "replication slots are not looked for",
        "_isolation/sweep.sql",
        "IF decoded THEN",
        "IF false THEN",
        "sweep/test_slots.py",
    ),
    Mutation(
        4,
        "replication slots of no database are not named",
        "_isolation/_sweep.py",
        "for name in slots}",
        "for name in ()}",
        "sweep/test_slots.py",
    ),
    Mutation(
        4,
        "the sweep believes that the server's own catalogs are as they were",
        "_isolation/sweep.sql",
        "            server := true;",
        "            NULL;",
        "sweep/test_rows.py",
    ),
    Mutation(
        4,
        "fixtures of a class end while the sweep goes on",
        "_plugin/_attempt.py",
        "        or run.following.parent is not test.parent\n",
        "",
        "plugin/test_commit_isolation.py",
    ),
    Mutation(
        4,
        "rows are not compared with those of before as they are put back",
        "_isolation/sweep.sql",
        "    IF others > 0 THEN",
        "    IF false THEN",
        "sweep/test_rows.py",
    ),
    Mutation(
        4,
        "transactions that have begun before the sweep are taken for the template's",
        "_isolation/sweep.sql",
        "ORDER BY age(open) DESC LIMIT 1",
        "ORDER BY age(open) LIMIT 1",
        "sweep/test_rows.py::test_transaction_that_is_older_than_the_sweep",
    ),
    Mutation(
        4,
        "what is written to a new database before the next test is taken for the template's",
        "_isolation/_isolation.py",
        "begin(alone_with=alone_with)",
        "begin()",
        "plugin/test_commit_isolation.py",
    ),
    Mutation(
        4,
        "storage that TRUNCATE has swapped is not looked at",
        "_isolation/sweep.sql",
        "        WHERE relation = ANY (swapped)\n",
        "        WHERE false\n",
        "sweep/test_rows.py",
    ),
    Mutation(
        4,
        "rows that are alike are told apart by their number only",
        "_isolation/sweep.sql",
        "    IF differing = 0 AND it.twice THEN",
        "    IF false THEN",
        "sweep/test_rows.py",
    ),
    Mutation(
        4,
        "what keys take along while rows are restored is not looked at",
        "_isolation/sweep.sql",
        "        EXIT WHEN replica OR settled",
        "        EXIT WHEN true OR settled",
        "sweep/test_rows.py",
    ),
    Mutation(
        1,
        "a cancellation stops the sandbox's own steps half-way",
        "_sandbox/_runtime.py",
        "        del msg\n        return False",
        "        return self._pending.cancel(msg)",
        "sandbox/test_cancellation.py",
    ),
    Mutation(
        4,
        "a test's own database is not dropped",
        "_template/_private.py",
        "background.start(lambda admin: admin.run(_removal.drop, admin, self._used))",
        "None",
        "plugin/test_database_isolation.py",
    ),
    Mutation(
        5,
        "a failure of a test's own moves it to commit isolation",
        "_plugin/_ladder.py",
        "    return next(iter(remarks), None) if failed else None",
        '    return next(iter(remarks), "") if failed else None',
        "plugin/test_ladder.py",
    ),
    Mutation(
        5,
        "what auto isolation has found out is not remembered",
        "_plugin/_ladder.py",
        "        elif not reason or digest != _digest(test):",
        "        elif True:",
        "plugin/test_ladder.py",
    ),
    Mutation(
        6,
        "tasks that a test has left are not looked for",
        "_isolation/_tasks.py",
        "        self._unchanged = self._running() <= self._before",
        "        self._unchanged = True",
        "plugin/test_leaks.py",
    ),
    Mutation(
        6,
        "databases of tests that pass are kept instead of those that fail",
        "_plugin/_worker.py",
        "if keep and test is not None",
        "if not keep and test is not None",
        "plugin/test_keep_failed.py",
    ),
    Mutation(
        6,
        "tests that fare differently under another isolation are not named",
        "_plugin/_outcomes.py",
        ".word != now.word",
        ".word == now.word",
        "plugin/test_outcomes.py",
    ),
    Mutation(
        4,
        "databases that somebody is connected to are reaped",
        "_template/_clones.py",
        "WHERE s.datid = d.oid AND s.usesysid IS NOT NULL",
        "WHERE s.datid = 0",
        "schema/test_template.py",
    ),
    Mutation(
        4,
        "a name is shared through two maintenance databases",
        "_template/_claims.py",
        "    if not held or not all(holders):",
        "    if not held:",
        "schema/test_template.py",
    ),
    Mutation(
        6,
        "a template is copied in the slowest way",
        "_template/_copies.py",
        "return min(took,",
        "return max(took,",
        "schema/test_copies.py",
    ),
    Mutation(
        6,
        "a clone is taken for its template's when somebody has been connected to it",
        "_isolation/_escapes.py",
        "return await self._sessions(connection) == len(ours)",
        "return True",
        "schema/test_original.py",
    ),
    Mutation(
        6,
        "it is not looked up which way of copying was the fastest",
        "_template/_uses.py",
        "return said if said in _copies.WAYS else None",
        "return None",
        "schema/test_copies.py",
    ),
    Mutation(
        5,
        "a lock that nobody holds is believed",
        "_template/_claims.py",
        "    if held and not any(holders):",
        "    if False:",
        "server/test_fitness.py",
    ),
    Mutation(
        5,
        "a connection that leads elsewhere is believed",
        "_server/_fitness.py",
        "    if there != name:",
        "    if False:",
        "server/test_fitness.py",
    ),
)


def table() -> str:
    """Write the README."""
    rows = (
        f"| {mutation.invariant} | {mutation.breaks} | `{mutation.file}` "
        f"| `{mutation.caught_by}` |\n"
        for mutation in MUTATIONS
    )
    return INTRODUCTION + "".join(rows)


def survivor(mutation: Mutation) -> str | None:
    """Run the named tests against a broken copy; say what is wrong if they do not fail."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, SOURCE.name)
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        text = (copy / mutation.file).read_text(encoding="utf-8")
        if text.count(mutation.original) != 1:
            return f"applies {text.count(mutation.original)} times"
        changed = text.replace(mutation.original, mutation.replacement)
        (copy / mutation.file).write_text(changed, encoding="utf-8")
        code, last = _run(folder, mutation.caught_by)
    # 1: tests were run, and failed. Anything else proves nothing.
    return None if code == 1 else f"survived ({code}): {last}"


def control() -> str | None:
    """Run all named tests against a copy that is whole; say what is wrong if they do not pass."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SOURCE, Path(folder, SOURCE.name))
        code, last = _run(folder, *sorted({mutation.caught_by for mutation in MUTATIONS}))
    return None if code == 0 else f"failed ({code}): {last}"


def _run(folder: str, *tests: str) -> tuple[int, str]:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *(str(TESTS / test) for test in tests)),
            *("--maxfail=1", "-q", "--tb=line", "-p", "no:cacheprovider"),
            *("-o", f"timeout={TEST_BOUND}"),
        ],
        # Before site-packages, where the package is installed from its own folder.
        env=os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=BOUND * len(tests),
        check=False,
    )
    lines = result.stdout.strip().splitlines() or [result.stderr]
    failed = [line for line in lines[:-1] if line.startswith(("FAILED", "ERROR"))]
    return result.returncode, "; ".join([lines[-1], *failed])


def main(*numbers: str) -> int:
    """Run mutations, and return how many were not caught."""
    failures = 0
    if not numbers:
        why = control()
        failures += why is not None
        sys.stdout.write(f"   nothing is broken: {why or 'passed'}\n")
    for number, mutation in enumerate(MUTATIONS):
        if not numbers or str(number) in numbers:
            why = survivor(mutation)
            failures += why is not None
            outcome = why or "caught"
            sys.stdout.write(f"{number:2} [{mutation.invariant}] {mutation.breaks}: {outcome}\n")
            sys.stdout.flush()
    return failures


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        README.write_text(table(), encoding="utf-8")
    else:
        sys.exit(min(main(*sys.argv[1:]), 1))
