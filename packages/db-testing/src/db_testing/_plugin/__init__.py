"""What happens in a run of pytest, of which the public `plugin` has only the hooks.

`_fixtures` are thin; `_state` holds what the run has, a `_worker` with its databases and the test
that runs (`_attempt`), on which event loop (`_loops`), and what is tried when its isolation could
not serve it (`_ladder`).
"""
