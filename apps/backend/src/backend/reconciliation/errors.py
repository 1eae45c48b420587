"""Problems of reconciliation."""

from http import HTTPStatus

from backend.problems import ProblemError


class MatchNotFoundError(ProblemError):
    """Answer for a match that does not exist or is another user's: the two look alike."""

    status = HTTPStatus.NOT_FOUND
    type = "/problems/match-not-found"
    title = "Match not found"


class MatchStateError(ProblemError):
    """Refuse what the state of the match does not allow."""

    status = HTTPStatus.CONFLICT
    type = "/problems/match-state"
    title = "Wrong match state"


class MatchUnbalancedError(ProblemError):
    """Refuse to confirm that amounts are the same which are not."""

    status = HTTPStatus.CONFLICT
    type = "/problems/match-unbalanced"
    title = "Unbalanced match"


class AlreadyReconciledError(ProblemError):
    """Refuse a line or an entry that a confirmed match has already."""

    status = HTTPStatus.CONFLICT
    type = "/problems/already-reconciled"
    title = "Already reconciled"


class EntryNotPostedError(ProblemError):
    """Refuse to confirm a match with an entry that has been voided since."""

    status = HTTPStatus.CONFLICT
    type = "/problems/entry-not-posted"
    title = "Entry not posted"
