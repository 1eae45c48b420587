"""Problems of revaluations."""

from http import HTTPStatus

from backend.problems import ProblemError


class RevaluationNotFoundError(ProblemError):
    """Answer for a revaluation that does not exist or is another user's: the two look alike."""

    status = HTTPStatus.NOT_FOUND
    type = "/problems/revaluation-not-found"
    title = "Revaluation not found"


class RevaluationAccountError(ProblemError):
    """Refuse an account that cannot take what a revaluation posts to it."""

    status = HTTPStatus.CONFLICT
    type = "/problems/revaluation-account"
    title = "Wrong account for a revaluation"


class RevaluationOrderError(ProblemError):
    """Refuse a revaluation before one that is in the books: that one would no longer be right."""

    status = HTTPStatus.CONFLICT
    type = "/problems/revaluation-order"
    title = "Revaluation out of order"


class RevaluationTooLargeError(ProblemError):
    """Refuse differences that no entry can hold: too many, or too large."""

    status = HTTPStatus.CONFLICT
    type = "/problems/revaluation-too-large"
    title = "Revaluation too large"


class NothingPostedError(ProblemError):
    """Refuse to reverse a revaluation that found no difference."""

    status = HTTPStatus.CONFLICT
    type = "/problems/nothing-posted"
    title = "Nothing posted"
