"""The tables that a report finds in statements."""

import pytest

from db_testing._report import _tables
from db_testing._report._results import Query

STATEMENTS = [
    'SELECT a.x FROM public.a JOIN LATERAL (SELECT * FROM s."b c") AS b ON true WHERE x = ANY($1)',
    (
        "WITH RECURSIVE up (id) AS (SELECT 1 UNION SELECT c.id FROM tree AS c JOIN up USING (id)) "
        "UPDATE t SET a = (SELECT max(id) FROM up) FROM other.o WHERE o.id = t.id"
    ),
    "INSERT INTO a.b (x) SELECT y FROM c.d ON CONFLICT DO NOTHING RETURNING id",
    "SELECT * FROM a.b.c.d, :x, $1.y",
    "COPY t FROM STDIN",
]


def test_tables_are_named() -> None:
    """With their schemas, as they are written; what a statement itself names is none."""
    found = [set(query.tables) for query in map(_one, STATEMENTS[:3])]
    assert found == [{"public.a", "s.b c"}, {"tree", "t", "other.o"}, {"a.b", "c.d"}]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_what_was_cut_off_is_read_as_far_as_it_goes(sql: str) -> None:
    """Reports keep the beginning of a long statement, wherever that ends."""
    for length in range(len(sql)):
        assert "" not in _one(sql[:length]).tables


def _one(sql: str) -> Query:
    (query,) = _tables.queries([sql]).values()
    return query
