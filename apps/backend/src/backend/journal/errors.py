"""Problems of journal entries."""

from http import HTTPStatus

from backend.problems import ProblemError


class EntryNotFoundError(ProblemError):
    """Answer for an entry that does not exist or is another user's: the two look alike."""

    status = HTTPStatus.NOT_FOUND
    type = "/problems/entry-not-found"
    title = "Entry not found"


class EntryStateError(ProblemError):
    """Refuse what the state of the entry does not allow."""

    status = HTTPStatus.CONFLICT
    type = "/problems/entry-state"
    title = "Wrong entry state"


class UnbalancedEntryError(ProblemError):
    """Refuse to post an entry whose debits and credits differ, or that has too few lines."""

    status = HTTPStatus.CONFLICT
    type = "/problems/unbalanced-entry"
    title = "Unbalanced entry"


class InvalidLineError(ProblemError):
    """Refuse a line whose amount or rate does not fit the currencies it is between."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    type = "/problems/invalid-line"
    title = "Invalid line"


class VoidDateError(ProblemError):
    """Refuse a reversal dated before what it reverses."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    type = "/problems/void-date"
    title = "Reversal too early"


class EntryReconciledError(ProblemError):
    """Refuse to void what the bank's statement says has happened."""

    status = HTTPStatus.CONFLICT
    type = "/problems/entry-reconciled"
    title = "Entry reconciled"
