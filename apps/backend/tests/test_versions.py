"""`If-Match` as RFC 9110 defines it."""

import pytest

from backend.problems import MalformedRequestError, StaleVersionError
from backend.versions import Precondition


@pytest.mark.parametrize("header", ['"3"', '"1", "3"', ' "3" ', "*", '"1",W/"9","3"'])
def test_a_precondition_holds_for_a_version_it_lists(header: str) -> None:
    """One strong match in a list is enough, and `*` accepts any version."""
    Precondition.parse(header).check(3)


@pytest.mark.parametrize("header", ['"2"', 'W/"3"', '"1", "2"', '"03"', '""'])
def test_a_precondition_fails_for_a_version_it_does_not_list(header: str) -> None:
    """A weak tag never matches, and tags are compared as text."""
    with pytest.raises(StaleVersionError, match='version "3"'):
        Precondition.parse(header).check(3)


@pytest.mark.parametrize("header", ["3", "", '"3', '"3" "4"', '*, "3"', '"a b"'])
def test_a_header_that_holds_no_entity_tags_is_malformed(header: str) -> None:
    """A client that forgets the quotes is told so, instead of being told that it is stale."""
    with pytest.raises(MalformedRequestError, match="quoted entity tags"):
        Precondition.parse(header)
