"""A server that is reached by TLS only, as managed ones are, by each of the programs that connect.

The wheel's PostgreSQL is built without TLS. So a proxy stands before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from .conftest import PASSWORD, encrypted_url
from .test_loss import INI, SUITES

if TYPE_CHECKING:
    from pathlib import Path

    from .proxy import Proxy

CONFTEST = """
    import pytest
    from db_testing import Schema
    from models import Base

    @pytest.fixture(scope="session")
    def db_schema():
        return Schema.{schema}
"""

TESTS = """
    import pytest
    import sqlalchemy as sa
    from models import Item
    from sqlalchemy.ext.asyncio import create_async_engine

    async def test_rolled_back(db):
        db.add(Item(name="a"))
        await db.commit()

    @pytest.mark.db(isolation="commit")
    async def test_committed(db, test_database_url):
        db.add(Item(name="a"))
        await db.commit()
        engine = create_async_engine(test_database_url)  # of the application's own
        async with engine.connect() as connection:
            assert (await connection.execute(sa.select(Item.name))).scalar_one() == "a"
        await engine.dispose()

    @pytest.mark.parametrize(
        "isolation", [pytest.param(name, marks=pytest.mark.db(isolation=name)) for name in (
            "rollback", "commit", "database")])
    def test_synchronous(db_sync, isolation):
        db_sync.add(Item(name="a"))
        db_sync.commit()
"""


@pytest.mark.parametrize(
    "schema", ["from_metadata(Base.metadata)", "from_sql('schema.sql')"], ids=["metadata", "sql"]
)
def test_everything_is_encrypted(proxy: Proxy, pytester: pytest.Pytester, schema: str) -> None:
    """Every isolation, both drivers and psql use the mode and the certificates that are given."""
    pytester.makeini(INI)
    pytester.makepyfile(models=(SUITES / "models.py").read_text(), test_it=TESTS)
    pytester.makeconftest(CONFTEST.format(schema=schema))
    script = "CREATE TABLE item (id serial PRIMARY KEY, name text UNIQUE);"
    (pytester.path / "schema.sql").write_text(script)
    with proxy.running() as port:
        url = encrypted_url(port)
        result = pytester.runpytest_subprocess(f"--db-server={url}", timeout=120)
    if schema.startswith("from_sql") and "knows no TLS" in result.stdout.str():
        result.assert_outcomes(errors=1)  # no client programs are installed on this machine
        return
    result.assert_outcomes(passed=5)
    assert (proxy.refused, PASSWORD in result.stdout.str()) == (0, False)
    assert proxy.encrypted > 0


def test_certificate_of_another_is_refused(
    proxy: Proxy, pytester: pytest.Pytester, tmp_path: Path
) -> None:
    """A server that cannot show a trusted certificate is one error."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "root.crt"))
    pytester.makeini(INI)
    pytester.makepyfile(models=(SUITES / "models.py").read_text(), test_it=TESTS)
    pytester.makeconftest(CONFTEST.format(schema="from_metadata(Base.metadata)"))
    with proxy.running() as port:
        url = encrypted_url(port)
        result = pytester.runpytest_subprocess(f"--db-server={url}")
    result.stdout.fnmatch_lines(["*cannot connect to postgresql://boss:[*][*][*]@localhost:*cert*"])
    assert result.ret != 0
