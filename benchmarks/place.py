"""A pytest plugin: db-testing's own server lies where the benchmark has put it, see `server.py`."""

import os
from pathlib import Path

from db_testing._server import _folders


def lead(home: Path) -> None:
    """Let this process, and those it starts with `-p place`, use the server in a folder."""
    os.environ["BENCHMARK_HOME"] = str(home)
    _folders.in_memory = lambda: home


if "BENCHMARK_HOME" in os.environ:
    lead(Path(os.environ["BENCHMARK_HOME"]))
