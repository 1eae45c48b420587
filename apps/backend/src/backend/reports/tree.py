"""The chart of accounts as a forest: walked depth first, balances rolled up."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from backend.accounts.service import Account


def _children(accounts: Sequence[Account]) -> Mapping[int | None, Sequence[Account]]:
    children: dict[int | None, list[Account]] = defaultdict(list)
    for account in accounts:
        children[account.parent_id].append(account)
    return children


def depth_first(accounts: Sequence[Account]) -> Iterator[tuple[Account, int]]:
    """Walk the forest, parents first, siblings in the order given; depth 0 is the top level."""
    children = _children(accounts)
    # A stack instead of recursion: nothing bounds how deep a user nests accounts.
    stack = [(account, 0) for account in reversed(children[None])]
    while stack:
        account, depth = stack.pop()
        yield account, depth
        stack.extend((child, depth + 1) for child in reversed(children[account.id]))


def roll_up(accounts: Sequence[Account], own: Mapping[int, Decimal]) -> Mapping[int, Decimal]:
    """Add every account's own balance to all its ancestors'."""
    totals = {account.id: own.get(account.id, Decimal()) for account in accounts}
    # Walked backwards, an account comes after all its descendants, so its sum is complete.
    for account, _ in reversed(list(depth_first(accounts))):
        if account.parent_id is not None:
            totals[account.parent_id] += totals[account.id]
    return totals
