"""The plugin is imported, and the fixtures work together."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


async def test_session(db: AsyncSession) -> None:
    """A session reaches the worker's database."""
    name = (await db.execute(text("SELECT current_database()"))).scalar_one()
    assert name.startswith("dbt_")


def test_import_says_nothing() -> None:
    """However strict Python is with warnings, of any of its versions."""
    imports = "import db_testing.plugin, db_testing._plugin._loops"
    command = [sys.executable, "-W", "error", "-c", imports]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
