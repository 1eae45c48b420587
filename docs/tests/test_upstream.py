"""The patch for asyncpg fits the asyncpg that is installed, and changes nothing but its speed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg

from db_testing._server import _server

from .conftest import DOCS

PATCH = DOCS / "explanation" / "upstream" / "asyncpg-built-in-arrays.patch"
TYPES = re.findall(r"^\+    \d+: \(\d+, '(\w+)'\),$", PATCH.read_text(), re.MULTILINE)

LITERALS = {
    "xml": None,  # the embedded server is built without it, and takes NULL only
    "line": "{1,2,3}",
    "cidr": "10.0.0.0/8",
    "circle": "<(1,2),3>",
    "macaddr8": "08:00:2b:01:02:03:04:05",
    "regproc": "version",
    "tid": "(0,1)",
    "point": "(1,2)",
    "lseg": "[(1,2),(3,4)]",
    "path": "((1,2),(3,4))",
    "polygon": "((1,2),(3,4),(5,6))",
    "aclitem": "postgres=r/postgres",
    "macaddr": "08:00:2b:01:02:03",
    "inet": "10.0.0.1",
    "timestamp": "2020-01-02 03:04",
    "date": "2020-01-02",
    "time": "03:04",
    "timestamptz": "2020-01-02 03:04+00",
    "interval": "1 day",
    "timetz": "03:04+00",
    "regprocedure": "version()",
    "regoper": "pg_catalog.||/",
    "regoperator": "=(int4,int4)",
    "regclass": "pg_class",
    "regtype": "int4",
    "txid_snapshot": "10:20:15",
    "uuid": "00000000-0000-0000-0000-000000000001",
    "pg_lsn": "0/1",
    "regconfig": "english",
    "regdictionary": "simple",
    "jsonpath": "$",
    "regnamespace": "pg_catalog",
    "regrole": "postgres",
    "regcollation": '"C"',
    "pg_snapshot": "10:20:15",
}
"""Of those types that do not take `1`."""

# Each array is read and written by a connection of its own. Then those of integers once more, with
# codecs of one's own set and gone, and beside a type that has to be asked for.
SCRIPT = """
import asyncio, json, sys
import asyncpg

async def main(url, literals):
    said = [asyncpg.__file__]
    for name, literal in literals.items():
        connection = await asyncpg.connect(url)
        value = "NULL" if literal is None else f"'{literal}'"
        read = await connection.fetchval(f"SELECT ARRAY[{value}, NULL]::pg_catalog.{name}[]")
        try:
            again = await connection.fetchval(f"SELECT $1::pg_catalog.{name}[]", read)
        except asyncpg.DataError as error:  # it takes each path for an array
            again = type(error).__name__
        said.append([name, repr(read), repr(again)])
        await connection.close()
    connection = await asyncpg.connect(url)
    said.append(await connection.fetchval("SELECT $1::int4[]", [[1, 2], [3, None]]))
    await connection.set_type_codec(
        "int4", schema="pg_catalog", encoder=lambda value: str(value + 1), decoder=lambda text: text
    )
    said.append(await connection.fetchval("SELECT $1::int4[]", [1, None]))
    await connection.reset_type_codec("int4", schema="pg_catalog")
    said.append(await connection.fetchval("SELECT $1::int4[]", [1, None]))
    await connection.execute("CREATE TYPE pg_temp.mood AS ENUM ('sad')")
    said.append(list(await connection.fetchrow("SELECT ARRAY['sad']::pg_temp.mood[], ARRAY[1]")))
    await connection.close()
    print(json.dumps(said))

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def said(url: str, folder: Path | None) -> list[object]:
    """Return what the script says with the asyncpg in a folder, or with the one installed."""
    literals = {name: LITERALS.get(name, "1") for name in TYPES}
    environment = os.environ | ({} if folder is None else {"PYTHONPATH": str(folder)})
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, json.dumps(literals)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: list[object] = json.loads(re.sub(r" at 0x\w+", "", ran.stdout))
    return found


def test_patch_for_asyncpg(tmp_path: Path) -> None:
    """With it asyncpg reads and writes the same arrays."""
    shutil.copytree(Path(asyncpg.__file__).parent, tmp_path / "asyncpg")
    subprocess.run(["git", "apply", PATCH], cwd=tmp_path, check=True)  # noqa: S607
    assert len(TYPES) > 50
    server = _server.acquire("embedded")
    try:
        url = server.url.set(drivername="postgresql").render_as_string(hide_password=False)
        installed, patched = said(url, None), said(url, tmp_path)
    finally:
        server.release()
    assert patched[0] == str(tmp_path / "asyncpg" / "__init__.py")
    assert patched[1:] == installed[1:]
