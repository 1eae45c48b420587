"""The isolations behind one interface: what is done before and after each test of a database.

`_isolation` is the interface and `_kinds` are the ways of undoing; commit isolation's is `_sweep`.
`_escapes` finds what has been committed behind the sandbox's back. `_synchronous` is the same for
code on psycopg.
"""
