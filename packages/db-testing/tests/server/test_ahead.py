"""The server is made available while the tests import what they need."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from db_testing._server import _server
from db_testing.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Embedded


@pytest.fixture(autouse=True)
def _own(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "own", lambda _: embedded.cluster)


def never(line: str) -> None:
    """Fail for what there is nothing to say about."""
    pytest.fail(line)


def test_server_is_there_when_it_is_taken(embedded: Embedded) -> None:
    """Who takes it can connect at once, and gives it up as any other."""
    ahead = _server.Ahead("embedded")
    server = ahead.take(never)
    assert server.url == _server.address(embedded.cluster)
    assert embedded.query("SELECT 1") == 1
    server.release()
    embedded.wait_until_stopped()
    ahead.release()


def test_server_that_nobody_takes(embedded: Embedded) -> None:
    """It is given up when the tests are over that did not ask for it after all."""
    _server.Ahead("embedded").release()
    embedded.wait_until_stopped()


def test_what_is_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said by whoever takes the server, as pytest captures what another thread prints."""

    def acquire(_: str, *, keepalive: float, say: Callable[[str], None]) -> object:
        del keepalive
        say("before")
        return say

    monkeypatch.setattr(_server, "acquire", acquire)
    said: list[str] = []
    later = _server.Ahead("embedded").take(said.append)
    assert said == ["before"]
    later("afterwards")  # type: ignore[operator]  # as when it is started again
    assert said == ["before", "afterwards"]


def test_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes it is told why; if nobody does, nobody needs to know."""

    def acquire(_: str, **__: object) -> None:
        raise ServerError("no room")

    monkeypatch.setattr(_server, "acquire", acquire)
    ahead = _server.Ahead("embedded")
    with pytest.raises(ServerError, match="no room"):
        ahead.take(never)
    ahead.release()


def test_fork_waits_for_no_thread_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that forks for each test may do so while the server starts."""
    parent, goes_on = os.getpid(), threading.Event()

    def acquire(_: str, **__: object) -> None:
        if os.getpid() == parent:
            goes_on.wait()
        raise ServerError("its own")

    monkeypatch.setattr(_server, "acquire", acquire)
    ahead = _server.Ahead("embedded")
    child = os.fork()
    if child == 0:  # pragma: no cover
        signal.alarm(20)  # whatever hangs
        status = 1
        try:
            with pytest.raises(ServerError, match="its own"):
                ahead.take(never)
            ahead.release()
            status = 0
        finally:
            os._exit(status)
    try:
        _, status = os.waitpid(child, 0)
        assert status == 0
    finally:
        goes_on.set()
        ahead._thread.shutdown()
