"""Names of databases, for any project, run and worker."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_testing._template import _naming

FINGERPRINTS = st.binary().map(lambda content: hashlib.sha256(content).hexdigest())
IDENTITIES = st.tuples(st.text(), st.text(max_size=40), st.text(max_size=40))


def worker(project: str, run: str, worker: str, fingerprint: str = "a" * 64) -> str:
    """Name a worker's database."""
    return _naming.worker_database(project=project, fingerprint=fingerprint, run=run, worker=worker)


@given(IDENTITIES, FINGERPRINTS)
def test_name_fits_and_needs_no_quotes(identity: tuple[str, str, str], fingerprint: str) -> None:
    """PostgreSQL would cut what is longer than 63 bytes, silently."""
    name = worker(*identity, fingerprint)
    assert re.fullmatch(r"dbt_[a-z0-9_]+", name)
    assert len(name.encode()) <= 63


@given(IDENTITIES, FINGERPRINTS)
def test_workers_database_is_disposable(identity: tuple[str, str, str], fingerprint: str) -> None:
    """Whatever a project is called, `template` included, its dead runs can be tidied up."""
    assert _naming.is_disposable(worker(*identity, fingerprint))


@pytest.mark.parametrize("project", ["template", "building", "template_", "x" * 200, "", "ÄÖ", "_"])
def test_project_may_have_any_name(project: str) -> None:
    """A project named like our own prefixes is no exception."""
    name = worker(project, "0123456789", "gw0")
    assert _naming.is_disposable(name)
    assert name.endswith("_aaaaaaaa_0123456789_gw0")


@given(IDENTITIES, IDENTITIES)
def test_other_run_or_worker_has_another_name(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    """Run and worker keep names apart, however long they are."""
    if one[1:] != other[1:]:
        assert worker(*one) != worker(*other)


@given(FINGERPRINTS, FINGERPRINTS)
def test_template_is_never_disposable(fingerprint: str, process: str) -> None:
    """A template is kept between runs; one that is being built belongs to its builder."""
    template = _naming.template_database(fingerprint)
    building = _naming.building_database(fingerprint, process)
    assert not _naming.is_disposable(template)
    assert _naming.is_disposable(building)
    assert len(template) <= 63
    assert len(building) <= 63


@given(IDENTITIES, FINGERPRINTS)
def test_kept_database_is_nobodys_to_reap(identity: tuple[str, str, str], fingerprint: str) -> None:
    """The database of a failed test is there as long as its project does not need the room."""
    project, run, test = identity
    name = _naming.kept_database(project=project, run=run, test=test, fingerprint=fingerprint)
    assert re.fullmatch(r"dbtkept_[a-z0-9_]+", name)
    assert len(name) <= 63
    assert not _naming.is_disposable(name)


def test_kept_database_can_be_told_by_its_test() -> None:
    """Whoever looks at `psql -l` finds project, run and test; parameters keep tests apart."""
    names = {
        _naming.kept_database(
            project="shop", run="0123456789", test=f"a/test_a.py::T::test_pay[{i}]", fingerprint=""
        )
        for i in (1, 2)
    }
    assert {re.sub(r"_\w{8}$", "", name) for name in names} == {
        "dbtkept_shop_012345_pay_1",
        "dbtkept_shop_012345_pay_2",
    }


@pytest.mark.parametrize(
    "name",
    [
        "postgres",
        "dbt_prod",
        "dbt_alice_dev",
        "dbt_analytics_prod_eu_west",
        "dbt_template_x",
        "dbt_",
    ],
)
def test_database_of_somebody_else_is_not_disposable(name: str) -> None:
    """The prefix alone is not enough: other tools' databases may have it as well."""
    assert not _naming.is_disposable(name)
