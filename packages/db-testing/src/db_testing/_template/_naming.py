"""Names of databases: pure functions, within PostgreSQL's 63 bytes.

A name tells a person who looks at `psql -l` whose database it is::

    dbt_<project>_<schema>_<run>_<worker>     a worker's database: dropped when its run ends
    dbt_template_<fingerprint>                a template: kept between runs
    dbt_building_<fingerprint>_<process>      a template that is not finished
    dbtkept_<project>_<run>_<test>_<digest>   that of a failed test, kept for a person
"""

import hashlib
import re
from typing import Final

MAX_BYTES: Final = 63
"""PostgreSQL's NAMEDATALEN - 1; a longer name is cut off silently, and two could become one."""

PREFIX: Final = "dbt_"
"""Starts every name of ours; no database without it is ever dropped when nobody holds it."""

KEPT_PREFIX: Final = "dbtkept_"
"""Starts the names of kept databases, which are nobody's to reap."""

TEMPLATE_PREFIX: Final = PREFIX + "template_"
BUILDING_PREFIX: Final = PREFIX + "building_"

DISPOSABLE: Final = re.compile(
    rf"{PREFIX}[a-z0-9_]+_[0-9a-f]{{8}}_[a-z0-9]{{1,12}}_[a-z0-9]{{1,12}}"
    rf"|{BUILDING_PREFIX}[0-9a-f]{{24}}_[0-9a-f]{{12}}"
)
"""The whole name, because other people's databases may begin with our prefix as well."""

TEMPLATE: Final = re.compile(rf"{TEMPLATE_PREFIX}[0-9a-f]{{40}}")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "x"


def worker_database(*, project: str, fingerprint: str, run: str, worker: str) -> str:
    """Name one worker's database.

    The project is cut to fit. Run, worker and the schema's fingerprint keep names apart: run and
    worker are shortened by a digest, never by cutting, so that two of them cannot become equal.
    """
    tail = f"_{fingerprint[:8]}_{short_run(run)}_{_short(worker, 12)}"
    return PREFIX + _slug(project)[: MAX_BYTES - len(PREFIX) - len(tail)].rstrip("_") + tail


def short_run(run: str) -> str:
    """Return what stands for a run in the names of its databases."""
    return _short(run, 12)


def template_database(fingerprint: str) -> str:
    """Name the finished template of a schema."""
    return TEMPLATE_PREFIX + fingerprint[:40]


def building_database(fingerprint: str, process: str) -> str:
    """Name the template of a schema while one process builds it."""
    return f"{BUILDING_PREFIX}{fingerprint[:24]}_{process[:12]}"


def kept_database(*, project: str, run: str, test: str, fingerprint: str) -> str:
    """Name the database of a failed test: the end of the test's name can be read, as it is said."""
    digest = hashlib.sha256(f"{run}\n{test}\n{fingerprint}".encode()).hexdigest()[:8]
    head = f"{KEPT_PREFIX}{_slug(project)[:12]}_{_slug(run)[:6]}_"
    function = _slug(test.rpartition("::")[2]).removeprefix("test_")
    return head + function[: MAX_BYTES - len(head) - len(digest) - 1].rstrip("_") + f"_{digest}"


def is_template(name: str) -> bool:
    """Tell whether a database is a finished template of ours."""
    return TEMPLATE.fullmatch(name) is not None


def is_disposable(name: str) -> bool:
    """Tell whether a database belongs to one process, so that it may be dropped after its death."""
    return DISPOSABLE.fullmatch(name) is not None


def _short(text: str, limit: int) -> str:
    if re.fullmatch(r"[a-z0-9]+", text) and len(text) <= limit:
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:limit]
