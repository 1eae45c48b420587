"""LISTEN, NOTIFY and logical messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .table import different, refused, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Messages"
NEVER = "A notification is delivered by a commit, and the outer transaction's never comes."


@refused(gives="hello", note=NEVER)
async def test_listen(w: World) -> object:
    """LISTEN, by the driver's add_listener()."""
    one, two = await w.connect(), await w.connect()
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def hear(*message: object) -> None:
        heard.set_result(str(message[3]))

    await one.add_listener("channel", hear)
    await two.execute("NOTIFY channel, 'hello'")
    result = await heard
    await one.remove_listener("channel", hear)
    return result


@refused(gives="LISTEN", note=NEVER)
async def test_raw_listen(w: World) -> object:
    """LISTEN in raw SQL."""
    one = await w.connect()
    return await one.execute("LISTEN channel")


@same(gives=["NOTIFY", ""])
async def test_notify(w: World) -> object:
    """NOTIFY and pg_notify() without a listener."""
    one = await w.connect()
    async with one.transaction():
        status = await one.execute("NOTIFY channel, 'hello'")
        return [status, await one.fetchval("SELECT pg_notify('channel', 'hello')::text")]


@different(gives=["hello"], here=[], note=NEVER)
async def test_notify_outside(w: World) -> object:
    """NOTIFY is heard by another process."""
    one, outside = await w.connect(), await w.outside()
    heard: list[object] = []
    beat = asyncio.Event()

    def hear(*message: object) -> None:
        if message[3] == "beat":
            beat.set()
        else:
            heard.append(message[3])

    await outside.add_listener("channel", hear)
    await one.execute("NOTIFY channel, 'hello'")
    # Notifications keep their order, so whatever was sent has been heard when this one is.
    await (await w.outside()).execute("NOTIFY channel, 'beat'")
    await beat.wait()
    await outside.remove_listener("channel", hear)
    return heard


@same(gives=True)
async def test_logical_message(w: World) -> object:
    """pg_logical_emit_message() returns a position."""
    one = await w.connect()
    return bool(await one.fetchval("SELECT pg_logical_emit_message(true, 'a', 'b')::text"))
