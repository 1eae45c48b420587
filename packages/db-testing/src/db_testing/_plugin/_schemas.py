"""Several applications in one run: each definition of `db_schema` has fixtures of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from ._fixtures import PER_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND: Final = "_db_bound"
"""The fixture that depends on `db_bind` as well, and so exists for each definition of that too."""

SEEN: pytest.StashKey[bool] = pytest.StashKey()


def register(collector: pytest.Collector) -> None:
    """Define the per-schema fixtures wherever `db_schema` is defined, from the root down."""
    for node in collector.listchain():
        if SEEN in node.stash:
            continue
        node.stash[SEEN] = True
        holder = _holder(node)
        if holder is not None and hasattr(holder, "db_schema"):
            for name, function in PER_SCHEMA.items():
                # What the application defines itself is not defined again.
                if not hasattr(holder, name):
                    _define(node, name, function)
        elif holder is not None and hasattr(holder, "db_bind"):
            _define(node, BOUND, PER_SCHEMA[BOUND])


def _holder(node: Any) -> Any:
    """Return the module or class whose fixtures belong to a node."""
    if isinstance(node, pytest.Directory):
        return node.config.pluginmanager.get_plugin(str(node.path / "conftest.py"))
    return getattr(node, "obj", None)


def _define(node: Any, name: str, function: Callable[..., Any]) -> None:
    if hasattr(pytest, "register_fixture"):  # pytest 9.1
        pytest.register_fixture(name=name, func=function, node=node, scope="session")
    else:
        node.session._fixturemanager._register_fixture(  # noqa: SLF001
            name=name, func=function, nodeid=node.nodeid, scope="session"
        )
