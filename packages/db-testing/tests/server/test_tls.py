"""A server that is reached by TLS only, as managed ones are, by each of the programs that connect.

The wheel's PostgreSQL is built without TLS. So a proxy of this module's own stands before it, which
ends the encryption, and takes no connection that has not begun it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import threading
from typing import TYPE_CHECKING

import pytest
import trustme

from .conftest import PASSWORD, External
from .test_loss import INI, SUITES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SSL_REQUEST = struct.pack("!ii", 8, 80877103)

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


class Proxy:
    """Takes encrypted connections, and leads them to a server that knows no encryption."""

    def __init__(self, external: External, certificate: ssl.SSLContext) -> None:
        self._external = external
        self._certificate = certificate
        self._loop = asyncio.new_event_loop()
        self.refused = 0
        """How many did not ask for encryption."""
        self.encrypted = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[External]:
        """Run it in a thread; what it leads to is reached by the port that is returned."""
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            yield External(server.sockets[0].getsockname()[1])
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.run_until_complete(self._end(server))
            self._loop.close()

    @staticmethod
    async def _end(server: asyncio.Server) -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(8) != SSL_REQUEST:
            self.refused += 1
            writer.close()
            return
        self.encrypted += 1
        with contextlib.suppress(OSError):  # a client hangs up in the middle
            writer.write(b"S")
            await writer.start_tls(self._certificate)
            upstream = await asyncio.open_connection("127.0.0.1", self._external.port)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, upstream[1]))
                both.create_task(self._pass(upstream[0], writer))

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Return an authority that clients trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "root.crt"))
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "root.crt"))
    return authority


@pytest.fixture
def proxy(external: External, authority: trustme.CA) -> Proxy:
    """Return the proxy, with a certificate of its own."""
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(certificate)
    return Proxy(external, certificate)


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
    with proxy.running() as reached:
        url = reached.url(rest="/postgres?sslmode=verify-full").replace("127.0.0.1", "localhost")
        result = pytester.runpytest_subprocess(f"--db-server={url}", "-p", "no:randomly")
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
    with proxy.running() as reached:
        url = reached.url(rest="/postgres?sslmode=verify-full").replace("127.0.0.1", "localhost")
        result = pytester.runpytest_subprocess(f"--db-server={url}", "-p", "no:randomly")
    result.stdout.fnmatch_lines(["*cannot connect to postgresql://boss:[*][*][*]@localhost:*cert*"])
    assert result.ret != 0
