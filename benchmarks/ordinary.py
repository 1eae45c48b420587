"""A pytest plugin that leaves only those tests that any way of isolating them can run."""

import pytest

OWN = {"db_layer", "db_sync", "db_sync_engine", "alembic_runner"}
"""Fixtures that are db-testing's alone."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs db-testing."""
    left = [
        item
        for item in items
        if not OWN.intersection(getattr(item, "fixturenames", ()))
        and item.get_closest_marker("db") is None
        and "migrations" not in item.nodeid
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(left)])
    items[:] = left
