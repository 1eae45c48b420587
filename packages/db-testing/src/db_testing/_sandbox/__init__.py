"""Rollback isolation: virtual connections on one real connection, which is rolled back.

`_sandbox` is the model, written once for tasks and threads (`_runtime`, `_threads`): virtual
transactions (`_transaction`) take turns (`_turns`) on a wire (`_wire`) whose savepoints are
`_layers`. `_virtual` and its like are what asyncpg's users get, `_psycopg` and its like psycopg's.
"""
